"""The door at /mlflow/: MLflow's own pages over real runs, for whoever may see them, and nothing else."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from pytest_django import Settings

from accounts import teams
from accounts.models import AuditRow, Role, Team, User
from tests.training.tracking.mlflows import Server, Trackers
from training.models import DataSet, DataSetVersion, Job
from training.tracking import workspaces

pytestmark = pytest.mark.django_db(transaction=True)
RED, BLUE = 901, 902  # the teams of job-1 and job-2
API, API3 = "/mlflow/ajax-api/2.0/mlflow", "/mlflow/ajax-api/3.0/mlflow"
ORIGIN = {"origin": "http://testserver"}


@pytest.fixture(scope="module", name="server")
def _server(trackers: Trackers, trained: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="door-") as name:
        folder = Path(name)
        server = Server(folder)
        server.store.folder.mkdir()
        for number, team in ((1, RED), (2, BLUE)):
            job = _job(trained, folder, number)
            part = ("--workspace", workspaces.name(team))
            assert trackers.run(server.store, job, *part) == 0
        server.start()
        yield server
        server.kill()


def _job(trained: Path, folder: Path, number: int) -> Path:
    made = Path(shutil.copytree(trained, folder / f"job-{number}"))
    text = (made / "job.json").read_text()
    (made / "job.json").write_text(text.replace('"id": "job-1"', f'"id": "job-{number}"'))
    return made


@pytest.fixture(autouse=True)
def _door(server: Server, settings: Settings) -> None:
    settings.HUB_DATA = settings.HUB_RUNTIME = server.folder
    Role.objects.create(name="follower", scopes=["training:read"])
    for pk, name in ((RED, "red"), (BLUE, "blue")):
        Team.objects.create(pk=pk, name=name)


class Browser(AsyncClient):
    """It says of each request where it comes from, as browsers do."""

    def generic(self, *what: Any, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        return super().generic(*what, headers={**ORIGIN, **(headers or {})}, **more)


async def browser(role: str, *team_names: str) -> Browser:
    """Somebody of these teams at a browser, looking at the first one's part."""
    user = await sync_to_async(_person)(role, team_names)
    client = Browser()
    await client.aforce_login(user)
    if team_names:
        page = await client.get(f"/mlflow/?team={team_names[0]}")
        assert page.status_code == 200, page.content
    return client


def _person(role: str, team_names: tuple[str, ...]) -> User:
    user = User.objects.create(username=f"{role}-{'-'.join(team_names)}", role=role)
    for name in team_names:
        teams.add(Team.objects.get(name=name), user, None, role)
    return user


async def body(answer: Any) -> bytes:
    if answer.streaming:
        return b"".join([part async for part in answer.streaming_content])
    return bytes(answer.content)


async def runs(client: Browser, experiment: str = "") -> list[dict[str, Any]]:
    """Give those of the team's one experiment."""
    found = json.loads(await body(await client.get(f"{API}/experiments/search?max_results=9")))
    own = [one["experiment_id"] for one in found.get("experiments", [])]
    asked = {"experiment_ids": [experiment] if experiment else own}
    answer = await client.post(f"{API}/runs/search", asked, "application/json")
    assert answer.status_code == 200, await body(answer)
    rows: list[dict[str, Any]] = json.loads(await body(answer)).get("runs", [])
    return rows


# --- what is there --------------------------------------------------------------------------------


async def test_its_page_runs_its_own_scripts_alone() -> None:
    client = await browser("follower", "red")
    page = await client.get("/mlflow/")
    text = (await body(page)).decode()
    script = text.partition('src="static-files/')[2].partition('"')[0]
    policy = page["Content-Security-Policy"]
    assert "script-src http://testserver/mlflow/static-files/;" in policy
    assert "connect-src http://testserver/mlflow/;" in policy
    answer = await client.get(f"/mlflow/static-files/{script}")
    assert answer["Content-Type"].startswith("text/javascript")
    assert len(await body(answer)) > 100_000
    assert "Set-Cookie" not in answer.headers


async def test_a_run_is_found_with_its_figures_and_files() -> None:
    client = await browser("follower", "red")
    (run,) = await runs(client)
    assert run["info"]["run_name"] == "job-1"
    run_id = run["info"]["run_id"]
    told = await client.get(f"{API}/metrics/get-history?run_id={run_id}&metric_key=loss")
    assert len(json.loads(await body(told))["metrics"]) == 18
    file = await client.get(f"/mlflow/get-artifact?path=record.json&run_uuid={run_id}")
    assert json.loads(await body(file))["seed"] == 42
    assert file["Content-Disposition"] == "attachment"
    assert file["Content-Security-Policy"].endswith("sandbox")


async def test_a_team_sees_its_own_runs_alone() -> None:
    """Not by search, by id, by file, by graph, nor by naming the other's part."""
    red, blue = await browser("follower", "red"), await browser("trainer", "blue")
    (other,) = await runs(blue)
    run_id = other["info"]["run_id"]
    assert [one["info"]["run_name"] for one in await runs(red)] == ["job-1"]
    assert await runs(red, other["info"]["experiment_id"]) == []
    header = {"X-MLFLOW-WORKSPACE": workspaces.name(BLUE)}
    for path in (
        f"{API}/runs/get?run_id={run_id}",
        f"/mlflow/get-artifact?path=record.json&run_uuid={run_id}",
    ):
        assert (await red.get(path, headers=header)).status_code == 404
        assert (await blue.get(path)).status_code == 200
    query = (
        "query A($in: MlflowGetRunInput!) { mlflowGetRun(input: $in) { run { info { runName } } } }"
    )
    asked = {"query": query, "variables": {"in": {"runId": run_id}}, "operationName": "A"}
    said = {}
    for name, client in (("red", red), ("blue", blue)):
        answer = await client.post("/mlflow/graphql", asked, "application/json", headers=header)
        said[name] = (await body(answer)).decode()
    assert "job-2" in said["blue"]
    assert "job-2" not in said["red"]
    assert (await red.get("/mlflow/?team=blue")).status_code == 404
    assert (await red.get("/mlflow/?team=none")).status_code == 404


async def test_who_is_in_two_teams_looks_at_one_at_a_time() -> None:
    client = await browser("follower", "red", "blue")
    assert [one["info"]["run_name"] for one in await runs(client)] == ["job-1"]
    await client.get("/mlflow/?team=blue")
    assert [one["info"]["run_name"] for one in await runs(client)] == ["job-2"]


async def test_a_team_without_runs_has_a_page_too() -> None:
    await sync_to_async(Team.objects.create)(pk=903, name="green")
    assert await runs(await browser("follower", "green")) == []


# --- what is refused ------------------------------------------------------------------------------


async def test_who_may_not_follow_trainings_sees_nothing_of_it() -> None:
    client = await browser("viewer")
    for path in ("/mlflow/", "/mlflow/?team=red", f"{API}/experiments/search", "/mlflow/version"):
        assert (await client.get(path)).status_code == 403, path


async def test_a_note_needs_the_right_to_train_and_is_audited() -> None:
    follower, trainer = await browser("follower", "red"), await browser("trainer", "red")
    (run,) = await runs(follower)
    note = {"run_id": run["info"]["run_id"], "key": "verdict", "value": "good"}
    assert (await follower.post(f"{API}/runs/set-tag", note, "application/json")).status_code == 403
    assert (await trainer.post(f"{API}/runs/set-tag", note, "application/json")).status_code == 200
    (run,) = await runs(follower)
    assert {"key": "verdict", "value": "good"} in run["data"]["tags"]
    row = await AuditRow.objects.filter(action="mlflow.note").order_by("-seq").afirst()
    assert row
    assert (row.actor, row.object_name) == ("trainer-red", note["run_id"])


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", f"{API}/runs/set-tag", {"run_id": "RUN", "key": "hub.job", "value": "x"}),
        ("POST", f"{API}/runs/set-tag", {"run_id": "RUN", "key": "mlflow.user", "value": "x"}),
        ("POST", f"{API}/runs/update", {"run_id": "RUN", "status": "FAILED"}),
        ("PATCH", f"{API}/registered-models/update", {"name": "fox", "deployment_job_id": "1"}),
    ],
)
async def test_what_the_hub_keeps_is_not_changed(
    method: str, path: str, fields: dict[str, str]
) -> None:
    client = await browser("trainer", "red")
    (run,) = await runs(client)
    before = {"tags": run["data"]["tags"], "status": run["info"]["status"]}
    asked = json.dumps(fields).replace("RUN", run["info"]["run_id"])
    answer = await client.generic(method, path, asked, "application/json")
    assert answer.status_code == 400, await body(answer)
    (run,) = await runs(client)
    assert before == {"tags": run["data"]["tags"], "status": run["info"]["status"]}


CLOSED = [
    ("POST", f"{API}/runs/create"),
    ("POST", f"{API}/runs/delete"),
    ("POST", f"{API}/runs/log-batch"),
    ("POST", f"{API}/experiments/create"),
    ("POST", f"{API}/model-versions/create"),
    ("POST", f"{API}/registered-models/create"),
    ("POST", f"{API}/registered-models/alias"),
    ("DELETE", f"{API}/registered-models/delete"),
    ("POST", f"{API}/upload-artifact"),
    ("GET", f"{API}-artifacts/artifacts"),
    ("GET", f"{API}-artifacts/artifacts/1/record.json"),
    ("POST", f"{API}/artifacts/presigned-upload-url"),
    ("GET", f"{API}/gateway-proxy"),
    ("POST", f"{API}/gateway-proxy"),
    ("GET", f"{API3}/gateway/secrets/list"),
    ("GET", f"{API}/webhooks"),
    ("POST", f"{API}/webhooks"),
    ("GET", f"{API3}/workspaces"),
    ("POST", f"{API3}/workspaces"),
    ("GET", f"{API3}/assistant/config"),
    ("POST", f"{API3}/assistant/message"),
    ("POST", f"{API3}/jobs/"),
    ("POST", f"{API3}/scorer/invoke"),
    ("GET", "/mlflow/graphql"),
    ("GET", "/mlflow/health"),
    ("GET", "/mlflow/api/2.0/mlflow/experiments/search"),
    ("POST", "/mlflow/v1/traces"),
    ("POST", "/mlflow/gateway/x/mlflow/invocations"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_the_rest_of_mlflow_is_not_there(method: str, path: str) -> None:
    client = await browser("admin")
    assert (await client.generic(method, path, "{}", "application/json")).status_code == 404


TRAVERSALS = [
    "/mlflow/static-files/../../etc/passwd",
    "/mlflow/static-files/%2e%2e/%2e%2e/etc/passwd",
    "/mlflow/static-files/..%2f..%2fetc/passwd",
    "/mlflow/static-files/%252e%252e/%252e%252e/etc/passwd",
    "/mlflow/static-files//etc/passwd",
    "/mlflow/static-files/static\\..\\..\\index.html",
    "/mlflow/../api/v1/me",
    "/mlflow//ajax-api/2.0/mlflow/experiments/search",
    "/mlflow/ajax-api/2.0/mlflow/runs/../webhooks",
    "/mlflow/ajax-api/2.0/mlflow/experiments/search%3fx",
    "/mlflow/static-files/index.html%00.js",
]


@pytest.mark.parametrize("path", TRAVERSALS)
async def test_no_path_leads_out_of_what_is_opened(path: str) -> None:
    client = await browser("admin")
    assert (await client.get(path)).status_code in {400, 404}


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/job.json",
        "%252e%252e%252fjob.json",
        "..\\..\\job.json",
        "/etc/passwd",
        "file:///etc/passwd",
        "//etc/passwd",
        "record.json%23",
        "record.json%00",
        "~/record.json",
    ],
)
async def test_a_file_lies_below_its_run(path: str) -> None:
    client = await browser("trainer", "red")
    (run,) = await runs(client)
    where = f"path={path}&run_uuid={run['info']['run_id']}"
    for route in (f"/mlflow/get-artifact?{where}", f"{API}/artifacts/list?{where}"):
        assert (await client.get(route)).status_code == 400, route


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://testserver.evil.example"},
        {"origin": "http://testserver", "sec-fetch-site": "cross-site"},
        {"origin": ""},
    ],
)
async def test_another_site_can_send_nothing(headers: dict[str, str]) -> None:
    client = await browser("trainer", "red")
    answer = await client.post(
        f"{API}/runs/search", {"experiment_ids": []}, "application/json", headers=headers
    )
    assert answer.status_code == 403


async def test_the_hubs_public_name_is_its_own(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://hub.example"]
    client = await browser("follower", "red")
    asked: dict[str, Any] = {"experiment_ids": []}
    headers = {"origin": "https://hub.example"}
    answer = await client.post(f"{API}/runs/search", asked, "application/json", headers=headers)
    assert answer.status_code == 200
    policy = (await client.get("/mlflow/"))["Content-Security-Policy"]
    assert "connect-src http://testserver/mlflow/ https://hub.example/mlflow/;" in policy


async def test_only_json_of_a_modest_size_is_taken() -> None:
    client = await browser("trainer", "red")
    path = f"{API}/runs/search"
    assert (await client.post(path, "a=b", "text/plain")).status_code == 415
    large = json.dumps({"filter": "x" * (1 << 20)})
    assert (await client.post(path, large, "application/json")).status_code == 413
    assert (await client.get(f"{API}/runs/get?run_id={'x' * 9000}")).status_code == 400


# --- when it is away ------------------------------------------------------------------------------


async def test_a_server_that_was_killed_is_missed_and_comes_back(server: Server) -> None:
    client = await browser("follower", "red")
    server.kill()
    answer = await client.get("/mlflow/")
    assert (answer.status_code, json.loads(await body(answer))["error_code"]) == (
        503,
        "SERVICE_UNAVAILABLE",
    )
    server.start()
    assert [one["info"]["run_name"] for one in await runs(client)] == ["job-1"]


async def test_a_quiet_server_gives_its_memory_back(server: Server) -> None:
    """The same process listens on, and serves again."""
    client = await browser("follower", "red")
    server.kill()
    server.start("--idle", "0.2")
    assert len(await runs(client)) == 1
    await sync_to_async(server.wait_empty)()
    assert server.process.poll() is None
    assert len(await runs(client)) == 1


async def test_a_remote_server_is_for_who_sees_every_job(settings: Settings) -> None:
    """It knows no teams; whose jobs are in it decides."""
    client = await browser("follower", "red")
    settings.HUB_MLFLOW_URI = "http://127.0.0.1:9"
    assert (await client.get("/mlflow/")).status_code == 503
    await sync_to_async(_blue_job)()
    assert (await client.get("/mlflow/")).status_code == 403


def _blue_job() -> None:
    data_set = DataSet.objects.create(name="s", team_id=BLUE)
    version = DataSetVersion.objects.create(data_set=data_set, number=1, address="c" * 64)
    Job.objects.create(base="b", version=version, training_type="lora", team_id=BLUE)
