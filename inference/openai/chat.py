"""POST /v1/chat/completions: what a request may say, and what it means to an engine."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference import wire
from inference.openai import bounded_json, costs
from inference.openai.chat_messages import Message, to_wire
from inference.openai.costs import Cost
from inference.openai.fields import ModelName, Tokens, convert, invalid, unsupported
from inference.openai.pictures import IMAGE_TOKENS, Pictures, filled
from inference.openai.sampling import SamplingFields, Streaming, streaming


class ChatRequest(SamplingFields, kw_only=True):
    model: ModelName
    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    # Answered with 400 unless they ask for what happens anyway.
    modalities: list[str] | None = None
    response_format: Any = None
    verbosity: Literal["low", "medium", "high"] | None = None
    reasoning_effort: str | None = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None


class ParsedChat(msgspec.Struct, frozen=True):
    """A request that can be answered."""

    model: str
    body: wire.Generate
    streaming: Streaming
    service_tier: str | None = None
    pictures: Pictures = msgspec.field(default_factory=Pictures)

    @property
    def estimated_prompt_tokens(self) -> int:
        """Guess before an engine has counted: four characters a token."""
        prompt = self.body.prompt
        messages = prompt.messages if isinstance(prompt, wire.ChatPrompt) else []
        text = sum(costs.rounded_up(message.content) for message in messages)
        return text + len(self.pictures) * IMAGE_TOKENS

    @property
    def cost(self) -> Cost:
        prompt = self.body.prompt
        messages = prompt.messages if isinstance(prompt, wire.ChatPrompt) else []
        text = sum(costs.of_input(one.content) + costs.of_text(one.name or "") for one in messages)
        images = len(self.pictures) * costs.IMAGE_TOKENS
        tokens = costs.REQUEST_TOKENS + text + images
        return Cost(tokens, 1, self.body.n, self.body.sampling.max_tokens)

    def with_images(self, fetched: Mapping[int, bytes]) -> "ParsedChat":
        """Put in what was fetched, by the numbers of `pictures`. Raises: RequestTooLarge."""
        prompt = self.body.prompt
        messages = prompt.messages if isinstance(prompt, wire.ChatPrompt) else []
        prompt = wire.ChatPrompt(messages=filled(messages, fetched))
        body = msgspec.structs.replace(self.body, prompt=prompt)
        return msgspec.structs.replace(self, body=body)


NO_TOOLS = "tools are not offered so far"
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    # field: (values that ask for nothing, why the others are refused)
    "tools": (([],), NO_TOOLS),
    "tool_choice": (("none",), NO_TOOLS),
    "parallel_tool_calls": ((), NO_TOOLS),
    "functions": (([],), NO_TOOLS),
    "function_call": (("none",), NO_TOOLS),
    "response_format": (({"type": "text"},), 'only {"type": "text"} is offered so far'),
    "modalities": ((["text"],), 'answers are text; send ["text"] or leave it out'),
    "audio": ((), "answers are text"),
    "verbosity": (("medium",), "the model has no such control; send medium or leave it out"),
    "reasoning_effort": (("none",), "this is no reasoning model; send none or leave it out"),
    "prediction": ((), "predicted outputs are not offered"),
    "web_search_options": ((), "there is no web search"),
    "moderation": ((), "moderation is not offered"),
}


def parse(data: bytes | dict[str, Any]) -> ParsedChat:
    """Raises: InvalidRequest in all its kinds; RequestTooLarge."""
    request = convert(bounded_json.fields_of(data), ChatRequest)
    request.check_common()
    _check_refused(request)
    limit = request.max_completion_tokens or request.max_tokens
    found = Pictures()
    body = wire.Generate(
        prompt=wire.ChatPrompt(messages=to_wire(request.messages, found)),
        sampling=request.sampling(limit),
        n=request.n or 1,
        logprobs=_logprobs(request),
    )
    return ParsedChat(request.model, body, streaming(request), request.tier(), found)


def _check_refused(request: ChatRequest) -> None:
    for field, (harmless, why) in REFUSED.items():
        value = getattr(request, field)
        if value is not None and value not in harmless:
            raise unsupported(field, why)


def _logprobs(request: ChatRequest) -> int | None:
    if request.logprobs:
        return request.top_logprobs or 0
    if request.top_logprobs is not None:
        raise invalid("top_logprobs", "it is only allowed when 'logprobs' is true")
    return None
