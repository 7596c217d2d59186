"""Whether a trained model is good enough for an alias: what was measured against limits. Pure.

`publish` judges each result once; `promotions` asks the verdict.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.errors import InvalidValue

FILE = "gate.json"
Ratio = Annotated[float, Meta(gt=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Outcome = Literal["passed", "failed", "unmeasured"]


class Limits(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Losses as ratios to the base's own on the same rows, the others as shares of right answers."""

    max_loss_ratio: Ratio = 1.0
    max_guard_ratio: Ratio = 1.05
    min_exact_match: Share = 0.0
    min_json_valid: Share = 0.9
    min_tool_calls_valid: Share = 0.9


class Check(msgspec.Struct, kw_only=True):
    """One measure: `value` is to be at most, or at least, `limit`."""

    name: str
    value: float
    limit: float
    passed: bool


class Verdict(msgspec.Struct, kw_only=True):
    outcome: Outcome
    checks: list[Check] = []

    @property
    def sentence(self) -> str:
        if self.outcome == "unmeasured":
            return "Nothing was measured: no rows were held out and no guard set was given."
        bad = [f"{one.name} is {one.value:g}, the limit {one.limit:g}" for one in self.failed]
        return f"The gate failed: {'; '.join(bad)}." if bad else "The gate passed."

    @property
    def failed(self) -> list[Check]:
        return [one for one in self.checks if not one.passed]


def read_limits(given: Mapping[str, Any], where: str = "gate") -> Limits:
    """Raises: InvalidValue naming the place."""
    try:
        return msgspec.convert(dict(given), Limits)
    except msgspec.ValidationError as error:
        known = ", ".join(Limits.__struct_fields__)
        message, _, path = str(error).partition(" - at `$.")
        param = f"{where}.{path.rstrip('`')}" if path else where
        raise InvalidValue(f"{param}: {message}. Known limits: {known}.", param=param) from error


def judge(evaluation: Mapping[str, Any], limits: Limits) -> Verdict:
    """`evaluation` is what the training process wrote to `evaluation.json`."""
    checks = [*_checks(evaluation, limits)]
    if not checks:
        return Verdict(outcome="unmeasured")
    passed = all(one.passed for one in checks)
    return Verdict(outcome="passed" if passed else "failed", checks=checks)


def _checks(evaluation: Mapping[str, Any], limits: Limits) -> Iterator[Check]:
    metrics = evaluation.get("metrics") or {}
    pairs = (
        ("loss_ratio", evaluation.get("loss"), metrics.get("base_loss"), limits.max_loss_ratio),
        (
            "guard_ratio",
            metrics.get("guard_loss"),
            metrics.get("guard_base_loss"),
            limits.max_guard_ratio,
        ),
    )
    for name, own, base, limit in pairs:
        if own is not None and base:
            ratio = round(own / base, 4)
            yield Check(name=name, value=ratio, limit=limit, passed=ratio <= limit)
    for name in ("exact_match", "json_valid", "tool_calls_valid"):
        if (value := metrics.get(name)) is not None:
            least = float(getattr(limits, f"min_{name}"))
            yield Check(name=name, value=round(value, 4), limit=least, passed=value >= least)
