"""What the hub adds per request and per streamed chunk, against the engine alone and LiteLLM.

All three serve the same GGUF with llama.cpp and one thread. CPU is counted on the processes that
stand between client and engine: web and node for the hub, the proxy for LiteLLM.
"""

import asyncio
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests import models
from tests import real_hub as hub
from tests.bench import report
from tests.bench.bench_chat import MODEL, llama_cpp
from tests.bench.load import Target, burst, prompts
from tests.environments import python_of

ROUNDS, REQUESTS, LONG_TOKENS = 7, 20, 64
STREAMS = 8
LITELLM_KEY = "sk-bench-1234567890abcdef"  # it does not start without one


@dataclass
class Way:
    """One way to the engine, with the figures of its rounds."""

    target: Target
    processes: list[psutil.Process]
    first_ms: list[float] = field(default_factory=list)
    request_cpu_ms: list[float] = field(default_factory=list)
    chunk_cpu_us: list[float] = field(default_factory=list)


def serial(target: Target, seed: int) -> list[float]:
    """Give the times to the first byte of requests for one token, one after another, in ms."""
    times = []
    for prompt in prompts(REQUESTS, seed):
        done = asyncio.run(burst(target, [prompt], 1))
        if done.errors:
            raise RuntimeError(f"{target.name}: {done.errors[0]}")
        times.append(done.replies[0].total_s * 1e3)
    return times


def take(way: Way, seed: int) -> None:
    """Measure one round: short requests for the request's cost, long ones for the chunks' cost."""
    before = hub.cpu_s(way.processes)
    way.first_ms.append(statistics.median(serial(way.target, seed)))
    short = hub.cpu_s(way.processes)
    way.request_cpu_ms.append((short - before) / REQUESTS * 1e3)
    done = asyncio.run(burst(way.target, prompts(STREAMS, seed + 500), LONG_TOKENS))
    chunks = sum(reply.chunks for reply in done.replies)
    spent_s = hub.cpu_s(way.processes) - short - STREAMS * way.request_cpu_ms[-1] / 1e3
    way.chunk_cpu_us.append(max(spent_s, 0.0) / chunks * 1e6)


def litellm(folder: Path, upstream: Target) -> tuple[list[str], Target, str]:
    """Give command, target and health address of a LiteLLM proxy in front of `upstream`."""
    port = hub.free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n"
        f"  - model_name: {MODEL}\n"
        "    litellm_params:\n"
        f"      model: openai/x\n      api_base: {upstream.base_url}\n      api_key: none\n"
        f"general_settings:\n  master_key: {LITELLM_KEY}\n"
        "litellm_settings:\n  telemetry: false\n"
    )
    program = str(python_of("peers-litellm").parent / "litellm")
    command = [program, "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    base = f"http://127.0.0.1:{port}"
    target = Target("LiteLLM", f"{base}/v1", MODEL, LITELLM_KEY, extra={"ignore_eos": True})
    return command, target, f"{base}/health/liveliness"


def rows_of(direct: Way, ours: Way, proxy: Way) -> list[report.Row]:
    def added(way: Way) -> list[float]:
        return [a - b for a, b in zip(way.first_ms, direct.first_ms, strict=True)]

    def row(what: str, mine: list[float], theirs: list[float], digits: int) -> report.Row:
        ratio = statistics.median(mine) / max(statistics.median(theirs), 1e-9)
        texts = (report.spread(mine, digits), report.spread(theirs, digits))
        return report.Row(what, *texts, f"{ratio:.2f}")

    return [
        report.Row(
            "engine alone, one-token request, ms", "", report.spread(direct.first_ms, 2), ""
        ),
        row("added time to first byte, ms (peer: LiteLLM)", added(ours), added(proxy), 2),
        row("CPU per request, ms (peer: LiteLLM)", ours.request_cpu_ms, proxy.request_cpu_ms, 2),
        row("CPU per streamed chunk, us (peer: LiteLLM)", ours.chunk_cpu_us, proxy.chunk_cpu_us, 0),
    ]


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, hub.running(data) as server:
        gguf = models.smollm2_gguf()
        command, alone, health = llama_cpp(str(gguf), STREAMS, threads=1)
        proxy_command, proxy_target, proxy_health = litellm(Path(folder), alone)
        with (
            hub.peer(command, health, 60),
            hub.peer(proxy_command, proxy_health, 180) as proxy,
        ):
            ways = [
                Way(alone, []),
                Way(
                    server.target(MODEL, ignore_eos=True), server.parts("serve_web", "serve_models")
                ),
                Way(proxy_target, [proxy, *proxy.children(recursive=True)]),
            ]
            rows = compare(ways)
    report.save("3-overhead", "What the hub adds to its engine", rows)


def compare(ways: list[Way]) -> list[report.Row]:
    """Run all ways in turn, the first round not counted."""
    for way in ways:
        take(way, 9000)
        way.first_ms.clear()
        way.request_cpu_ms.clear()
        way.chunk_cpu_us.clear()
    for n in range(ROUNDS):
        for way in ways if n % 2 == 0 else reversed(ways):
            take(way, n * 1000)
    return rows_of(*ways)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
