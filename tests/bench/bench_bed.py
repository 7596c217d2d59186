"""Two thousand recorded requests (82 minutes) on a real node: fifteen models in the memory of four."""

import asyncio
import statistics
import sys
from pathlib import Path

from tests.bench import report
from tests.inference.node import bed, nodes, traces
from tests.inference.node.replay import Outcome, replay

DEADLINE_S = 120.0
FASTER = 1.0


def main(data: Path) -> None:
    specs = bed.specs(data)
    limit_bytes = bed.crowded(specs.values(), data)
    node = nodes.start(data, memory_limit_bytes=limit_bytes)
    try:
        outcome = asyncio.run(
            replay(node, traces.recorded(), specs, faster=FASTER, deadline_s=DEADLINE_S)
        )
    finally:
        nodes.stop(node)
    report.save(
        "7-bed", "A recorded trace of 82 minutes on real engines", rows(outcome, limit_bytes)
    )


def rows(outcome: Outcome, limit_bytes: int) -> list[report.Row]:
    for failure in outcome.failures:
        sys.stderr.write(f"{failure}\n")
    return [
        _row("requests answered rightly", len(outcome.waits_s), len(traces.recorded())),
        _row("failed", len(outcome.failures), 0),
        _row("engines and spares at their most, MB", outcome.peak_bytes / 1e6, limit_bytes / 1e6),
        report.Row("loads", str(sum(outcome.loads.values())), "", ""),
        report.Row("unloads to make room", str(outcome.evictions), "", ""),
        report.Row("wait, s: median", f"{statistics.median(outcome.waits_s):.2f}", "", ""),
        report.Row("wait, s: p95", f"{outcome.quantile(0.95):.2f}", "", ""),
        _row("wait, s: longest", max(outcome.waits_s), DEADLINE_S),
    ]


def _row(what: str, value: float, bound: float) -> report.Row:
    """The column of the peer is the bound."""
    share = f"{value / bound:.2f}" if bound else ""
    return report.Row(what, f"{value:,.6g}", f"{bound:,.6g}", share)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
