"""A route chooses by weight, keeps its users, and fills in what a request leaves open."""

from collections import Counter
from typing import Any

import pytest

from inference import routes
from inference.routes import Route, Target

CANARY = Route((Target("old", 90), Target("new", 10), Target("spare", 0)), sticky=True)


def firsts(route: Route, users: int = 4000, gone: str = "") -> Counter[str]:
    orders = (routes.order("r", route, user, lambda model: model != gone) for user in range(users))
    return Counter(order[0] for order in orders)


def test_it_shares_by_weight() -> None:
    shares = firsts(CANARY)
    assert shares["old"] + shares["new"] == 4000
    assert 0.08 < shares["new"] / 4000 < 0.12


def test_a_user_stays_and_a_growing_canary_only_takes_more() -> None:
    wider = Route((Target("old", 50), Target("new", 50)), sticky=True)
    for user in range(200):
        before = routes.order("r", CANARY, user, bool)[0]
        assert routes.order("r", CANARY, user, bool)[0] == before
        after = routes.order("r", wider, user, bool)[0]
        assert (before, after) != ("new", "old")


def test_others_follow_in_their_order() -> None:
    assert sorted(routes.order("r", CANARY, 1, bool)) == ["new", "old", "spare"]
    assert routes.order("r", CANARY, 1, bool)[-1] == "spare"


def test_it_leaves_out_what_cannot_serve() -> None:
    assert set(firsts(CANARY, gone="old")) == {"new"}
    only_spare = Route((Target("old"), Target("spare", 0)))
    assert set(firsts(only_spare, gone="old")) == {"spare"}
    nobody = routes.order("r", CANARY, 1, lambda _model: False)
    assert nobody == ["old", "new", "spare"], "the caller says why the first cannot"


def test_without_stickiness_it_draws_anew() -> None:
    even = Route((Target("a"), Target("b")))
    assert {routes.order("r", even, 1, bool)[0] for _ in range(200)} == {"a", "b"}


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({}, {"temperature": 0.2, "max_tokens": 9}),
        ({"temperature": None}, {"temperature": 0.2, "max_tokens": 9}),
        ({"temperature": 0}, {"temperature": 0, "max_tokens": 9}),
        ({"max_completion_tokens": 5}, {"temperature": 0.2, "max_completion_tokens": 5}),
    ],
)
def test_it_fills_in_only_what_is_open(asked: dict[str, Any], seen: dict[str, Any]) -> None:
    route = Route((Target("a"),), defaults={"temperature": 0.2, "max_tokens": 9})
    assert routes.applied(route, {**CHAT, **asked}) == {**CHAT, **seen}


@pytest.mark.parametrize(
    ("role", "is_added"), [("user", True), ("system", False), ("developer", False)]
)
def test_it_adds_a_system_prompt_to_chats_without_one(role: str, is_added: bool) -> None:
    route = Route((Target("a"),), system_prompt="Be brief.")
    fields = {"messages": [{"role": role, "content": "x"}]}
    messages = routes.applied(route, fields)["messages"]
    assert (messages[0]["content"] == "Be brief.") == is_added
    assert fields["messages"] == [{"role": role, "content": "x"}], "the request itself stays"
    assert routes.applied(route, {"prompt": "x"}) == {"prompt": "x"}
