"""A light streaming load generator: raw HTTP over asyncio, so that it costs less than what it measures."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Reply:
    """One streamed answer; times in seconds from the moment of sending."""

    first_s: float = 0.0
    total_s: float = 0.0
    tokens: int = 0
    chunks: int = 0
    text: str = ""
    error: str = ""


@dataclass
class Round:
    """All answers of one burst."""

    wall_s: float
    replies: list[Reply] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return sum(reply.tokens for reply in self.replies) / self.wall_s

    @property
    def errors(self) -> list[str]:
        return [reply.error for reply in self.replies if reply.error]


@dataclass(frozen=True)
class Target:
    """Where to send chats; `extra` joins every body (a peer may need its own switches)."""

    name: str
    base_url: str  # ends in /v1
    model: str
    key: str = "none"
    extra: dict[str, object] = field(default_factory=dict)


def body_of(target: Target, prompt: str, max_tokens: int) -> bytes:
    """Ask for exactly `max_tokens` greedy tokens with usage at the end."""
    return json.dumps(
        {
            "model": target.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **target.extra,
        }
    ).encode()


async def stream_chat(target: Target, prompt: str, max_tokens: int) -> Reply:
    """Send one chat on a connection of its own and read its events."""
    url = urlsplit(target.base_url)
    body = body_of(target, prompt, max_tokens)
    head = (
        f"POST {url.path}/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Authorization: Bearer {target.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    reply, started = Reply(), time.perf_counter()
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 20)
    try:
        writer.write(head + body)
        await _read_events(reader, reply, started)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        reply.error = f"{type(error).__name__}: {error}"
    finally:
        writer.close()
    reply.total_s = time.perf_counter() - started
    return reply


async def _read_events(reader: asyncio.StreamReader, reply: Reply, started: float) -> None:
    status = await reader.readline()
    if b" 200 " not in status:
        reply.error = (status + await reader.read()).decode(errors="replace")[:300]
        return
    done = False
    while line := await reader.readline():
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            done = True
            break
        _take(json.loads(data), reply, started)
    if not done and not reply.error:
        reply.error = "the stream ended without [DONE]"


def _take(event: dict[str, object], reply: Reply, started: float) -> None:
    if event.get("error"):
        reply.error = str(event["error"])
        return
    usage = event.get("usage")
    if isinstance(usage, dict):
        reply.tokens = int(usage["completion_tokens"])
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        text = choice["delta"].get("content") or ""
        if text and not reply.chunks:
            reply.first_s = time.perf_counter() - started
        reply.chunks += bool(text)
        reply.text += text


async def burst(target: Target, prompts: list[str], max_tokens: int) -> Round:
    """Send all prompts at once and wait for all answers."""
    started = time.perf_counter()
    replies = await asyncio.gather(*(stream_chat(target, p, max_tokens) for p in prompts))
    return Round(time.perf_counter() - started, list(replies))


def prompts(count: int, seed: int) -> list[str]:
    """Give different short questions, so that no answer can come from another's cache."""
    return [
        f"Question {seed}-{n}: tell me a short story about number {n + 7}." for n in range(count)
    ]
