"""Whoever asks whether a model fits hears who has to go, and no names that are hidden from them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from django.test import Client
from pytest_django import Settings

from accounts import people
from accounts.models import Team, User
from inference import catalog, wire
from inference.models import Model
from tests.accounts.test_limits_api import with_key
from tests.inference import tiny_files
from tests.inference.scripted_node import Line, scripted

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
PASSWORD = "a long enough pass phrase 7"
HELD = wire.Snapshot(
    at=0.0,
    devices=[
        wire.DeviceInfo(name="cpu", label="", total_bytes=10**9, limit_bytes=10**9, used_bytes=0)
    ],
    models=[
        wire.ModelStatus(
            name="theirs", version="", state="ready", kind="llm", engine="fake", device="cpu",
            claim_bytes=9 * 10**8,
        )
    ],
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    return tiny_files.folder(tmp_path / "new")


@pytest.fixture(autouse=True)
def crowded(folder: Path, settings: Settings) -> Iterator[None]:
    """A node whose memory is held by a model that only its team sees."""
    socket = folder.parent / "node.sock"
    settings.HUB_NODE_ADDRESS = f"unix:{socket}"

    async def answers(line: Line, question: wire.Any) -> None:
        await line.send(HELD)

    other = Team.objects.create(name="others")
    Model.objects.create(
        name="theirs", kind="llm", engine="fake", path="/m", team=other, visibility="team"
    )
    Model.objects.create(name="new", kind="llm", engine="llm_transformers", path=str(folder))
    catalog.invalidate()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(scripted(socket, answers)),
    ):
        yield


def person(name: str, role: User.Role) -> User:
    return people.create(name, PASSWORD, role=role)


@pytest.mark.parametrize(
    ("role", "name"),
    [(User.Role.ADMIN, "theirs"), (User.Role.DEVELOPER, "another team's model")],
)
def test_a_models_fit_names_who_has_to_go(role: User.Role, name: str) -> None:
    scopes = ["models:read", *(["admin:teams"] if role == User.Role.ADMIN else [])]
    client = with_key(person("ann", role), *scopes)
    fit = client.get("/api/v1/models/new").json()["fit"]
    assert (fit["verdict"], fit["would_have_to_go"]) == ("fits_after_unloading", [name])
    assert fit["reason"] == f"It fits after unloading {name}."


@pytest.mark.parametrize(
    ("role", "name"),
    [(User.Role.ADMIN, "theirs"), (User.Role.OPERATOR, "another team&#x27;s model")],
)
def test_the_page_that_adds_a_model_names_who_has_to_go(
    folder: Path, role: User.Role, name: str
) -> None:
    client = Client()
    client.force_login(person("ann", role))
    asked = {"path": str(folder), "name": "newer", "act": "look"}
    page = client.post("/models/add/folder/", asked).content.decode()
    assert f"It fits after unloading {name}." in page
