"""`/api/v1/aliases`: names and routes made, changed, rolled back; requests go where they lead."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat, events
from tests.inference.scripted_node import Line, Script

FIRST, SECOND = "chat", "org/deep/name"
PASSED_ON = (
    "engine_failed",
    "answer_interrupted",
    "insufficient_memory",
    "model_crashing",
    "model_load_failed",
    "model_loading_timeout",
    "model_not_found",
    "node_unavailable",
    "out_of_memory",
    "queue_full",
    "service_unavailable",
)
SAYS = (wire.Delta(text="x", tokens=1, finish_reason="stop"), wire.Done())


@pytest.fixture
async def api(web: servers.Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-api-key": web.keys["operator"]}
    async with httpx.AsyncClient(
        base_url=f"{web.url}/api/v1", headers=headers, timeout=30
    ) as opened:
        yield opened
        for row in (await opened.get("/aliases", params={"page_size": 500})).json()["results"]:
            if row["name"].startswith("t-"):
                await opened.delete(f"/aliases/{row['name']}")


async def make(api: httpx.AsyncClient, name: str, *targets: Any, **fields: Any) -> dict[str, Any]:
    wanted = [{"model": t} if isinstance(t, str) else t for t in targets]
    made = await api.post("/aliases", json={"name": name, "targets": wanted, **fields})
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


def failing(model: str, code: str, *before: wire.Any) -> Script:
    """One model fails in this way, the others answer."""

    async def script(line: Line, question: wire.Any) -> None:
        if isinstance(question, wire.Submit) and question.spec.name == model:
            await line.send(*before, wire.Failure(code=code, message="no"))
        else:
            await line.send(*SAYS)

    return script


async def test_it_makes_changes_rolls_back_and_removes(api: httpx.AsyncClient) -> None:
    made = await make(api, "t-a", FIRST)
    assert made["targets"] == [{"model": FIRST, "weight": 1.0}]
    canary = [{"model": FIRST, "weight": 90}, {"model": SECOND, "weight": 10}]
    changed = (await api.patch("/aliases/t-a", json={"targets": canary, "sticky": True})).json()
    assert (changed["targets"], changed["former"]) == (canary, made["targets"])
    back = (await api.post("/aliases/t-a/rollback")).json()
    assert (back["targets"], back["former"]) == (made["targets"], canary)
    assert (await api.post("/aliases/t-a/rollback")).json()["targets"] == canary
    assert (await api.delete("/aliases/t-a")).status_code == 204
    assert (await api.get("/aliases/t-a")).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", PASSED_ON)
async def test_a_target_that_fails_is_followed_by_the_next(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes, stream: bool, code: str
) -> None:
    await make(api, "t-b", FIRST, {"model": SECOND, "weight": 0})
    waits = wire.Progress(state="loading")
    async with node(failing(FIRST, code, waits)) as started:
        answer = await client.post("/chat/completions", json=chat(model="t-b", stream=stream))
    assert answer.status_code == 200, answer.text
    said = events(answer.text)[0] if stream else answer.json()
    assert said["model"] == SECOND
    assert [submit.spec.name for submit in started.submitted] == [FIRST, SECOND]


async def test_a_bad_request_is_not_passed_on(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes
) -> None:
    await make(api, "t-c", FIRST, {"model": SECOND, "weight": 0})
    async with node(failing(FIRST, "context_length_exceeded")) as started:
        answer = await client.post("/chat/completions", json=chat(model="t-c"))
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert len(started.submitted) == 1


async def test_an_answer_that_has_begun_is_not_begun_again(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes
) -> None:
    await make(api, "t-d", FIRST, {"model": SECOND, "weight": 0})
    async with node(failing(FIRST, "engine_failed", wire.Delta(text="begun", tokens=1))) as started:
        answer = await client.post("/chat/completions", json=chat(model="t-d", stream=True))
    assert "begun" in answer.text
    assert events(answer.text)[-1]["error"]["code"] == "engine_failed"
    assert len(started.submitted) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [("insufficient_memory", 503), ("out_of_memory", 503), ("model_not_found", 404)],
)
async def test_when_all_fail_the_last_reason_is_told(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes, code: str, status: int
) -> None:
    async def script(line: Line, question: Any) -> None:
        await line.send(wire.Failure(code=code, message=f"no {question.spec.name}"))

    await make(api, "t-e", FIRST, {"model": SECOND, "weight": 0})
    async with node(script) as started:
        answer = await client.post("/chat/completions", json=chat(model="t-e"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert SECOND in error["message"]
    assert [submit.spec.name for submit in started.submitted] == [FIRST, SECOND]


@pytest.mark.parametrize("prompts", ["one", ["one", "two"]])
async def test_the_next_target_gets_what_is_left_of_the_deadline(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes, prompts: Any
) -> None:
    await make(api, "t-k", FIRST, {"model": SECOND, "weight": 0})
    headers, body = {"x-hub-deadline-ms": "60000"}, {"model": "t-k", "prompt": prompts}
    waits = wire.Progress(state="loading")
    async with node(failing(FIRST, "model_load_failed", waits)) as started:
        answer = await client.post("/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    given = {submit.spec.name: submit.deadline_s for submit in started.submitted}
    assert given[FIRST] == 60.0
    assert 0.0 < given[SECOND] < 60.0


@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_is_asked_once_the_deadline_has_passed(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes, stream: bool
) -> None:
    async def too_late(line: Line, question: Any) -> None:
        await line.send(wire.Progress(state="loading"))
        await asyncio.sleep(question.deadline_s)
        await line.send(wire.Failure(code="model_loading_timeout", message="waited for chat"))

    await make(api, "t-l", FIRST, {"model": SECOND, "weight": 0})
    body, headers = chat(model="t-l", stream=stream), {"x-hub-deadline-ms": "1"}
    async with node(too_late) as started:
        answer = await client.post("/chat/completions", json=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "model_loading_timeout")
    assert "waited for chat" in error["message"]
    assert answer.headers["retry-after"]
    assert [submit.spec.name for submit in started.submitted] == [FIRST]


async def test_a_name_that_nothing_has_is_asked_of_nobody(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    async with node(failing("nobody", "")) as started:
        answer = await client.post("/chat/completions", json=chat(model="t-nothing"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert not started.submitted


async def test_defaults_and_system_prompt_reach_the_engine(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes
) -> None:
    defaults = {"temperature": 0.25, "max_tokens": 7, "stop": ["END"]}
    await make(api, "t-f", FIRST, defaults=defaults, system_prompt="Be brief.")
    async with node(failing("nobody", "")) as started:
        await client.post("/chat/completions", json=chat(model="t-f", max_tokens=3))
        await client.post("/completions", json={"model": "t-f", "prompt": "once"})
    first, second = (submit.body for submit in started.submitted)
    assert isinstance(first, wire.Generate)
    assert isinstance(second, wire.Generate)
    assert isinstance(first.prompt, wire.ChatPrompt)
    assert [message.role for message in first.prompt.messages] == ["system", "user"]
    sampling = first.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.stop) == (0.25, 3, ["END"])
    assert (second.sampling.temperature, second.sampling.max_tokens) == (0.25, 7)


async def test_names_are_listed_with_a_model_behind_them(
    api: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await make(api, "t-g", FIRST, SECOND)
    listed = {row["id"]: row["root"] for row in (await client.get("/models")).json()["data"]}
    assert listed["t-g"] == FIRST


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"name": "t-x"}, 400, "targets"),
        ({"name": "t-x", "targets": []}, 400, "targets"),
        ({"name": "t x", "targets": [{"model": FIRST}]}, 400, "name"),
        ({"name": FIRST, "targets": [{"model": SECOND}]}, 409, "name"),
        ({"name": "t-x", "targets": [{"model": "nothing"}]}, 404, "targets"),
        ({"name": "t-x", "targets": [{"model": FIRST}, {"model": FIRST}]}, 400, "targets"),
        ({"name": "t-x", "targets": [{"model": FIRST}, {"model": "vectors"}]}, 400, "targets"),
        ({"name": "t-x", "targets": [{"model": FIRST, "weight": 0}]}, 400, "targets"),
        ({"name": "t-x", "targets": [{"model": FIRST, "weight": -1}]}, 400, "targets.0.weight"),
        ({"name": "t-x", "targets": [{"model": FIRST, "url": "x"}]}, 400, "targets.0.url"),
        ({"name": "t-x", "targets": [{"model": FIRST}], "defaults": {"temperature": 9}}, 400,
         "defaults.temperature"),
        ({"name": "t-x", "targets": [{"model": FIRST}], "defaults": {"tools": []}}, 400,
         "defaults.tools"),
        ({"name": "t-x", "targets": [{"model": "vectors"}], "system_prompt": "x"}, 400,
         "system_prompt"),
        ({"name": "t-x", "targets": [{"model": FIRST}], "owner": "x"}, 400, "owner"),
    ],
)  # fmt: skip
async def test_it_names_what_is_wrong(
    api: httpx.AsyncClient, body: dict[str, Any], status: int, param: str
) -> None:
    refused = await api.post("/aliases", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text


async def test_a_limited_key_makes_and_sees_only_its_own(
    api: httpx.AsyncClient, web: servers.Hub
) -> None:
    await make(api, "t-h", FIRST)
    headers = {"x-api-key": web.keys["one-model-operator"]}
    async with httpx.AsyncClient(base_url=f"{web.url}/api/v1", headers=headers) as limited:
        assert (await limited.get("/aliases/t-h")).status_code == 404
        names = [row["name"] for row in (await limited.get("/aliases")).json()["results"]]
        assert names == ["text-embedding-3-small"]
        made = await limited.post("/aliases", json={"name": "t-i", "targets": [{"model": FIRST}]})
        assert made.status_code == 403
        moved = {"targets": [{"model": FIRST}]}
        foreign = await limited.patch("/aliases/text-embedding-3-small", json=moved)
        assert foreign.status_code == 404
        assert (await limited.delete("/aliases/t-h")).status_code == 404


async def test_removing_a_target_needs_force_and_keeps_the_rest(
    api: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes
) -> None:
    made = {"source": "variant", "of": FIRST, "name": "t-variant"}
    assert (await api.post("/models/add", json=made)).status_code == 201
    await make(api, "t-j", "t-variant", FIRST)
    refused = await api.delete("/models/t-variant")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    async with node(failing("nobody", "")):
        assert (await api.delete("/models/t-variant?force=true")).status_code == 204
        answer = await client.post("/chat/completions", json=chat(model="t-j"))
    assert answer.json()["model"] == FIRST
