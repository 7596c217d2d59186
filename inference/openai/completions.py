"""POST /v1/completions: text in, text on; prompts may be many, and may be token ids."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference import wire
from inference.openai import bounded_json, costs
from inference.openai.costs import Cost
from inference.openai.fields import MAX_TOKENS, ModelName, TokenId, convert, invalid, unsupported
from inference.openai.sampling import MAX_CHOICES, SamplingFields, Streaming, streaming

DEFAULT_MAX_TOKENS = 16  # Source: OpenAI's specification of this endpoint
MAX_BEST_OF = 20
_Piece = str | TokenId | Annotated[list[TokenId], Meta(min_length=1, max_length=MAX_TOKENS)]


class CompletionRequest(SamplingFields, kw_only=True):
    model: ModelName
    prompt: str | Annotated[list[_Piece], Meta(min_length=1, max_length=MAX_TOKENS)] | None
    max_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=MAX_BEST_OF)] | None = None
    suffix: str | None = None


class ParsedCompletion(msgspec.Struct, frozen=True):
    """`bodies` holds one request per prompt; `n` choices of each are shown."""

    model: str
    bodies: list[wire.Generate]
    n: int
    logprobs: int | None
    streaming: Streaming
    service_tier: str | None = None

    @property
    def estimated_prompt_tokens(self) -> int:
        return sum(_size(body.prompt) for body in self.bodies)

    @property
    def cost(self) -> Cost:
        choices = sum(body.n for body in self.bodies)
        prompts = sum(_most(body.prompt) for body in self.bodies)
        return Cost(prompts, len(self.bodies), choices, self.bodies[0].sampling.max_tokens)


def parse(data: bytes | dict[str, Any]) -> ParsedCompletion:
    """Raises: InvalidRequest in all its kinds; RequestTooLarge."""
    request = convert(bounded_json.fields_of(data), CompletionRequest)
    request.check_common()
    prompts = [_before(prompt, request) for prompt in _prompts(request.prompt)]
    _check_choices(request, len(prompts))
    limit = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    return ParsedCompletion(
        model=request.model,
        bodies=[_body(request, prompt, request.sampling(limit)) for prompt in prompts],
        n=request.n or 1,
        logprobs=request.logprobs,
        streaming=streaming(request),
        service_tier=request.tier(),
    )


def _body(
    request: CompletionRequest, prompt: wire.Prompt, sampling: wire.Sampling
) -> wire.Generate:
    """Ask for log probabilities also where only the choice among many needs them."""
    n = request.n or 1
    shown = request.best_of or n
    logprobs = 0 if request.logprobs is None and shown > n else request.logprobs
    return wire.Generate(
        prompt=prompt, sampling=sampling, n=shown, logprobs=logprobs, echo=bool(request.echo)
    )


def _check_choices(request: CompletionRequest, prompts: int) -> None:
    n = request.n or 1
    best_of = request.best_of
    if best_of is not None and best_of < n:
        raise invalid("best_of", f"it must be at least 'n', which is {n}")
    if best_of is not None and best_of > n and request.stream:
        raise invalid("best_of", "answers cannot be compared while they are streamed")
    if request.max_tokens == 0 and not request.echo:
        raise invalid("max_tokens", "0 is only allowed with 'echo'")
    if prompts * (best_of or n) > MAX_CHOICES:
        param = "prompt" if prompts > 1 else "n"
        raise invalid(param, f"prompts times choices may be {MAX_CHOICES} at most")


def _prompts(prompt: str | list[Any] | None) -> list[wire.Prompt]:
    if prompt is None or isinstance(prompt, str):
        return [wire.TextPrompt(text=prompt or "")]
    kinds = {type(piece) for piece in prompt}
    if kinds == {int}:
        return [wire.TokenPrompt(tokens=prompt)]
    if kinds == {str}:
        return [wire.TextPrompt(text=text) for text in prompt]
    if kinds == {list}:
        return [wire.TokenPrompt(tokens=tokens) for tokens in prompt]
    raise invalid("prompt", "it must hold only strings, only token ids, or only lists of them")


def _before(prompt: wire.Prompt, request: CompletionRequest) -> wire.Prompt:
    """Put the suffix behind a text. Raises: UnsupportedParameter."""
    if not request.suffix:
        return prompt
    if request.echo:
        raise unsupported("echo", "a prompt with a 'suffix' is not said again")
    if not isinstance(prompt, wire.TextPrompt):
        raise unsupported("suffix", "it stands behind prompts of text, not of token ids")
    return wire.TextPrompt(text=prompt.text, suffix=request.suffix)


def _size(prompt: wire.Prompt) -> int:
    match prompt:
        case wire.TextPrompt(text=text, suffix=suffix):
            return costs.rounded_up(text + suffix)
        case wire.TokenPrompt(tokens=tokens):
            return len(tokens)
    return 0


def _most(prompt: wire.Prompt) -> int:
    if isinstance(prompt, wire.TextPrompt):
        return costs.of_input(prompt.text + prompt.suffix)
    return _size(prompt)
