"""From a request for a model that is not loaded to its first token, and the part of the weights."""

import asyncio
import json
import sys
import urllib.request
from pathlib import Path

from tests import real_hub as hub
from tests.bench import report
from tests.bench.load import stream_chat

MODELS = ("smollm2-135m-instruct", "smollm2-135m")
ROUNDS = 5


def unload(ours: hub.Hub, model: str) -> None:
    url = f"http://127.0.0.1:{ours.port}/api/v1/models/{model}/unload"
    request = urllib.request.Request(
        url,
        data=b"{}",
        method="POST",
        headers={"Authorization": f"Bearer {ours.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def status(ours: hub.Hub, model: str) -> dict[str, float]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{ours.port}/api/v1/status",
        headers={"Authorization": f"Bearer {ours.key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        models = json.load(answer)["models"]
    return next(m for m in models if m["name"] == model)


def rounds(ours: hub.Hub, model: str) -> tuple[list[float], list[float], list[float]]:
    """Give seconds to the first token cold, the load's share of it, and the same warm."""
    cold, load, warm = [], [], []
    target = ours.target(model)
    for n in range(ROUNDS):
        cold.append(asyncio.run(stream_chat(target, f"Say hello {n}", 4)).first_s)
        load.append(float(status(ours, model)["load_s"]))
        warm.append(asyncio.run(stream_chat(target, f"Say hello {n} again", 4)).first_s)
        unload(ours, model)
    return cold, load, warm


def main(data: Path) -> None:
    rows = []
    with hub.running(data) as ours:
        for model in MODELS:
            cold, load, warm = rounds(ours, model)
            rows.append(
                report.Row(
                    f"{model}: first token, s", report.spread(cold, 2), report.spread(warm, 2), ""
                )
            )
            share = [a / b for a, b in zip(load, cold, strict=True)]
            rows.append(
                report.Row(f"{model}: load, s", report.spread(load, 2), "", report.spread(share, 2))
            )
    notes = [
        "The peer column is the same request on the warm model; the ratio is load / cold wait."
    ]
    report.save("5-cold", "A request for a model that is not loaded", rows, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
