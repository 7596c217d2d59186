"""Run a node without the rest of the hub: `python -m inference.node --address unix:/path ...`."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from inference.node.server import BadAddress, NodeSettings, serve


def settings_of(arguments: list[str]) -> NodeSettings:
    parser = argparse.ArgumentParser(prog="python -m inference.node", description=__doc__)
    parser.add_argument("--address", required=True, help="unix:/path or tcp:127.0.0.1:port")
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--memory-limit-bytes", type=int, default=0, help="of main memory")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--max-concurrent-models", type=int, default=0)
    parser.add_argument("--auto-unload-timeout-s", type=float, default=300.0)
    parser.add_argument("--priority-models", nargs="*", default=[])
    parser.add_argument("--never-together", action="append", type=_group, default=[])
    parser.add_argument("--always-together", action="append", type=_group, default=[])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--standby", type=int, choices=(0, 1), default=0)
    parser.add_argument("--cgroup", default="", help="delegated folder of cgroup version 2")
    parser.add_argument("--vllm-python", default="", help="of vLLM's own environment")
    parser.add_argument("--hang-s", type=float, default=10.0)
    parser.add_argument("--crash-limit", type=int, default=10)
    parser.add_argument("--min-residency-s", type=float, default=1.0)
    parser.add_argument("--patience-s", type=float, default=40.0)
    return NodeSettings(**vars(parser.parse_args(arguments)))


def _group(names: str) -> list[str]:
    return names.split(",")


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        asyncio.run(serve(settings_of(sys.argv[1:])))
    except (BadAddress, OSError) as error:
        sys.stderr.write(f"node: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
