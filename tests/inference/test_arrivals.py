"""Models come from a hub: pinned, resumed, checked, cancelled; over a real server and processes."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as live_settings
from django.utils import translation
from pytest_django import Settings

from accounts.models import AuditRow
from hub.dashboard import reasons, rows
from inference import (
    arrivals,
    catalog,
    entries,
    exclusive,
    hub_protocol,
    places,
    preparation,
    preview,
    tasks,
    vault,
)
from inference.errors import Conflict, DiskFull, Unavailable
from inference.hub_protocol import HubFile
from inference.models import Model
from tests.inference import hub_server, tiny_files
from tests.inference.engines import tiny_whisper
from tests.inference.hub_server import COMMIT, Behaviour
from tests.inference.test_headers import gguf_file

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
MODEL = tiny_files.files(vocab_size=2**16)
WEIGHTS = MODEL["model.safetensors"]
LARGE = {  # 55 billion parameters: 219 GB
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
REPOSITORY = {
    **MODEL,
    "pytorch_model.bin": b"\x80\x04pickle",
    "modeling.py": b"import os",
}


@pytest.fixture
def hub(settings: Settings, tmp_path: Path) -> Iterator[Behaviour]:
    with hub_server.serving(Behaviour({"org/tiny": REPOSITORY})) as started:
        settings.HUB_HF_ENDPOINT = started.url
        settings.HUB_MODELS = tmp_path / "models"
        settings.HUB_PRIVATE_UPSTREAMS = False
        yield started


def wanted(name: str = "tiny", **fields: object) -> Model:
    given = {"source": "huggingface", "name": name, "model_id": "org/tiny", **fields}
    return entries.add(entries.Wanted(**given))  # type: ignore[arg-type]


def brought(row: Model) -> Model:
    arrivals.bring(row.pk)
    row.refresh_from_db()
    return row


def test_it_brings_pins_and_serves(hub: Behaviour) -> None:
    row = wanted()
    with pytest.raises(Unavailable, match="queued"):
        catalog.resolve_now("tiny")
    brought(row)
    assert (row.state, row.state_reason) == ("available", "")
    assert (row.revision, row.licence) == (COMMIT, "apache-2.0")
    assert (row.kind, row.engine, row.context_tokens) == ("llm", "llm_transformers", 64)
    assert row.done_bytes == row.total_bytes > len(WEIGHTS)
    files = {file.name for file in Path(row.path).iterdir()}
    assert files == {"model.safetensors", "config.json", "tokenizer.json"}
    assert not [*live_settings.HUB_MODELS.rglob("*.lock")]
    assert catalog.resolve_now("tiny").spec.path == row.path
    told = AuditRow.objects.get(action="model.arrive", object_id=str(row.pk))
    assert (told.object_name, told.actor_kind) == ("tiny", "system")
    assert row.sha256 in told.after
    assert COMMIT in told.after


def test_it_resumes_where_the_connection_was_cut(hub: Behaviour) -> None:
    hub.cut_after = [300_000, 300_000]
    assert brought(wanted()).state == "available"
    assert hub.ranges == ["", "bytes=300000-", "bytes=600000-"]


def test_it_refuses_what_is_not_the_hubs_file_and_can_try_again(hub: Behaviour) -> None:
    hub.wrong = 1
    row = brought(wanted())
    assert row.state == "failed"
    assert "SHA-256" in row.state_reason
    assert not [*live_settings.HUB_MODELS.rglob("*.safetensors*")]
    again = wanted()
    assert again.pk == row.pk
    assert brought(again).state == "available"


def test_it_shows_its_token_to_the_hub_alone(hub: Behaviour) -> None:
    hub.token = "hf_secret"
    row = brought(wanted())
    assert row.state == "failed"
    assert "set_secret huggingface_token" in row.state_reason
    vault.put(vault.HUGGINGFACE_TOKEN, "hf_secret")
    assert brought(wanted()).state == "available"
    assert "hf_secret" not in str(Model.objects.filter(pk=row.pk).values().get())


def test_it_follows_a_redirect_to_public_addresses_only(hub: Behaviour, settings: Settings) -> None:
    with hub_server.serving(Behaviour({"org/tiny": REPOSITORY})) as other:
        hub.redirect = other.url.replace("127.0.0.1", "localhost")
        vault.put(vault.HUGGINGFACE_TOKEN, "hf_secret")
        row = brought(wanted())
        assert (row.state, other.tokens) == ("failed", [])
        assert "no public address" in row.state_reason
        settings.HUB_PRIVATE_UPSTREAMS = True
        assert brought(wanted()).state == "available"
        assert set(other.tokens) == {""}, "the token stays with the hub"


@pytest.mark.parametrize(
    ("model_id", "revision", "word"),
    [("org/none", "main", "knows no org/none"), ("org/tiny", "v9", "at this revision")],
)
def test_it_says_what_the_hub_does_not_have(
    hub: Behaviour, model_id: str, revision: str, word: str
) -> None:
    row = brought(wanted(model_id=model_id, revision=revision))
    assert row.state == "failed"
    assert word in row.state_reason


def test_it_says_that_the_disk_is_full_before_it_downloads(hub: Behaviour) -> None:
    row = wanted()
    enormous = hub_protocol.Listing(COMMIT, "", (HubFile("a.gguf", 2**60, "", ""),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_protocol.Hub, "listing", lambda *_: enormous)
        brought(row)
    assert row.state == "failed"
    assert "MiB left" in row.state_reason
    assert hub.ranges == []


def test_it_stops_within_a_second_when_cancelled(hub: Behaviour) -> None:
    hub.gate = threading.Event()
    row = wanted()
    worker = threading.Thread(target=arrivals.bring, args=(row.pk,))
    worker.start()
    assert hub.half_way.wait(30)
    entries.cancel(row)
    hub.gate.set()
    worker.join(30)
    row.refresh_from_db()
    assert row.state == "cancelled"
    with pytest.raises(Conflict):
        entries.cancel(row)
    hub.gate = None
    assert brought(wanted()).state == "available"


def test_it_tells_how_far_a_check_is_and_stops_it_when_cancelled(
    settings: Settings, tmp_path: Path
) -> None:
    """Hashing these files would take minutes, and a stopped check kept a core busy to their end."""
    settings.HUB_IMPORT_ROOTS, settings.HUB_MODELS = [tmp_path], tmp_path / "models"
    place = tiny_files.sparse(tmp_path / "large", **LARGE)
    row = entries.add(entries.Wanted(source="local", name="large", path=str(place)))
    worker = threading.Thread(target=arrivals.bring, args=(row.pk,), daemon=True)
    worker.start()
    while row.eta_s is None:
        worker.join(0.05)
        assert worker.is_alive(), row.state_reason
        row.refresh_from_db()
    assert row.state == "inspecting"
    assert 0 < row.done_bytes < row.total_bytes
    assert rows.state_of(row, None).percent is not None
    entries.cancel(row)
    worker.join(60)
    row.refresh_from_db()
    assert (worker.is_alive(), row.state) == (False, "cancelled")


def test_a_killed_worker_is_followed_by_one_that_resumes(hub: Behaviour) -> None:
    hub.gate = threading.Event()
    row = wanted()
    program = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "from django.conf import settings\n"
        f"settings.DATABASES['default']['NAME'] = {live_settings.DATABASES['default']['NAME']!r}\n"
        f"settings.HUB_HF_ENDPOINT = {hub.url!r}\n"
        f"from pathlib import Path; settings.HUB_MODELS = Path({str(live_settings.HUB_MODELS)!r})\n"
        "import django; django.setup()\n"
        f"from inference import arrivals; arrivals.bring({row.pk})\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program])
    assert hub.half_way.wait(60)
    until_s = time.monotonic() + 30
    while not _on_disk() and time.monotonic() < until_s:
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    kept = _on_disk()
    row.refresh_from_db()
    assert (row.state, kept > 0) == ("downloading", True)
    hub.gate.set()
    hub.gate = None
    assert arrivals.waiting() == [row.pk]
    assert brought(row).state == "available"
    assert hub.ranges[-1] == f"bytes={kept}-"


def _on_disk() -> int:
    parts = [*live_settings.HUB_MODELS.rglob("*.part")]
    return parts[0].stat().st_size if parts else 0


def test_a_row_that_nobody_foresaw_fails_and_says_so(hub: Behaviour) -> None:
    row = wanted()
    Model.objects.filter(pk=row.pk).update(settings={"options": "broken"})
    brought(row)
    assert (row.state, row.settings) == ("failed", {"options": "broken"})
    assert "unexpected" in row.state_reason


def test_a_hostile_listing_writes_nowhere_else(hub: Behaviour) -> None:
    hub.models["org/tiny"] = {**REPOSITORY, "../../../escaped.json": b"{}"}
    row = brought(wanted())
    assert row.state == "failed"
    assert "is no name for a model's file" in row.state_reason


def test_of_many_gguf_files_it_takes_one() -> None:
    names = ["a.Q8_0.gguf", "a.Q4_K_M.gguf", "README.md", "x.py"]
    files = [HubFile(name, 1, "", "") for name in names]
    taken = [file.name for file in hub_protocol.chosen(files, ())]
    assert taken == ["a.Q4_K_M.gguf", "README.md"]
    taken = [file.name for file in hub_protocol.chosen(files, ["*Q8*"])]
    assert taken == ["a.Q8_0.gguf", "README.md"]
    assert hub_protocol.chosen(files, ["*Q2*"]) == []


def taken(names: list[str], shards: frozenset[str] = frozenset()) -> list[str]:
    files = [HubFile(name, 1, "", "") for name in names]
    return [file.name for file in hub_protocol.chosen(files, (), shards)]


def test_it_takes_all_parts_of_a_split_gguf_file_of_any_kind() -> None:
    parts = [f"a.Q3_K_L-{n:05}-of-00003.gguf" for n in (2, 1, 3)]
    others = ["a.Q6_K.gguf", "b.Q3_K_L-00001-of-00002.gguf"]
    assert taken([*parts, *others]) == parts


def test_of_several_files_of_the_usual_kind_it_takes_one() -> None:
    assert taken(["b.Q4_K_M.gguf", "a.Q4_K_M.gguf"]) == ["a.Q4_K_M.gguf"]


def test_weights_that_lie_there_twice_come_once(hub: Behaviour) -> None:
    """Those of the index count, as in a folder; another index would miss its shards."""
    index = json.dumps({"weight_map": dict.fromkeys(tiny_files.shapes(), "part-1.safetensors")})
    copies = ["consolidated.safetensors", "model.safetensors", "part-1.fp16.safetensors"]
    hub.models["org/tiny"] = {
        **dict.fromkeys([*copies, "part-1.safetensors"], WEIGHTS),
        **{name: content for name, content in MODEL.items() if name.endswith(".json")},
        "model.safetensors.index.json": index.encode(),
        "consolidated.safetensors.index.json": index.replace("part-1", "consolidated-1").encode(),
    }
    row = brought(wanted())
    assert (row.state, row.state_reason) == ("available", "")
    files = {file.name for file in Path(row.path).iterdir()}
    named = {"part-1.safetensors", "model.safetensors.index.json"}
    assert files == {"config.json", "tokenizer.json", *named}
    assert row.total_bytes == row.size_bytes < 2 * len(WEIGHTS)


def test_without_an_index_the_plain_file_is_taken() -> None:
    copies = ["consolidated.safetensors", "model.fp16.safetensors"]
    index = "model.fp16.safetensors.index.json"
    names = ["config.json", "model.safetensors"]
    assert taken([*names, *copies, index]) == ["model.safetensors", "config.json"]
    assert taken([*copies, "config.json", index]) == [*copies, "config.json", index]


def test_an_index_of_what_is_not_there_leaves_the_choice_to_the_inspection() -> None:
    names = ["a.safetensors", "b.safetensors"]
    assert taken(names, frozenset({"c.safetensors"})) == names


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a repository of CTranslate2's holds."""
    place = tmp_path_factory.mktemp("speech")
    preparation.to_ctranslate2(tiny_whisper.make(place / "whisper"), place / "ct2")
    return {file.name: file.read_bytes() for file in (place / "ct2").iterdir()}


def test_it_brings_a_model_of_ctranslate2(hub: Behaviour, speech: dict[str, bytes]) -> None:
    hub.models["org/tiny"] = {**speech, "pytorch_model.bin": b"\x80\x04pickle"}
    seen = preview.of_hub("org/tiny", "main", [], None)
    row = brought(wanted())
    assert (row.state, row.state_reason) == ("available", "")
    assert {file.name for file in Path(row.path).iterdir()} == speech.keys()
    assert (
        (row.kind, row.engine) == (seen.report.kind, seen.report.engine) == ("asr", "asr_whisper")
    )
    assert (row.size_bytes, row.report["vocab_tokens"]) == (
        seen.size_bytes,
        seen.report.vocab_tokens,
    )


def test_a_pickle_named_like_ctranslate2s_file_is_refused(
    hub: Behaviour, speech: dict[str, bytes]
) -> None:
    hub.models["org/tiny"] = {**speech, "model.bin": b"\x80\x04\x95pickle"}
    row = brought(wanted())
    assert row.state == "failed"
    assert "no engine serves" in row.state_reason
    hub.models["org/tiny"] = {"model.bin": speech["model.bin"], "config.json": b"{}"}
    assert "holds no safetensors" in brought(wanted()).state_reason


@pytest.mark.parametrize("patterns", [(), ("*Q4_K_M*",)])
def test_a_gguf_file_brings_the_projector_beside_it(patterns: tuple[str, ...]) -> None:
    projectors = ["mmproj-a-f32.gguf", "mmproj-a-BF16.gguf", "mmproj-a-f16.gguf"]
    names = ["a.Q4_K_M.gguf", "other/mmproj-b-f16.gguf", *projectors]
    taken = hub_protocol.chosen([HubFile(name, 1, "", "") for name in names], patterns)
    assert [file.name for file in taken] == ["a.Q4_K_M.gguf", "mmproj-a-f16.gguf"]


def test_a_named_projector_is_the_one_taken() -> None:
    names = ["a.Q4_K_M.gguf", "mmproj-a-f32.gguf", "mmproj-a-f16.gguf"]
    files = [HubFile(name, 1, "", "") for name in names]
    taken = hub_protocol.chosen(files, ["*Q4*", "*f32*"])
    assert [file.name for file in taken] == ["a.Q4_K_M.gguf", "mmproj-a-f32.gguf"]


@pytest.mark.parametrize("copy", [False, True])
def test_a_gguf_file_given_alone_leaves_the_projector_and_says_so(
    settings: Settings, tmp_path: Path, copy: bool
) -> None:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    settings.HUB_MODELS = tmp_path / "models"
    file = gguf_file(tmp_path / "m.gguf")
    (tmp_path / "mmproj-m-f16.gguf").write_bytes(b"never opened")
    row = brought(wanted(source="local", model_id="", path=str(file), copy=copy))
    assert (row.state, row.kind) == ("available", "llm"), row.state_reason
    (warning,) = row.report["warnings"]
    assert warning.startswith("mmproj-m-f16.gguf beside it is not taken")
    with translation.override("vi"):
        assert reasons.words(warning).startswith("không lấy mmproj-m-f16.gguf")


def test_it_asks_again_for_what_nobody_brings(
    hub: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(tasks.bring_model, "send", asked.append)
    row = wanted()
    with exclusive.held(arrivals._lock(row.pk)):
        tasks.ask_again()
    assert asked == [], "a worker brings it"
    monkeypatch.setattr(tasks, "_messages", lambda: 1)
    tasks.ask_again()
    assert asked == [], "its message may be among those that wait"
    monkeypatch.undo()
    monkeypatch.setattr(tasks.bring_model, "send", asked.append)
    tasks.ask_again()
    assert asked == [row.pk]


def test_a_copy_on_a_disk_that_becomes_full_leaves_nothing_and_can_try_again(
    hub: Behaviour, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    tiny_files.folder(tmp_path / "mine")
    row = wanted("mine", source="local", path="mine", copy=True)
    full = OSError(errno.ENOSPC, "No space left on device")
    copy = arrivals._copy

    def stopped(source: Path, target: Path, note: arrivals._Note) -> None:
        copy(source, target, note)
        raise full

    monkeypatch.setattr(arrivals, "_copy", stopped)
    assert brought(row).state_reason == arrivals.FULL
    assert not places.own_folder(row.name, row.pk).exists()
    monkeypatch.undo()
    assert brought(entries.restart(row)).state == "available"


def test_a_copy_that_has_no_room_is_refused_at_once(
    hub: Behaviour, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    tiny_files.folder(tmp_path / "mine")
    monkeypatch.setattr(places, "SPARE_BYTES", 2**60)
    with pytest.raises(DiskFull):
        wanted("mine", source="local", path="mine", copy=True)
    assert not Model.objects.exists()
