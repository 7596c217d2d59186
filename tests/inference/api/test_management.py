"""`/api/v1/models` and `/api/v1/status`: live state, load, unload, and who may."""

import asyncio
from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes
from tests.inference.scripted_node import Line

STATUS = wire.ModelStatus(
    name="chat", version="", state="ready", kind="llm", engine="fake", running=2, memory_bytes=7
)
FOREIGN = wire.ModelStatus(name="vectors", version="", state="cold", kind="embed", engine="fake")


async def answers(line: Line, question: wire.Any) -> None:
    """A node that does what it is asked."""
    match question:
        case wire.Watch():
            decision = wire.Decision(at=1.0, action="load", model="chat", reason="asked for")
            state = wire.Snapshot(
                at=2.0,
                models=[STATUS, FOREIGN],
                reservations=[
                    wire.ReservationStatus(
                        id="job-1", label="secret", state="waiting", claim_bytes=5
                    )
                ],
                decisions=[decision],
            )
            await line.send(state)
        case wire.Load():
            await line.send(wire.Progress(state="loading"))
            await line.send(wire.Loaded(memory_bytes=9, device="cpu", load_s=0.5))
        case wire.Plan():
            victims = [
                wire.Victim(name=name, claim_bytes=5, idle_s=60.0) for name in ("chat", "speech")
            ]
            await line.send(
                wire.Planned(verdict="fits_after_unloading", device="cpu", victims=victims)
            )
        case wire.Unload(model="chat"):
            await line.send(wire.Done())
        case wire.Unload():
            await line.send(wire.Failure(code="conflict", message="it is not loaded"))


async def call(
    web: servers.Hub, method: str, path: str, key: str = "operator", **options: Any
) -> httpx.Response:
    headers = {"x-api-key": web.keys[key]}
    async with httpx.AsyncClient(base_url=f"{web.url}/api/v1", timeout=60) as client:
        return await client.request(method, path, headers=headers, **options)


async def test_it_lists_models_with_their_state(web: servers.Hub, node: Nodes) -> None:
    async with node(answers):
        body = (await call(web, "GET", "/models")).json()
    by_name = {row["name"]: row for row in body["results"]}
    assert set(by_name) == {"chat", "vectors", "speech", "org/deep/name"}
    chat = by_name["chat"]
    assert (chat["state"], chat["aliases"]) == ("available", ["gpt-4", "gpt-4o"])
    assert (chat["live"]["state"], chat["live"]["running"]) == ("ready", 2)
    assert by_name["speech"]["live"]["state"] == "cold"
    assert "path" not in chat


async def test_it_shows_one_by_name_or_alias(web: servers.Hub, node: Nodes) -> None:
    async with node(answers):
        for name in ("chat", "gpt-4o"):
            assert (await call(web, "GET", f"/models/{name}")).json()["name"] == "chat"
        deep = await call(web, "GET", "/models/org/deep/name")
        assert deep.json()["name"] == "org/deep/name"
        assert (await call(web, "GET", "/models/nothing")).status_code == 404


async def test_it_loads_and_unloads(web: servers.Hub, node: Nodes) -> None:
    async with node(answers) as started:
        loaded = await call(web, "POST", "/models/gpt-4o/load", json={"deadline_s": 30})
        unloaded = await call(web, "POST", "/models/chat/unload", json={"force": True})
        other = await call(web, "POST", "/models/speech/unload", json={})
    assert loaded.json()["model"] == "chat"
    assert (loaded.json()["state"], loaded.json()["memory_bytes"]) == ("ready", 9)
    assert unloaded.json() == {"model": "chat", "state": "cold"}
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    questions: list[Any] = started.questions
    load, unload, _ = questions
    assert (load.spec.name, load.deadline_s) == ("chat", 30)
    assert (unload.model, unload.force) == ("chat", True)


async def test_it_gives_a_snapshot_to_poll(web: servers.Hub, node: Nodes) -> None:
    async with node(answers):
        body = (await call(web, "GET", "/status")).json()
    assert [row["name"] for row in body["models"]] == ["chat", "vectors"]
    assert body["decisions"][0]["reason"] == "asked for"
    assert body["reservations"][0]["label"] == ""


async def test_only_who_sees_all_teams_reads_the_names_of_trainings(
    web: servers.Hub, node: Nodes
) -> None:
    async with node(answers):
        body = (await call(web, "GET", "/status", key="overseer")).json()
    assert body["reservations"][0]["label"] == "secret"


async def test_a_limited_key_sees_its_models_only(web: servers.Hub, node: Nodes) -> None:
    async def limited(method: str, path: str) -> httpx.Response:
        body: dict[str, Any] = {"json": {}} if method == "POST" else {}
        return await call(web, method, path, key="one-model-operator", **body)

    async with node(answers) as started:
        listing = (await limited("GET", "/models")).json()
        state = (await limited("GET", "/status")).json()
        foreign = await asyncio.gather(
            limited("GET", "/models/chat"),
            limited("GET", "/models/gpt-4o"),
            limited("POST", "/models/chat/load"),
            limited("POST", "/models/chat/unload"),
        )
        own = await limited("POST", "/models/vectors/load")
    assert [row["name"] for row in listing["results"]] == ["vectors"]
    assert [row["name"] for row in state["models"]] == ["vectors"]
    assert state["decisions"] == []
    assert [(row["id"], row["label"]) for row in state["reservations"]] == [("job-1", "")]
    assert [one.status_code for one in foreign] == [404] * 4
    assert own.status_code == 200
    asked = [one for one in started.questions if isinstance(one, wire.Load | wire.Unload)]
    assert [one.spec.name for one in asked if isinstance(one, wire.Load)] == ["vectors"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/models/chat/load"), ("POST", "/models/chat/unload"), ("GET", "/status")],
)
async def test_it_needs_the_scope(web: servers.Hub, method: str, path: str) -> None:
    refused = await call(web, method, path, key="reader")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("load", {"deadline_s": 0}, "deadline_s"),
        ("load", {"deadline_s": 1e300}, "deadline_s"),
        ("load", {"deadline_s": "x"}, "deadline_s"),
        ("load", {"path": "/etc"}, "path"),
        ("load", {"trust_remote_code": True}, "trust_remote_code"),
        ("unload", {"force": "maybe"}, "force"),
        ("unload", {"deadline_s": 3}, "deadline_s"),
    ],
)
async def test_it_names_what_is_wrong(
    web: servers.Hub, path: str, body: dict[str, Any], param: str
) -> None:
    refused = await call(web, "POST", f"/models/chat/{path}", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":"\\ud800"}', b'{"a":NaN}', b"\xff", b'{"a":"\\u0000"}']
)
async def test_it_survives_hostile_json(web: servers.Hub, content: bytes) -> None:
    headers = {"content-type": "application/json", "x-api-key": web.keys["operator"]}
    async with httpx.AsyncClient(timeout=60) as client:
        url = f"{web.url}/api/v1/models/chat/load"
        refused = await client.post(url, content=content, headers=headers)
    assert refused.status_code == 400
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}


async def test_it_says_that_the_node_is_away(web: servers.Hub) -> None:
    listing, state, load = await asyncio.gather(
        call(web, "GET", "/models"),
        call(web, "GET", "/status"),
        call(web, "POST", "/models/chat/load", json={"deadline_s": 1}),
    )
    assert {row["live"]["state"] for row in listing.json()["results"]} == {"unknown"}
    for refused in (state, load):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "node_unavailable")
        assert int(refused.headers["retry-after"]) >= 1


async def test_it_says_what_a_load_would_do(web: servers.Hub, node: Nodes) -> None:
    async with node(answers) as started:
        body = (await call(web, "GET", "/models/vectors/plan")).json()
    assert (body["model"], body["verdict"]) == ("vectors", "fits_after_unloading")
    assert [(one["name"], one["idle_s"]) for one in body["victims"]] == [
        ("chat", 60.0),
        ("speech", 60.0),
    ]
    assert not [one for one in started.questions if isinstance(one, wire.Load)]


async def test_a_key_of_some_models_hears_of_no_others(web: servers.Hub, node: Nodes) -> None:
    async with node(answers):
        answer = await call(web, "GET", "/models/vectors/plan", key="one-model-operator")
    assert answer.json()["victims"] == []
