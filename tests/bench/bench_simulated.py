"""The recorded trace in virtual time: this scheduler beside three plain ones, over the same engines."""

from pathlib import Path

from tests.bench import report
from tests.inference.node.baselines import FirstIdle, LeastRecentlyUsed, Plain, Unblocked
from tests.inference.node.simulation import DEADLINE_S, Outcome, simulate
from tests.inference.node.traces import BED, MEMORY_GB, SPAN_S, recorded

GOAL = 0.7
PEERS: tuple[tuple[str, type[Plain], float | None], ...] = (
    ("plain least recently used", LeastRecentlyUsed, GOAL),
    ("first-idle in the order of arrival", FirstIdle, GOAL),
    ("first-idle, nobody behind another's load", Unblocked, None),
)


def main(_: Path) -> None:
    trace = recorded()
    ours = simulate(trace)
    rows = [
        row
        for name, scheduler, goal in PEERS
        for row in _beside(name, ours, simulate(trace, scheduler), goal)
    ]
    crowded = sum(ask.at_s <= SPAN_S for ask in trace)
    report.save(
        "7-simulated",
        "Switching between models, simulated",
        rows,
        [
            f"{len(trace):,} requests in virtual time, {crowded:,} of them in the first {SPAN_S:.0f} s and the last"
            f" after {trace[-1].at_s:,.0f} s, for {len(BED)} models in {MEMORY_GB:g} GB:"
            " nothing was loaded, loads and answers take the seconds that the trace's models are given"
            " (`tests/inference/node/simulation.py`). The peers (`baselines.py`) share memory, pins, queues and"
            f" concurrency with the hub's scheduler. Waits are of requests that were served; after {DEADLINE_S:.0f} s"
            " one is refused. Lower is better: a ratio above 1 is lost. The hub's settings were first chosen on"
            " this trace; what other seeds gave is in decisions.md."
        ],
    )


def _beside(name: str, ours: Outcome, peer: Outcome, goal: float | None) -> list[report.Row]:
    return [
        _row(f"loads (peer: {name})", ours.switches, peer.switches, goal),
        _row("the same, wait: p95, s", ours.p95_s, peer.p95_s, goal),
        _row("the same, wait: longest, s", max(ours.waits_s), max(peer.waits_s)),
        report.Row("the same, refused", str(ours.failed), str(peer.failed), ""),
    ]


def _row(what: str, ours: float, peer: float, goal: float | None = None) -> report.Row:
    ratio = ours / peer
    shown = f"{ours:,.4g}", f"{peer:,.4g}", f"{ratio:.2f}"
    if goal is None:
        return report.Row(what, *shown)
    return report.Row(what, *shown, f"<= {goal:.2f}", "yes" if ratio <= goal else "no")
