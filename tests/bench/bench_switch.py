"""From a request for a model that is not in memory to its first token: a warm switch, a cold start, a peer.

Warm: a spare process has the imports done (the default). Cold: `AI_HUB_STANDBY=0`, each load starts
a process. Peer: `transformers serve`, which unloads and loads in one process that has the imports
done. llama.cpp's router is not in the wheel ("xllamacpp disabled the router server feature").
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from tests import real_hub as hub
from tests.bench import report
from tests.bench.bench_cold import unload
from tests.bench.load import Target, stream_chat

MODEL = "smollm2-135m"
ROUNDS = 7
PEER_IDLE_S = 2  # its shortest sensible time-out
GOAL_S, GOAL_SHARE = 1.5, 0.5
LOOK_S, STEADY_S, LIMIT_S = 0.2, 1.0, 60.0
HEAVY_BYTES = 150_000_000  # a process that has torch imported


def first_s(target: Target, number: int) -> float:
    reply = asyncio.run(stream_chat(target, f"Say hello {number}", 4))
    if not reply.first_s:
        raise RuntimeError(reply.error)
    return reply.first_s


def wait_spare(ours: hub.Hub) -> None:
    """Wait until an engine process that nothing was loaded into has done its imports."""
    until, steady_since, before = time.monotonic() + LIMIT_S, time.monotonic(), -1.0
    while time.monotonic() < until:
        spares = [p for p in ours.parts("engines.worker") if p.memory_info().rss > HEAVY_BYTES]
        used = hub.cpu_s(spares)
        if not spares or used != before:
            steady_since, before = time.monotonic(), used
        elif time.monotonic() - steady_since > STEADY_S:
            return
        time.sleep(LOOK_S)
    raise RuntimeError("no spare process became ready")


def serve(port: int) -> list[str]:
    program = str(Path(sys.executable).with_name("transformers"))
    options = f"--host 127.0.0.1 --port {port} --model-timeout {PEER_IDLE_S}"
    return [program, "serve", *options.split()]


def rounds(warm: hub.Hub, cold: hub.Hub, theirs: Target) -> list[tuple[float, float, float]]:
    found = []
    for number in range(ROUNDS + 1):
        wait_spare(warm)
        times = [first_s(target, number) for target in (warm.target(MODEL), cold.target(MODEL))]
        times.append(first_s(theirs, number))
        for ours in (warm, cold):
            unload(ours, MODEL)
        time.sleep(2 * PEER_IDLE_S)  # it says nowhere when a model is gone
        found.append((times[0], times[1], times[2]))
    return found[1:]  # the first one reads files into the page cache


def rows(found: list[tuple[float, float, float]]) -> list[report.Row]:
    warm, cold, peer = (list(column) for column in zip(*found, strict=True))
    share = report.compare("share", warm, cold).ratio
    goal = report.spread(warm, 2)
    return [
        report.Row("warm switch, s", goal, "", "", f"<= {GOAL_S}", _met(warm, GOAL_S)),
        report.Row(
            "warm switch against a cold start, s",
            goal,
            report.spread(cold, 2),
            share,
            f"<= {GOAL_SHARE}",
            _met([a / b for a, b in zip(warm, cold, strict=True)], GOAL_SHARE),
        ),
        report.Row(
            "warm switch against `transformers serve`, s",
            goal,
            report.spread(peer, 2),
            report.compare("", warm, peer).ratio,
        ),
    ]


def _met(values: list[float], goal: float) -> str:
    return "yes" if sorted(values)[len(values) // 2] <= goal else "no"


def main(data: Path) -> None:
    folder = Path(os.environ["AI_HUB_MODELS"]).resolve() / MODEL
    port = hub.free_port()
    ready = f"http://127.0.0.1:{port}/health"
    folders = [data / "warm", data / "cold"]
    for place in folders:
        place.mkdir()
    with (
        hub.running(folders[0], AI_HUB_STANDBY="1") as warm,
        hub.running(folders[1], AI_HUB_STANDBY="0") as cold,
        hub.peer(serve(port), ready, LIMIT_S, HF_HUB_OFFLINE="1"),
    ):
        theirs = Target("transformers serve", f"http://127.0.0.1:{port}/v1", str(folder))
        found = rounds(warm, cold, theirs)
    notes = [
        "SmolLM2-135M, bf16, 4 tokens, CPU; the spare process was ready; the peer's process stays up.",
        "llama.cpp's router could not be measured: the wheel of its server leaves it out.",
    ]
    report.save("8-switch", "A switch to a model that is not in memory", rows(found), notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
