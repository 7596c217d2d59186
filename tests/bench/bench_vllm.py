"""The transformers engine through the hub beside vLLM's CPU build, which has an environment of its own.

Same weights (bf16), one compute thread each, each through its own OpenAI server; printed, without a goal.
"""

import os
import sys
from pathlib import Path

from tests import real_hub as hub
from tests.bench import report
from tests.bench.bench_chat import interleave
from tests.bench.load import Target
from tests.environments import python_of

MODEL = "smollm2-135m"
ROUNDS = {16: 3, 32: 3}  # streams -> rounds
START_LIMIT_S = 400.0
KV_GB = "2"


def vllm(folder: Path, port: int) -> list[str]:
    options = f"--host 127.0.0.1 --port {port} --dtype bfloat16 --max-model-len 2048"
    program = [str(python_of("peers-vllm")), "-m", "vllm.entrypoints.openai.api_server"]
    return [*program, "--model", str(folder), "--served-model-name", MODEL, *options.split()]


def main(data: Path) -> None:
    with hub.running(data) as ours:
        port = hub.free_port()
        folder = Path(os.environ["AI_HUB_MODELS"]).resolve() / MODEL
        command = vllm(folder, port)
        environment = {
            "VLLM_CPU_KVCACHE_SPACE": KV_GB,
            "VLLM_CPU_OMP_THREADS_BIND": "0",  # one core: one thread, as ours
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        with hub.peer(command, f"http://127.0.0.1:{port}/health", START_LIMIT_S, **environment):
            mine = ours.target(MODEL, ignore_eos=True)
            base_url = f"http://127.0.0.1:{port}/v1"
            peer = Target("vLLM", base_url, MODEL, extra={"ignore_eos": True})
            rows = [interleave(mine, peer, streams, n) for streams, n in ROUNDS.items()]
    notes = ["SmolLM2-135M, bf16, greedy, 64 tokens an answer; vllm-cpu 0.32.0, no goal set."]
    report.save("2b-vllm", "The transformers engine beside vLLM's CPU build", rows, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
