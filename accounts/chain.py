"""The chain of the audit log: what a row's hash covers, and which row breaks it. Pure."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

START = "0" * 64  # what the first row names as its previous hash
CHECKPOINT = "audit.checkpoint"
FIELDS = (
    "seq", "at", "action", "outcome", "times", "actor_kind", "actor", "actor_id", "key_id",
    "object_kind", "object_id", "object_name", "before", "after", "address", "request_id",
    "through", "previous",
)  # fmt: skip

Row = Mapping[str, Any]  # FIELDS and `hash`; `at` as ISO text in UTC


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that is wrong, and how."""

    seq: int
    reason: str

    def __str__(self) -> str:
        return f"row {self.seq}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Anchor:
    """How long the chain was once, and what its last row's hash was."""

    seq: int
    hash: str


Proves = Callable[[Anchor, str], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at, and the first fault, if there is one."""

    rows: int
    first: int  # number of the first row that is there; rows before it are under a checkpoint
    last: int
    head: str
    fault: Fault | None


def digest(row: Row) -> str:
    """SHA-256 over the canonical JSON of all fields, the previous hash among them."""
    content = json.dumps({field: row[field] for field in FIELDS}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def verify(
    rows: Iterable[Row], anchors: Iterable[Anchor] = (), proves: Proves | None = None
) -> Verdict:
    """Walk the rows in order of `seq`; `anchors` were kept outside of the table.

    `proves` tells whether this hub made a checkpoint; without it (an export) all are believed.
    """
    wanted = {anchor.seq: anchor.hash for anchor in anchors}
    walk = _Walk(proves)
    for row in rows:
        if (fault := walk.step(row, wanted.get(row["seq"]))) is not None:
            return walk.verdict(fault)
    return walk.verdict(walk.fault_at_end(wanted))


class _Walk:
    def __init__(self, proves: Proves | None) -> None:
        self._proves = proves
        self.count = self.first = self.last = 0
        self.head = START
        self._start = START  # what the first row says of the one before
        self._under: Anchor | None = None  # the latest checkpoint: rows up to it may be gone

    def step(self, row: Row, anchored: str | None) -> Fault | None:
        seq = int(row["seq"])
        if not self.count:
            self.first, self._start = seq, row["previous"]
        elif seq != self.last + 1:
            return Fault(self.last + 1, f"removed, as all rows up to {seq - 1}")
        if digest(row) != row["hash"]:
            return Fault(seq, "changed or moved: its content is not what its hash says")
        if self.count and row["previous"] != self.head:
            return Fault(seq, "does not follow the row before: one of the two was changed")
        if anchored is not None and anchored != row["hash"]:
            return Fault(seq, "replaced: the anchor outside of the table has another hash for it")
        self.count, self.last, self.head = self.count + 1, seq, row["hash"]
        return self._pass_under(row) if row["action"] == CHECKPOINT else None

    def _pass_under(self, row: Row) -> Fault | None:
        """Remember where a checkpoint lets the chain begin."""
        said = json.loads(row["after"] or "{}")
        under = Anchor(int(row["through"] or 0), str(said.get("hash", "")))
        if self._proves is not None and not self._proves(under, str(said.get("proof", ""))):
            return Fault(int(row["seq"]), "a checkpoint that this hub did not make")
        self._under = under
        return None

    def fault_at_end(self, anchors: Mapping[int, str]) -> Fault | None:
        furthest = max(anchors, default=0)
        if furthest > self.last:
            reason = f"removed: the anchor outside of the table knows of {furthest} rows"
            return Fault(self.last + 1, reason)
        if not self.count:
            return None
        if self.first == 1:
            wrong_start = self._start != START
            return Fault(1, "names a row before the first one") if wrong_start else None
        if self._under is None or self._under.seq < self.first - 1:
            return Fault(1, f"removed, as all rows up to {self.first - 1}, without a checkpoint")
        if self._under == Anchor(self.first - 1, self._start) or self._under.seq >= self.first:
            return None
        return Fault(self.first, "does not follow the row that the checkpoint names")

    def verdict(self, fault: Fault | None) -> Verdict:
        return Verdict(self.count, self.first, self.last, self.head, fault)
