"""Answers of chat completions: one JSON document, or a stream of chunks."""

import secrets

import msgspec

from inference import wire
from inference.openai import reply, sse
from inference.openai.chat import ParsedChat
from inference.openai.reply import Head, Logprobs, Usage

_encode = msgspec.json.encode


class ReplyMessage(msgspec.Struct):
    role: str
    content: str
    refusal: None = None
    annotations: list[str] = []


class Choice(msgspec.Struct):
    index: int
    message: ReplyMessage
    logprobs: Logprobs | None
    finish_reason: str


class ChatCompletion(msgspec.Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: str | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: str


class _Gathering:
    """One choice on its way."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.logprobs: list[wire.TokenLogprob] = []
        self.finish_reason: str = "stop"

    def add(self, delta: wire.Delta) -> None:
        self.texts.append(delta.text)
        self.logprobs += delta.logprobs or ()
        self.finish_reason = delta.finish_reason or self.finish_reason

    def choice(self, index: int, with_logprobs: bool) -> Choice:
        logprobs = reply.chat_logprobs(self.logprobs) if with_logprobs else None
        message = ReplyMessage("assistant", "".join(self.texts))
        return Choice(index, message, logprobs, self.finish_reason)


class PlainEncoder:
    """Gather the whole answer."""

    def __init__(self, parsed: ParsedChat, head: Head) -> None:
        self._parsed = parsed
        self._head = head
        self._choices = [_Gathering() for _ in range(parsed.body.n)]

    def add(self, message: wire.Delta, prompt: int) -> None:
        self._choices[message.index].add(message)

    def finish(self, done: list[wire.Done]) -> bytes:
        with_logprobs = self._parsed.body.logprobs is not None
        answer = ChatCompletion(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=[c.choice(at, with_logprobs) for at, c in enumerate(self._choices)],
            usage=reply.usage(d.usage for d in done),
            service_tier=self._parsed.service_tier or msgspec.UNSET,
            system_fingerprint=self._head.fingerprint,
        )
        return _encode(answer)


class StreamEncoder:
    """Give SSE bytes for each message; what never changes is encoded once."""

    def __init__(self, parsed: ParsedChat, head: Head) -> None:
        self._parsed = parsed
        self._head = head
        tier = parsed.service_tier
        self._open = (
            b'data: {"id":' + _encode(head.id)
            + b',"object":"chat.completion.chunk","created":' + _encode(head.created)
            + b',"model":' + _encode(head.model)
            + (b"" if tier is None else b',"service_tier":' + _encode(tier))
            + b',"system_fingerprint":' + _encode(head.fingerprint)
            + b',"choices":['
        )  # fmt: skip
        self._usage = b',"usage":null' if parsed.streaming.include_usage else b""
        self._content = [
            self._open + b'{"index":%d,"delta":{"content":' % at for at in range(parsed.body.n)
        ]
        self._plain_end = b'},"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"

    def start(self) -> bytes:
        """Name the role of every choice, in order."""
        role = b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null}'
        return b"".join(
            self._open + role % at + self._end(b"null", b"null", 0)
            for at in range(self._parsed.body.n)
        )

    def add(self, message: wire.Delta, prompt: int) -> bytes:
        """Encode one delta: a chunk with its text, and one with its end."""
        chunk = self._text(message) if message.text or message.logprobs else b""
        if message.finish_reason is None:
            return chunk
        closing = b'{"index":%d,"delta":{}' % message.index
        return chunk + self._open + closing + self._end(b"null", _encode(message.finish_reason), 0)

    def _text(self, delta: wire.Delta) -> bytes:
        text = self._content[delta.index] + _encode(delta.text)
        if delta.logprobs is None and not self._parsed.streaming.obfuscate:
            return text + self._plain_end
        logprobs = None if delta.logprobs is None else reply.chat_logprobs(delta.logprobs)
        return text + b"}" + self._end(_encode(logprobs), b"null", len(delta.text))

    def _end(self, logprobs: bytes, finish_reason: bytes, text_chars: int) -> bytes:
        padding = self._padding(text_chars) if self._parsed.streaming.obfuscate else b""
        return (
            b',"logprobs":' + logprobs + b',"finish_reason":' + finish_reason + b"}]"
            + self._usage + padding + b"}\n\n"
        )  # fmt: skip

    def _padding(self, text_chars: int) -> bytes:
        """Even out the lengths of chunks, so that they tell nothing of the words inside."""
        missing = -text_chars % OBFUSCATED_CHARS
        return b',"obfuscation":' + _encode(secrets.token_urlsafe(missing)[:missing])

    def finish(self, done: list[wire.Done]) -> bytes:
        if not self._parsed.streaming.include_usage:
            return sse.DONE
        usage = _encode(reply.usage(d.usage for d in done))
        return self._open + b'],"usage":' + usage + b"}\n\n" + sse.DONE


OBFUSCATED_CHARS = 16
