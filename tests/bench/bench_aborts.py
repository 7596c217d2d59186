"""1,000 streams that break off at random, through two web processes: places come back, tokens are right.

What the streams do, and what is right, is the test's: tests/inference/api/test_aborted_streams.py.
"""

import asyncio
import tempfile
from pathlib import Path

from tests import servers
from tests.bench import report
from tests.inference.api.conftest import MODELS
from tests.inference.api.test_aborted_streams import (
    FREE_WITHIN_S,
    PROMPT,
    STREAMS,
    leave_all,
    wait_free,
    wrong,
)
from tests.inference.api.test_exact_limits import places, rows, totals


def main(_data: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        address = f"unix:{folder}/node.sock"
        with servers.hub(MODELS, node_address=address) as hub:
            two = (hub, servers.another_web(hub))
            found = asyncio.run(leave_all(two, hub.key))
            free_s = wait_free(two, hub.key)
            stuck = places(two, hub.key)
            noted = {
                row["request_id"]: row["completion_tokens"] for row in rows(two, hub.key, STREAMS)
            }
            right = STREAMS - len(wrong(found, noted))
            requests, summed = totals(two, hub.key)
    prompts = summed - sum(noted.values())
    exact = "yes" if right == requests == STREAMS and prompts % PROMPT == 0 else "no"
    rows_ = [
        report.Row(
            "places still taken after all had left", str(stuck), "", "", "0", _yes(not stuck)
        ),
        report.Row(
            "all places back after, s",
            f"{free_s:.1f}",
            "",
            "",
            "<= 30",
            _yes(free_s <= FREE_WITHIN_S),
        ),
        report.Row("rows that equal the tokens served", str(right), str(STREAMS), "", "all", exact),
    ]
    report.save("3c-aborts", "1,000 streams that break off, through two web processes", rows_)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


if __name__ == "__main__":
    main(Path())
