"""Ask the real SmolLM2 in a GGUF file, and read its answers."""

from inference import wire
from tests import models
from tests.inference.engines.driving import Answer

GREEDY = wire.Sampling(temperature=0.0, max_tokens=16)
SPACE, NEWLINE, EOS = 216, 198, 2  # ids of SmolLM2's vocabulary
COUNTING = "1 2 3 4 1 2 3 4 1 2 3 4 1 2 3"


def spec(context_tokens: int = 0, concurrency: int = 16, **options: int | str) -> wire.ModelSpec:
    return wire.ModelSpec(
        name="smollm2",
        kind="llm",
        engine="llm_gguf",
        path=str(models.smollm2_gguf()),
        context_tokens=context_tokens,
        max_concurrency=concurrency,
        options=dict(options),
    )


def sampling(**settings: object) -> wire.Sampling:
    return wire.Sampling(**{"temperature": 0.0, "max_tokens": 16, **settings})  # type: ignore[arg-type]


def complete(text: str, sampling: wire.Sampling = GREEDY, **settings: object) -> wire.Generate:
    prompt = wire.TextPrompt(text=text)
    return wire.Generate(prompt=prompt, sampling=sampling, **settings)  # type: ignore[arg-type]


def chat(text: str, sampling: wire.Sampling = GREEDY) -> wire.Generate:
    prompt = wire.ChatPrompt(messages=[wire.ChatMessage("user", text)])
    return wire.Generate(prompt=prompt, sampling=sampling)


def text(answer: Answer, index: int = 0) -> str:
    return "".join(delta.text for delta in answer.of(wire.Delta) if delta.index == index)


def finish(answer: Answer, index: int = 0) -> list[str]:
    deltas = [delta for delta in answer.of(wire.Delta) if delta.index == index]
    return [delta.finish_reason for delta in deltas if delta.finish_reason is not None]


def logprobs(answer: Answer) -> list[wire.TokenLogprob]:
    return [entry for delta in answer.of(wire.Delta) for entry in delta.logprobs]
