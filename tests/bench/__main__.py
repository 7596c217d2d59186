"""`make bench`: run all benchmarks, or those named, and write docs/performance.md."""

import importlib
import os
import sys
import tempfile
from pathlib import Path

HUB_BENCHES = (
    "chat",
    "vllm",
    "overhead",
    "access",
    "aborts",
    "soak",
    "cold",
    "switch",
    "bed",
    "simulated",
    "memory",
    "kills",
    "swapping",
    "real_swapping",
    "job_kills",
    "job_disk",
    "job_overhead",
    "facts",
    "rows",
)
ENGINE_BENCHES = (
    "transformers",
    "adapters",
    "quant",
    "training",
    "training_memory",
    "llamafactory",
)


def main() -> None:
    chosen = sys.argv[1:] or [*ENGINE_BENCHES, *HUB_BENCHES]
    models = Path(os.environ["AI_HUB_MODELS"]).resolve()
    for name in chosen:
        bench = importlib.import_module(f"tests.bench.bench_{name}")
        if name in ENGINE_BENCHES:
            bench.main(models / "smollm2-135m")
            continue
        with tempfile.TemporaryDirectory(prefix="hub-bench-") as data:
            bench.main(Path(data))


if __name__ == "__main__":
    main()
