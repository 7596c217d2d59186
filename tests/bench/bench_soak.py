"""A hundred users stream for a minute: no error, no crossed answer, flat memory."""

import asyncio
import sys
import time
from pathlib import Path

from tests import real_hub as hub
from tests.bench import report
from tests.bench.load import Reply, Target, stream_chat

MODEL = "smollm2-135m-instruct"
USERS, DURATION_S, MAX_TOKENS = 100, 60.0, 16
GROWTH_LIMIT = 1.10


async def user(target: Target, number: int, until: float) -> list[tuple[str, Reply]]:
    """Ask one's own question again and again; greedy, so that the answer must be the same."""
    prompt = f"User {number}: write one sentence about the number {number}."
    replies = []
    while time.monotonic() < until:
        replies.append((prompt, await stream_chat(target, prompt, MAX_TOKENS)))
    return replies


async def crowd(target: Target, duration_s: float = DURATION_S) -> list[tuple[str, Reply]]:
    until = time.monotonic() + duration_s
    done = await asyncio.gather(*(user(target, n, until) for n in range(USERS)))
    return [pair for replies in done for pair in replies]


def crossed(replies: list[tuple[str, Reply]]) -> int:
    """Count answers that were given to another user's question and never to one's own before.

    Batched arithmetic may flip a near tie, so an answer that differs is crossed only when it equals
    some other user's answer.
    """
    first: dict[str, str] = {}
    for prompt, reply in replies:
        first.setdefault(prompt, reply.text)
    owners: dict[str, set[str]] = {}
    for prompt, text in first.items():
        owners.setdefault(text, set()).add(prompt)
    return sum(
        1
        for prompt, reply in replies
        if reply.text != first[prompt] and owners.get(reply.text, {prompt}) != {prompt}
    )


def main(data: Path) -> None:
    with hub.running(data) as ours:
        target = ours.target(MODEL)
        asyncio.run(crowd(target, 10.0))
        parts = ours.parts("serve_web", "serve_models", "run_worker")
        before = hub.memory_bytes(parts)
        replies = asyncio.run(crowd(target))
        after = hub.memory_bytes(parts)
    rows = rows_of(replies, before, after)
    report.save("4-soak", "100 concurrent streaming users for 60 s", rows)


def rows_of(replies: list[tuple[str, Reply]], before: int, after: int) -> list[report.Row]:
    errors = [reply.error for _, reply in replies if reply.error]
    mixed, growth = crossed(replies), after / before
    firsts = [reply.first_s for _, reply in replies if not reply.error]
    return [
        report.Row("answers", str(len(replies)), "", ""),
        report.Row("errors", str(len(errors)), "0", "", "0", "yes" if not errors else "no"),
        report.Row("crossed answers", str(mixed), "0", "", "0", "yes" if not mixed else "no"),
        report.Row("time to first token, s", report.spread(firsts, 2), "", ""),
        report.Row(
            "memory after / before, MB",
            f"{after / 1e6:.0f}",
            f"{before / 1e6:.0f}",
            f"{growth:.3f}",
            f"<= {GROWTH_LIMIT:.2f}",
            "yes" if growth <= GROWTH_LIMIT else "no",
        ),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
