"""Run a node without Django: `python -m inference.node --address unix:/path --state-dir D`."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from inference.node.server import BadAddress, NodeSettings, serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="unix:/path or tcp:host:port")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes")
    parser.add_argument("--max-models", type=int, default=0)
    parser.add_argument("--auto-unload-s", type=float, default=300.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--standby", type=int, default=0)
    parser.add_argument("--hang-s", type=float, default=60.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    settings = NodeSettings(
        address=options.address,
        state_dir=options.state_dir,
        device=options.device,
        memory_limit_bytes=options.memory_limit,
        max_concurrent_models=options.max_models,
        auto_unload_timeout_s=options.auto_unload_s,
        threads=options.threads,
        standby=options.standby,
        hang_s=options.hang_s,
    )
    try:
        asyncio.run(serve(settings))
    except (BadAddress, OSError) as error:
        sys.exit(f"node: {error}")


if __name__ == "__main__":
    main()
