"""Chat throughput through the hub against llama.cpp's own HTTP server: same GGUF, same threads."""

import asyncio
import sys
from pathlib import Path

from tests import models
from tests import real_hub as hub
from tests.bench import report
from tests.bench.load import Round, Target, burst, prompts, stream_chat

GOAL = 0.95
MODEL = "smollm2-135m-instruct"
ROUNDS = {1: 5, 16: 4, 64: 3}  # streams -> rounds
MAX_TOKENS = 64
LONG_SENTENCES, LONG_ROUNDS = 110, 5  # about 1,000 tokens


def measure(target: Target, streams: int, seed: int) -> Round:
    done = asyncio.run(burst(target, prompts(streams, seed), MAX_TOKENS))
    if done.errors:
        raise RuntimeError(f"{target.name}: {done.errors[0]}")
    return done


def interleave(
    ours: Target, peer: Target, streams: int, rounds: int, goal: float | None = None
) -> report.Row:
    """Measure A B, B A, A B ... so that drift of the machine hits both."""
    measure(ours, streams, 900)
    measure(peer, streams, 900)
    speeds: dict[str, list[float]] = {ours.name: [], peer.name: []}
    for n in range(rounds):
        for target in (ours, peer) if n % 2 == 0 else (peer, ours):
            speeds[target.name].append(measure(target, streams, n).tokens_per_s)
    return report.compare(
        f"{streams} stream(s), tokens/s", speeds[ours.name], speeds[peer.name], goal
    )


def read_long(target: Target, number: int) -> float:
    """Give long prompts read in a second, from the wait for the first token."""
    words = " ".join(f"{number}-{n} is a number." for n in range(LONG_SENTENCES))
    reply = asyncio.run(stream_chat(target, words, 2))
    if reply.error:
        raise RuntimeError(f"{target.name}: {reply.error}")
    return 1 / reply.first_s


def interleave_long(ours: Target, peer: Target) -> report.Row:
    speeds: dict[str, list[float]] = {ours.name: [], peer.name: []}
    for n in range(LONG_ROUNDS + 1):
        for target in (ours, peer) if n % 2 == 0 else (peer, ours):
            speeds[target.name].append(read_long(target, n))
    mine, theirs = (speeds[target.name][1:] for target in (ours, peer))
    return report.compare("prompt of 1,000 tokens, prompts/s", mine, theirs, GOAL, digits=3)


def llama_cpp(model: str, slots: int, threads: int) -> tuple[list[str], Target, str]:
    """Give the command, the target and the health address of the peer."""
    port = hub.free_port()
    command = [sys.executable, "-m", "tests.bench.llamacpp_server", model, str(port)]
    base = f"http://127.0.0.1:{port}"
    target = Target("llama.cpp", f"{base}/v1", "x", extra={"ignore_eos": True})
    return [*command, str(threads), str(slots)], target, f"{base}/health"


def main(data: Path) -> None:
    rows = []
    with hub.running(data) as ours:
        gguf = models.smollm2_gguf()
        for streams, rounds in ROUNDS.items():
            command, target, health = llama_cpp(str(gguf), streams, threads=1)
            with hub.peer(command, health, 60):
                mine = ours.target(MODEL, ignore_eos=True)
                rows.append(interleave(mine, target, streams, rounds, GOAL))
                if streams == 1:
                    rows.append(interleave_long(mine, target))
    notes = [f"Greedy, {MAX_TOKENS} tokens an answer, 1 engine thread each, SmolLM2-135M Q4_1."]
    report.save("1-chat", "Chat throughput against llama.cpp's own server", rows, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
