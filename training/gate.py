"""Whether a trained model is good enough for an alias: what was measured against limits. Pure.

`publish` judges each result once; `promotions` asks the verdict.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.errors import InvalidValue

FILE = "gate.json"
Ratio = Annotated[float, Meta(gt=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Outcome = Literal["passed", "failed", "unmeasured"]
SHARES = ("exact_match", "json_valid", "tool_calls_valid")


class Limits(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Losses as ratios to the base's own on the same rows, the others as shares of right answers.

    `champion`: who answers for the alias now, on the same rows too. Its losses may be passed by a little,
    and its right answers missed by a few, since few are asked.
    """

    max_loss_ratio: Ratio = 1.0
    max_guard_ratio: Ratio = 1.05
    min_exact_match: Share = 0.0
    min_json_valid: Share = 0.9
    min_tool_calls_valid: Share = 0.9
    max_champion_ratio: Ratio = 1.02
    max_champion_drop: Share = 0.1


class Check(msgspec.Struct, kw_only=True):
    """One measure: `value` is to be at most, or at least, `limit`."""

    name: str
    value: float
    limit: float
    passed: bool


class Verdict(msgspec.Struct, kw_only=True):
    """`checks` are beside the base; those beside each champion decide where it would be replaced."""

    outcome: Outcome
    checks: list[Check] = []
    champions: dict[str, list[Check]] = {}

    @property
    def sentence(self) -> str:
        if self.outcome == "unmeasured":
            return "Nothing was measured: no rows were held out and no guard set was given."
        bad = said(self.failed)
        return f"The gate failed: {bad}." if bad else "The gate passed."

    @property
    def failed(self) -> list[Check]:
        return [one for one in self.checks if not one.passed]


def said(failed: Sequence[Check]) -> str:
    return "; ".join(f"{one.name} is {one.value:g}, the limit {one.limit:g}" for one in failed)


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
    others = evaluation.get("champions") or {}
    champions = {name: beside(evaluation, figures, limits) for name, figures in others.items()}
    if not checks:
        return Verdict(outcome="unmeasured", champions=champions)
    passed = all(one.passed for one in checks)
    return Verdict(outcome="passed" if passed else "failed", checks=checks, champions=champions)


def beside(
    evaluation: Mapping[str, Any], champion: Mapping[str, float], limits: Limits
) -> list[Check]:
    """Compare with a champion's figures on the same rows: `loss`, and metrics by name."""
    metrics = evaluation.get("metrics") or {}
    losses = (
        ("champion_loss_ratio", evaluation.get("loss"), champion.get("loss")),
        ("champion_guard_ratio", metrics.get("guard_loss"), champion.get("guard_loss")),
    )
    most, drop = limits.max_champion_ratio, limits.max_champion_drop
    checks = [*_ratios((name, own, theirs, most) for name, own, theirs in losses)]
    for name in SHARES:
        own, theirs = metrics.get(name), champion.get(name)
        if own is not None and theirs is not None:
            least = round(max(0.0, theirs - drop), 4)
            checks.append(Check(name=name, value=round(own, 4), limit=least, passed=own >= least))
    return checks


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
    yield from _ratios(pairs)
    for name in SHARES:
        if (value := metrics.get(name)) is not None:
            least = float(getattr(limits, f"min_{name}"))
            yield Check(name=name, value=round(value, 4), limit=least, passed=value >= least)


def _ratios(
    pairs: Iterable[tuple[str, float | None, float | None, float]],
) -> Iterator[Check]:
    """Give a check for each pair of which both were measured."""
    for name, own, other, limit in pairs:
        if own is not None and other:
            ratio = round(own / other, 4)
            yield Check(name=name, value=ratio, limit=limit, passed=ratio <= limit)
