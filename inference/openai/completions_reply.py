"""Answers of text completions, with their own shape of log probabilities."""

import msgspec

from inference import wire
from inference.openai import reply, sse
from inference.openai.completions import ParsedCompletion
from inference.openai.reply import Head, Usage

_encode = msgspec.json.encode


class Logprobs(msgspec.Struct):
    """Parallel lists, one entry per token; offsets count characters of the choice's text."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class Choice(msgspec.Struct):
    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: str | None


class Completion(msgspec.Struct, kw_only=True):
    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: str | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: str


class _Shaper:
    """Give tokens their offsets, also when they arrive in pieces."""

    def __init__(self) -> None:
        self._offset = 0

    def shape(self, tokens: list[wire.TokenLogprob]) -> Logprobs:
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += sum(byte & 0xC0 != 0x80 for byte in token.raw)
        return Logprobs(
            text_offset=offsets,
            token_logprobs=[
                None if t.logprob is None else reply.bounded(t.logprob) for t in tokens
            ],
            tokens=[_shown(t.raw) for t in tokens],
            top_logprobs=[_tops(t) for t in tokens],
        )


def _shown(raw: bytes) -> str:
    """Write a token that is a part of a character as OpenAI does."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _tops(token: wire.TokenLogprob) -> dict[str, float] | None:
    """List the alternatives and the chosen token, which may not be among them."""
    if token.logprob is None:
        return None
    tops = {_shown(top.raw): reply.bounded(top.logprob) for top in token.top}
    tops.setdefault(_shown(token.raw), reply.bounded(token.logprob))
    return tops


class _Gathering:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.logprobs: list[wire.TokenLogprob] = []
        self.finish_reason = "stop"

    def add(self, delta: wire.Delta) -> None:
        self.texts.append(delta.text)
        self.logprobs += delta.logprobs or ()
        self.finish_reason = delta.finish_reason or self.finish_reason

    def score(self) -> float:
        """Give the mean log probability per token: what `best_of` compares."""
        known = [token.logprob for token in self.logprobs if token.logprob is not None]
        return sum(known) / len(known) if known else float("-inf")

    def choice(self, index: int, with_logprobs: bool) -> Choice:
        logprobs = _Shaper().shape(self.logprobs) if with_logprobs else None
        return Choice(index, "".join(self.texts), logprobs, self.finish_reason)


class PlainEncoder:
    """Gather all choices of all prompts; of more than `n` keep the likeliest."""

    def __init__(self, parsed: ParsedCompletion, head: Head) -> None:
        self._parsed = parsed
        self._head = head
        self._prompts = [[_Gathering() for _ in range(body.n)] for body in parsed.bodies]

    def add(self, message: wire.Delta, prompt: int) -> None:
        self._prompts[prompt][message.index].add(message)

    def finish(self, done: list[wire.Done]) -> bytes:
        chosen = [choice for choices in self._prompts for choice in self._best(choices)]
        with_logprobs = self._parsed.logprobs is not None
        answer = Completion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[choice.choice(at, with_logprobs) for at, choice in enumerate(chosen)],
            usage=reply.usage(d.usage for d in done),
            service_tier=self._parsed.service_tier or msgspec.UNSET,
            system_fingerprint=self._head.fingerprint,
        )
        return _encode(answer)

    def _best(self, choices: list[_Gathering]) -> list[_Gathering]:
        if len(choices) == self._parsed.n:
            return choices
        return sorted(choices, key=_Gathering.score, reverse=True)[: self._parsed.n]


class StreamEncoder:
    """Give SSE bytes for each message of each prompt."""

    def __init__(self, parsed: ParsedCompletion, head: Head) -> None:
        self._parsed = parsed
        self._head = head
        self._shapers = [_Shaper() for _ in range(len(parsed.bodies) * parsed.n)]

    def start(self) -> bytes:
        return b""

    def add(self, message: wire.Delta, prompt: int) -> bytes:
        if not (message.text or message.logprobs or message.finish_reason):
            return b""
        index = prompt * self._parsed.n + message.index
        logprobs = None
        if self._parsed.logprobs is not None:
            logprobs = self._shapers[index].shape(message.logprobs or [])
        choice = Choice(index, message.text, logprobs, message.finish_reason)
        null = None if self._parsed.streaming.include_usage else msgspec.UNSET
        return self._chunk([choice], null)

    def finish(self, done: list[wire.Done]) -> bytes:
        if not self._parsed.streaming.include_usage:
            return sse.DONE
        return self._chunk([], reply.usage(d.usage for d in done)) + sse.DONE

    def _chunk(self, choices: list[Choice], usage: Usage | msgspec.UnsetType | None) -> bytes:
        chunk = Completion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=choices,
            usage=usage,
            service_tier=self._parsed.service_tier or msgspec.UNSET,
            system_fingerprint=self._head.fingerprint,
        )
        return sse.event(_encode(chunk))
