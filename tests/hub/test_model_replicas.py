"""The model's page tells of each of its engines, and how far the estimate was right for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import people
from accounts.models import User
from hub.dashboard import estimates, replicas, rows, states
from hub.dashboard.estimates import Memory
from inference import catalog, wire
from inference.models import Model
from tests.inference.node import nodes
from tests.inference.node.nodes import Node

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
ESTIMATE = Memory(each_bytes=50, estimated_bytes=100, claimed_bytes=110, measured_bytes=60)


def row(wanted: int, *parts: wire.Part, device: str = "") -> rows.ModelRow:
    model = Model(name="m", kind="llm", engine="fake", settings={"replicas": wanted})
    status = wire.ModelStatus(
        name="m", version="", state="ready" if parts or device else "cold", kind="llm",
        engine="fake", device=device, replicas=wanted, parts=[*parts], claim_bytes=40,
    )  # fmt: skip
    return rows.ModelRow(model, states.of(status), (), status)


def part(number: int, state: wire.ModelState, claim: int) -> wire.Part:
    return wire.Part(
        replica=number, device=f"cuda:{number}", state=state, claim_bytes=claim, memory_bytes=30
    )


def test_each_engine_is_told_with_its_own_deviation() -> None:
    shown = replicas.of(row(3, part(1, "ready", 55), part(2, "loading", 50)), ESTIMATE)
    assert shown
    assert (shown.ready, shown.wanted) == (1, 3)
    told = [(e.number, e.device, e.state.key, e.deviation_percent) for e in shown.engines]
    assert told == [(1, "cuda:1", "ready", 10), (2, "cuda:2", "loading", 0)]


def test_one_engine_that_is_all_there_is_needs_no_table() -> None:
    assert replicas.of(row(1, device="cpu"), ESTIMATE) is None
    assert replicas.of(row(1), None) is None


def test_replicas_that_are_not_there_are_told_of() -> None:
    shown = replicas.of(row(2), None)
    assert shown == replicas.Replicas(2, ())
    first = replicas.of(row(2, device="cpu"), None)
    assert first
    assert [(e.device, e.claimed_bytes, e.deviation_percent) for e in first.engines] == [
        ("cpu", 40, None)
    ]


def test_those_that_leave_are_not_in_the_estimate() -> None:
    one = row(1, part(1, "ready", 50), part(2, "draining", 50), part(3, "ready", 50))
    assert estimates.places(one.status) == 2
    assert estimates.places(None) == 1


@pytest.fixture
def node(tmp_path: Path, settings: Settings) -> Iterator[Node]:
    running = nodes.start(tmp_path)
    settings.HUB_NODE_ADDRESS = f"unix:{running.path}"
    yield running
    nodes.stop(running)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis_url", "node")
def test_the_page_says_how_many_answer_and_lets_the_number_be_changed(client: Client) -> None:
    client.force_login(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    Model.objects.create(name="pair", kind="llm", engine="fake", settings={"replicas": 2})
    catalog.invalidate()
    page = client.get("/models/about/pair/").content.decode()
    assert "0 of 2 answer" in page
    assert 'href="#set-replicas"' in page
    assert 'id="set-replicas"' in page
    answer = client.post("/models/settings/pair/", {"replicas": "1"})
    assert answer.status_code == 302
    assert "0 of 2 answer" not in client.get("/models/about/pair/").content.decode()
