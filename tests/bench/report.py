"""Figures with their spread, and the page they are published on."""

import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

PAGE = Path("docs/performance.md")
RESULTS = Path("tests/bench/results.json")


@dataclass(frozen=True)
class Row:
    """One line of a table: a ratio or a figure, as median and spread of its rounds."""

    what: str
    ours: str
    peer: str
    ratio: str
    goal: str = ""
    met: str = ""


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Give `median (min to max)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def compare(
    what: str,
    ours: Sequence[float],
    peer: Sequence[float],
    goal: float | None = None,
    digits: int = 1,
) -> Row:
    """Make a row of pair-by-pair ratios ours/peer; higher is better."""
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    if goal is None:
        return Row(what, spread(ours, digits), spread(peer, digits), spread(ratios, 2))
    met = "yes" if statistics.median(ratios) >= goal else "no"
    return Row(
        what, spread(ours, digits), spread(peer, digits), spread(ratios, 2), f">= {goal:.2f}", met
    )


def save(section: str, title: str, rows: list[Row], notes: Sequence[str] = ()) -> None:
    """Keep a section's last result and write the page anew from all sections."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[section] = {
        "title": title,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "notes": list(notes),
    }
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(render(results))
    print(render({section: results[section]}))  # noqa: T201


def machine() -> str:
    memory_gib = psutil.virtual_memory().total / 2**30
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{psutil.cpu_count()} cores of {model}, {memory_gib:.0f} GiB, no GPU"


def render(results: dict[str, dict[str, object]]) -> str:
    lines = [
        "# Performance",
        "",
        "Written by `make bench`. Every comparison ran interleaved in one run on one machine;",
        "figures are `median (min to max)` over the rounds. Losing figures stay.",
    ]
    for _, section in sorted(results.items()):
        lines += ["", f"## {section['title']}", "", f"{section['date']}, {section['machine']}.", ""]
        lines += _table(section["rows"])
        lines += [f"\n{note}" for note in section["notes"]]  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"


def _table(rows: object) -> list[str]:
    head = "| what | hub | peer or limit | ratio | goal | met |\n|---|---|---|---|---|---|"
    assert isinstance(rows, list)
    cells = ("what", "ours", "peer", "ratio", "goal", "met")
    return [head, *("| " + " | ".join(row[c] for c in cells) + " |" for row in rows)]
