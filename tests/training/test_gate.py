"""The gate: what was measured against limits, and what of it keeps a model from an alias."""

from typing import Any

import pytest

from inference.errors import InvalidValue
from training import gate

GOOD = {
    "loss": 1.0,
    "metrics": {
        "base_loss": 2.0,
        "guard_loss": 1.0,
        "guard_base_loss": 1.0,
        "exact_match": 0.5,
        "json_valid": 1.0,
        "tool_calls_valid": 0.9,
    },
}


def judged(limits: dict[str, Any] | None = None, **changes: Any) -> gate.Verdict:
    metrics = GOOD["metrics"] | changes.pop("metrics", {})
    return gate.judge(GOOD | changes | {"metrics": metrics}, gate.read_limits(limits or {}))


def test_a_good_result_passes_with_every_measure_shown() -> None:
    verdict = judged()
    assert verdict.outcome == "passed"
    names = {"loss_ratio", "guard_ratio", "exact_match", "json_valid", "tool_calls_valid"}
    assert {check.name for check in verdict.checks} == names


@pytest.mark.parametrize(
    ("failed", "limits", "changes"),
    [
        ("loss_ratio", {}, {"loss": 2.01}),
        ("loss_ratio", {"max_loss_ratio": 0.4}, {}),
        ("guard_ratio", {}, {"metrics": {"guard_loss": 1.06}}),
        ("exact_match", {"min_exact_match": 0.6}, {}),
        ("json_valid", {}, {"metrics": {"json_valid": 0.8}}),
        ("tool_calls_valid", {"min_tool_calls_valid": 0.95}, {}),
    ],
)
def test_one_bad_measure_fails_and_is_named(
    failed: str, limits: dict[str, float], changes: dict[str, Any]
) -> None:
    verdict = judged(limits, **changes)
    assert verdict.outcome == "failed"
    assert [check.name for check in verdict.failed] == [failed]
    assert failed in verdict.sentence


@pytest.mark.parametrize(
    "found",
    [{}, {"loss": None, "metrics": {}}, {"loss": None, "metrics": {"train_exact_match": 1.0}}],
)
def test_what_was_not_held_out_proves_nothing(found: dict[str, Any]) -> None:
    verdict = gate.judge(found, gate.Limits())
    assert verdict.outcome == "unmeasured"
    assert "held out" in verdict.sentence


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"max_los_ratio": 1.0}, "gate"),
        ({"max_loss_ratio": 0}, "gate.max_loss_ratio"),
        ({"min_json_valid": 1.5}, "gate.min_json_valid"),
        ({"x": "1"}, "gate"),
    ],
)
def test_wrong_limits_are_refused_by_name(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        gate.read_limits(wrong)
    assert raised.value.param == param
    assert "max_guard_ratio" in raised.value.message


# --- beside who answers now -----------------------------------------------------------------------

CHAMPION = {"loss": 1.0, "guard_loss": 1.0, "exact_match": 0.5, "json_valid": 1.0}


def test_a_result_as_good_as_the_champion_is_not_worse() -> None:
    checks = gate.beside(GOOD, CHAMPION, gate.Limits())
    assert {check.name for check in checks} == {*CHAMPION} - {"loss", "guard_loss"} | {
        "champion_loss_ratio",
        "champion_guard_ratio",
    }
    assert all(check.passed for check in checks)


@pytest.mark.parametrize(
    ("failed", "champion", "limits"),
    [
        ("champion_loss_ratio", {"loss": 0.97}, {}),
        ("champion_guard_ratio", {"guard_loss": 0.97}, {}),
        ("exact_match", {"exact_match": 0.61}, {}),
        ("exact_match", {"exact_match": 0.55}, {"max_champion_drop": 0.0}),
    ],
)
def test_what_is_worse_than_the_champion_is_named(
    failed: str, champion: dict[str, float], limits: dict[str, float]
) -> None:
    checks = gate.beside(GOOD, CHAMPION | champion, gate.read_limits(limits))
    assert [check.name for check in checks if not check.passed] == [failed]


def test_a_verdict_tells_of_each_champion_and_is_not_decided_by_them() -> None:
    verdict = judged(champions={"other": CHAMPION | {"loss": 0.1}, "blind": {}})
    assert verdict.outcome == "passed"
    assert [check.name for check in verdict.champions["other"] if not check.passed] == [
        "champion_loss_ratio"
    ]
    assert verdict.champions["blind"] == []
