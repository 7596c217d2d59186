"""Models in GGUF that see answer as llama.cpp's own server does, and refuse before they compute."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xllamacpp

from inference import wire
from inference.engines.llama_server import MARK
from inference.engines.llm_gguf import LlmGguf
from inference.errors import LoadFailed

from . import tiny_gguf_vision, tiny_vision
from .driving import Answer, Driver
from .gguf_asking import finish, sampling, text

FILES = [tiny_vision.picture(1), tiny_vision.picture(2, (30, 70)), tiny_vision.picture(3, (28, 28))]
IMAGE_TOKENS = 16  # patches of 7 x 7 in 28 x 28 pixels
GREEDY = sampling(max_tokens=12, ignore_eos=True)


def spec(folder: Path, **fields: Any) -> wire.ModelSpec:
    return wire.ModelSpec(
        name="eyes",
        kind="vlm",
        engine="llm_gguf",
        path=str(folder / tiny_gguf_vision.MODEL),
        projector=str(folder / tiny_gguf_vision.PROJECTOR),
        **{"max_concurrency": 4, **fields},
    )


def asks(*parts: str | int, rules: wire.Sampling = GREEDY, **fields: Any) -> wire.Generate:
    """Ask with texts and with images by their number."""
    filled = [part if isinstance(part, str) else wire.Image(FILES[part]) for part in parts]
    content = "\n".join(part for part in parts if isinstance(part, str))
    message = wire.ChatMessage("user", content, parts=filled)
    return wire.Generate(prompt=wire.ChatPrompt(messages=[message]), sampling=rules, **fields)


def prompt_tokens(answer: Answer) -> int:
    done = answer.wait()
    assert isinstance(done, wire.Done), done
    return done.usage.prompt_tokens


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf_vision.make(tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="module")
def driver(made: Path) -> Iterator[Driver]:
    driver = Driver(LlmGguf(), spec(made))
    yield driver
    driver.engine.close()


class Plain:
    """llama.cpp's own server on the same files, with its own templates."""

    def __init__(self, folder: Path) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(folder / tiny_gguf_vision.MODEL)
        params.mmproj.path = str(folder / tiny_gguf_vision.PROJECTOR)
        params.n_ctx, params.n_parallel, params.verbosity = 1024, 1, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.fit_params = False
        self._server = xllamacpp.Server(params)

    def chat(self, *parts: str | int, **fields: Any) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        content = [self._part(part) for part in parts]
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, **fields}
        self._server.handle_chat_completions(
            json.dumps(body), lambda raw: found.append(json.loads(raw))
        )
        return found[0]

    def _part(self, part: str | int) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        url = f"data:image/png;base64,{base64.b64encode(FILES[part]).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}


@pytest.fixture(scope="module")
def plain(made: Path) -> Plain:
    return Plain(made)


# --- seeing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(0, "a"), ("what is ", 1, " and ", 2, "?"), ("no image",)])
def test_it_answers_as_llama_cpp_does(
    driver: Driver, plain: Plain, parts: tuple[str | int, ...]
) -> None:
    lines: list[str | int] = []
    for part in parts:  # we put each part on a line of its own, llama.cpp puts images into the text
        lines += [part] if not lines else ["\n", part]
    expected = plain.chat(*_joined(lines), max_tokens=12, ignore_eos=True)
    answer = driver.ask(asks(*parts))
    whole = expected["choices"][0]["message"]["content"]
    assert text(answer).rstrip("\ufffd") == whole.rstrip("\ufffd")  # half a character
    assert prompt_tokens(answer) == expected["usage"]["prompt_tokens"]
    assert answer.wait().usage.completion_tokens == 12


def _joined(parts: list[str | int]) -> list[str | int]:
    found: list[str | int] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return found


def test_the_image_decides(driver: Driver) -> None:
    answers = [driver.ask(asks(number, "what is it?")) for number in (0, 1, 0)]
    texts = [text(answer) for answer in answers]
    assert texts[0] == texts[2] != texts[1]
    used = answers[2].wait().usage
    assert used.cached_tokens == used.prompt_tokens - 1


def test_image_tokens_are_counted(driver: Driver) -> None:
    one, two = driver.ask(asks(0, "a")), driver.ask(asks(0, 1, "a"))
    assert prompt_tokens(two) - prompt_tokens(one) == IMAGE_TOKENS + 1  # and a line's end
    assert two.of(wire.Delta)[0].prompt_tokens == prompt_tokens(two)  # for who leaves early


def test_answers_do_not_depend_on_company(driver: Driver) -> None:
    questions = [asks(at % 3, f"question {at}") for at in range(6)] + [asks("text only")]
    alone = [text(driver.ask(question)) for question in questions]
    together = [driver.start(question) for question in questions]
    for answer, expected in zip(together, alone, strict=True):
        answer.wait()
        assert text(answer) == expected


def test_seeds_repeat_and_choices_differ(driver: Driver) -> None:
    rules = sampling(temperature=1.0, seed=3, max_tokens=8, ignore_eos=True)
    one, two = (driver.ask(asks(0, "x", rules=rules, n=2)) for _ in range(2))
    assert text(one) == text(two) != text(one, 1)


def test_a_stop_ends_it(driver: Driver) -> None:
    whole = text(driver.ask(asks(0, "a", rules=sampling(max_tokens=60, ignore_eos=True))))
    stop = next(letter for letter in whole if letter.isascii() and letter.isalnum())
    answer = driver.ask(asks(0, "a", rules=sampling(max_tokens=60, ignore_eos=True, stop=[stop])))
    assert text(answer) == whole[: whole.index(stop)]
    assert finish(answer) == ["stop"]


def test_a_cancelled_request_ends_at_once(driver: Driver) -> None:
    answer = driver.start(asks(0, "x", rules=sampling(max_tokens=600, ignore_eos=True)))
    answer.wait_for(lambda: answer.of(wire.Delta))
    driver.engine.cancel(answer.stream)
    assert answer.wait().usage.completion_tokens < 600


def test_text_needs_no_image(driver: Driver) -> None:
    answer = driver.ask(asks("a", logprobs=2))
    assert len([entry for delta in answer.of(wire.Delta) for entry in delta.logprobs]) == 12


# --- what users write stays text ------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["<|im_end|>", "<image>", "<|endoftext|>"])
def test_a_special_token_beside_an_image_is_text(driver: Driver, mark: str) -> None:
    less = prompt_tokens(driver.ask(asks(0, "a")))
    assert prompt_tokens(driver.ask(asks(0, f"a{mark}"))) > less + 3


def test_nobody_writes_an_image(driver: Driver) -> None:
    """Even who knew the mark would be refused: there are more of it than images."""
    assert driver.failure(asks(0, MARK)).code == "invalid_request"


# --- refused --------------------------------------------------------------------------------------


def test_a_damaged_image_is_its_own_requests_fault(driver: Driver) -> None:
    good = driver.start(asks(0, "x"))
    parts: list[str | wire.Image] = [wire.Image(FILES[0][:60])]
    bad = wire.ChatPrompt(messages=[wire.ChatMessage("user", "", parts=parts)])
    failure = driver.failure(wire.Generate(prompt=bad))
    assert (failure.code, failure.param) == ("invalid_media", "messages")
    assert isinstance(good.wait(), wire.Done)


def test_too_many_images_are_refused_before_they_are_looked_at(driver: Driver) -> None:
    before = driver.engine.stats().steps_total
    failure = driver.failure(asks(*[0, 1, 2] * 30))
    assert (failure.code, failure.param) == ("context_length_exceeded", "messages")
    assert driver.engine.stats().steps_total == before


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": 0}, "logprobs"),
        ({"rules": sampling(presence_penalty=1.0)}, "presence_penalty"),
    ],
)
def test_what_needs_single_tokens_is_refused(
    driver: Driver, fields: dict[str, Any], param: str
) -> None:
    failure = driver.failure(asks(0, "a", **fields))
    assert (failure.code, failure.param) == ("unsupported_parameter", param)


def test_a_model_without_a_projector_refuses_images(made: Path) -> None:
    blind = wire.ModelSpec(
        name="blind", kind="llm", engine="llm_gguf", path=str(made / tiny_gguf_vision.MODEL)
    )
    driver = Driver(LlmGguf(), blind)
    assert driver.loaded.capabilities == ["completions", "chat"]
    failure = driver.failure(asks(0, "a"))
    assert (failure.code, failure.param) == ("unsupported_parameter", "messages[0].content")
    driver.engine.close()


# --- loading --------------------------------------------------------------------------------------


def test_it_says_what_it_can_do(driver: Driver, made: Path) -> None:
    assert driver.loaded.capabilities == ["completions", "chat", "images"]
    both = [made / tiny_gguf_vision.MODEL, made / tiny_gguf_vision.PROJECTOR]
    assert driver.loaded.weights_bytes == sum(file.stat().st_size for file in both)


@pytest.mark.parametrize("kv_tokens", [1_024, 1_536, 2_816])
def test_open_ended_answers_all_come_to_the_end_of_their_context(
    made: Path, kv_tokens: int
) -> None:
    """Many at once in little room: images take their places one after the other."""
    small = Driver(LlmGguf(), spec(made, max_concurrency=8, options={"kv_tokens": kv_tokens}))
    endless = sampling(max_tokens=None, ignore_eos=True)
    answers = [small.start(asks(at % 3, "go on", rules=endless)) for at in range(4)]
    for answer in answers:
        done = answer.wait()
        assert isinstance(done, wire.Done), done
        total = done.usage.prompt_tokens + done.usage.completion_tokens
        assert total == small.loaded.context_tokens >= 768
    small.engine.close()


def test_a_projector_of_another_model_is_refused(made: Path, tmp_path: Path) -> None:
    model = tiny_vision.Reference(made.parent / "hf").model
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    weights = {name: value[:24] if "linear_2" in name else value for name, value in weights.items()}
    tiny_gguf_vision.write_projector(tmp_path / "mmproj.gguf", model.config, weights)
    wrong = spec(made, max_concurrency=1)
    wrong = wire.ModelSpec(
        name="x",
        kind="vlm",
        engine="llm_gguf",
        path=wrong.path,
        projector=str(tmp_path / "mmproj.gguf"),
    )
    with pytest.raises(LoadFailed):
        Driver(LlmGguf(), wrong)


def test_a_missing_projector_is_named(made: Path) -> None:
    gone = wire.ModelSpec(
        name="x",
        kind="vlm",
        engine="llm_gguf",
        path=str(made / tiny_gguf_vision.MODEL),
        projector=str(made / "mmproj-gone.gguf"),
    )
    with pytest.raises(LoadFailed, match=r"mmproj-gone\.gguf"):
        Driver(LlmGguf(), gone)
