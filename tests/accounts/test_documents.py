"""docs/access.md tells every scope, role and limit that there is."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from accounts import scopes, throttle

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([a-z:]+)` \| .* \| (\w+) \|$", PAGE, re.MULTILINE))


def test_it_tells_every_scope_and_no_other() -> None:
    assert ROWS.keys() == scopes.SCOPES.keys()


@pytest.mark.parametrize("scope", sorted(scopes.WIDE))
def test_it_tells_every_name_that_means_several(scope: str) -> None:
    assert f"`{scope}`" in PAGE


@pytest.mark.parametrize("scope", scopes.SCOPES)
def test_it_tells_the_first_role_that_holds_a_scope(scope: str) -> None:
    first = next(role for role, held in scopes.ROLES.items() if scope in held)
    assert ROWS[scope] == first


def test_each_role_holds_what_the_ones_before_it_hold() -> None:
    held = list(scopes.ROLES.values())
    assert all(low < high for low, high in pairwise(held))


def test_it_tells_the_limits_of_signing_in() -> None:
    for rule in (throttle.PAIR, throttle.NAME, throttle.ADDRESS):
        assert re.search(rf"{rule.tries} (attempts )?in {rule.window_s // 60} minutes", PAGE)


def test_the_tests_that_it_names_are_there() -> None:
    root = Path(__file__).parents[1]
    files = {file.name: file.read_text(encoding="utf-8") for file in root.rglob("test_*.py")}
    table = PAGE.partition("## Attacks")[2].partition("\n## ")[0]
    assert {*re.findall(r"(test_\w+\.py)`", table)} <= files.keys()
    everything = "\n".join(files.values())
    for name in re.findall(r"`(test_\w+|Test\w+)`", table):
        assert re.search(rf"(def|class) {name}\b", everything), name
