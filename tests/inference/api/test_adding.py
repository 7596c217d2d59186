"""`POST /api/v1/models/add` and what follows: a real hub with worker and node, real files."""

import base64
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import wire
from inference.engines.vocabulary import Vocabulary
from tests import digits_clip, models, servers
from tests.inference import tiny_files
from tests.inference.api.adding import add, arrived, call, checked_again, refusal, seen_by_node
from tests.inference.engines import (
    small_tokenizers,
    tiny_adapters,
    tiny_models,
    tiny_vision,
    tiny_whisper,
)
from tests.inference.engines.generating import shown

KEYS = {
    "default": {"scopes": ["models:read", "models:write", "inference"]},
    "watcher": {"scopes": ["status:read"]},
    "reader": {"scopes": ["models:read", "inference"]},
    "loader": {"scopes": ["models:read", "models:load"]},
    "old": {"scopes": ["models:read", "models:manage"]},
    "admin": {"scopes": ["system:manage"]},
    "watches tiny": {"scopes": ["status:read", "models:write"], "models": ["tiny"]},
    "limited": {"scopes": ["models:read", "models:write"], "models": ["mine"]},
}


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imports")


@pytest.fixture(scope="module")
def hub(imports: Path) -> Iterator[servers.Hub]:
    chat = models.smollm2_gguf().parent
    roots = f"{imports},{chat}"
    with servers.hub(
        keys=KEYS, AI_HUB_IMPORT_ROOTS=roots, AI_HUB_VLLM_PYTHON=sys.executable
    ) as started:
        servers.start(started, "worker", "run_worker")
        yield started


@pytest.mark.models
def test_it_serves_a_model_from_a_folder(hub: servers.Hub) -> None:
    path = str(models.smollm2_gguf())
    asked = {"source": "local", "path": path, "name": "house/chat"}
    answer = call(hub, "POST", "models/add", **asked)
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    row = arrived(hub, "house/chat")
    assert (row["state"], row["kind"], row["engine"]) == ("available", "llm", "llm_gguf")
    assert (row["context_tokens"], len(row["sha256"])) == (8192, 64)
    fit = row["fit"]
    assert (fit["verdict"], fit["device"]) == ("fits", "cpu")
    assert row["size_bytes"] < fit["needed_bytes"] < fit["free_bytes"] <= fit["limit_bytes"]
    changed = call(hub, "PATCH", "models/house/chat", context_tokens=512, max_concurrency=2)
    assert changed.json()["settings"] == {"context_tokens": 512, "max_concurrency": 2}
    loaded = call(hub, "POST", "models/house/chat/load", "loader")
    assert (loaded.status_code, loaded.json()["context_tokens"]) == (200, 512), loaded.text
    body = {"model": "house/chat", "messages": [{"role": "user", "content": "Say hi"}]}
    with hub.client() as client:
        said = client.post("chat/completions", json={**body, "max_tokens": 4}).json()
    assert said["choices"][0]["message"]["content"]
    before = seen_by_node(hub, "house/chat")
    assert call(hub, "PATCH", "models/house/chat", pinned=True).status_code == 200
    pinned = seen_by_node(hub, "house/chat")
    assert (before["pinned"], pinned["pinned"], pinned["state"]) == (False, True, "ready")
    assert pinned["version"] == before["version"], "a pin takes no reload"
    assert call(hub, "DELETE", "models/house/chat").status_code == 204
    assert Path(path).is_file(), "files of others stay"
    with hub.client() as client:
        assert client.post("chat/completions", json=body).status_code == 404
    assert "house/chat" not in call(hub, "GET", "status", "watches tiny").text


def test_it_serves_models_that_see(hub: servers.Hub, imports: Path) -> None:
    """From a folder to an answer about an image, with nothing said but the path."""
    shutil.copytree(digits_clip.open_clip(), imports / "clip")
    tiny_vision.make(imports / "llava", "llava")
    for name, kind in (("clip", "clip"), ("llava", "vlm")):
        add(hub, name, path=name)
        row = arrived(hub, name)
        assert (row["state"], row["kind"]) == ("available", kind)
    image = base64.b64encode(digits_clip.png(digits_clip.held_out()[0][0])).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    chat = {"model": "llava", "messages": [{"role": "user", "content": [part]}], "max_tokens": 3}
    labels = {"model": "clip", "input": [{"image": image}], "labels": digits_clip.WORDS}
    with hub.client() as client:
        answer = client.post("chat/completions", json=chat)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["prompt_tokens"] > 16
        assert len(client.post("classify", json=labels).json()["data"][0]["predictions"]) == 10


def test_it_copies_and_deletes_what_it_copied(hub: servers.Hub, imports: Path) -> None:
    source = tiny_files.folder(imports / "copied")
    add(hub, "copied", path="copied", copy=True)
    add(hub, "copied", path=str(source), copy=True)
    row = arrived(hub, "copied")
    assert row["state"] == "available", row["state_reason"]
    shutil.rmtree(source)
    [copy] = (hub.data / "models" / "added").glob("copied-*/model.safetensors")
    assert refusal(add(hub, "copied", path=str(models.smollm2_gguf())))[:2] == (409, "conflict")
    assert call(hub, "DELETE", "models/copied").status_code == 204
    assert not copy.parent.exists()


def test_a_variant_shares_files_and_has_its_own_settings(hub: servers.Hub, imports: Path) -> None:
    tiny_files.folder(imports / "first")
    add(hub, "first", path="first")
    arrived(hub, "first")
    made = add(hub, "second", source="variant", of="first", settings={"context_tokens": 32})
    assert made.status_code == 201, made.text
    assert (made.json()["variant_of"], made.json()["state"]) == ("first", "available")
    assert made.json()["settings"] == {"context_tokens": 32}
    refused = call(hub, "DELETE", "models/first")
    assert refusal(refused)[:2] == (409, "conflict")
    assert "second" in refused.json()["error"]["message"]
    assert call(hub, "DELETE", "models/second").status_code == 204
    assert call(hub, "DELETE", "models/first").status_code == 204


def test_a_variant_may_have_another_engine(hub: servers.Hub, imports: Path) -> None:
    tiny_files.folder(imports / "third")
    add(hub, "third", path="third", settings={"options": {"prefix_cache_bytes": 0}})
    arrived(hub, "third")
    fields: dict[str, Any] = {"source": "variant", "of": "third", "engine": "llm_vllm"}
    made = add(hub, "fast", **fields, settings={"options": {"tensor_parallel_size": 2}})
    assert made.status_code == 201, made.text
    assert made.json()["engine"] == "llm_vllm"
    assert made.json()["settings"] == {"options": {"tensor_parallel_size": 2}}
    unknown = add(hub, "other", **fields, settings={"options": {"prefix_cache_bytes": 0}})
    assert refusal(unknown)[:2] == (400, "unknown_parameter")
    wrong = add(hub, "other", **fields | {"engine": "asr_whisper"})
    assert refusal(wrong)[:2] == (400, "invalid_value")
    assert "llm_transformers, llm_vllm" in wrong.json()["error"]["message"]
    for name in ("fast", "third"):
        assert call(hub, "DELETE", f"models/{name}").status_code == 204


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc", "/", ".", "nothing", "a\0b", "leaving", "leaving/passwd"]
)
def test_it_reads_only_what_the_operator_opened(hub: servers.Hub, imports: Path, path: str) -> None:
    if not (imports / "leaving").is_symlink():
        (imports / "leaving").symlink_to("/etc")
    answer = add(hub, "outside", path=path)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in {"invalid_value", "invalid_json"}
    assert call(hub, "GET", "models/outside").status_code == 404


def test_it_refuses_what_could_harm_and_says_why(hub: servers.Hub, imports: Path) -> None:
    own_code = tiny_files.folder(imports / "own-code", auto_map={"AutoModel": "m.M"})
    pickled = tiny_files.folder(imports / "pickled")
    (pickled / "model.safetensors").rename(pickled / "weights.pt")
    cut = tiny_files.folder(imports / "cut")
    (cut / "model.safetensors").write_bytes(b"\xff" * 20)
    for folder, word in ((own_code, "auto_map"), (pickled, "weights.pt"), (cut, "safetensors")):
        answer = add(hub, folder.name, path=str(folder))
        assert refusal(answer)[:2] == (400, "unsafe_model"), answer.text
        assert word in answer.json()["error"]["message"]
        assert str(imports) not in answer.text


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"source": "local"}, "missing_required_parameter", "path"),
        ({"source": "huggingface"}, "missing_required_parameter", "model_id"),
        ({"source": "huggingface", "model_id": "../x"}, "invalid_value", "model_id"),
        (
            {"source": "huggingface", "model_id": "a/b", "revision": "a..b"},
            "invalid_value",
            "revision",
        ),
        ({"source": "torrent"}, "invalid_value", "source"),
        ({"path": "x", "owner": "root"}, "unknown_parameter", "owner"),
        ({"path": "x", "trust_remote_code": True}, "unknown_parameter", "trust_remote_code"),
        ({"name": "a b"}, "invalid_value", "name"),
        ({"name": "../a"}, "invalid_value", "name"),
        ({"name": "a/load"}, "invalid_value", "name"),
        ({"name": "smollm2-135m"}, "conflict", "name"),
        ({"source": "remote", "base_url": "file:///etc"}, "invalid_value", "base_url"),
        ({"source": "remote", "base_url": "http://127.1/v1"}, "invalid_value", "base_url"),
        ({"source": "remote", "base_url": "http://2130706433"}, "invalid_value", "base_url"),
        ({"source": "remote", "base_url": "http://[::ffff:10.0.0.1]"}, "invalid_value", "base_url"),
        ({"source": "remote", "base_url": "http://[64:ff9b::7f00:1]"}, "invalid_value", "base_url"),
        ({"source": "remote", "base_url": "http://u:p@example.com"}, "invalid_value", "base_url"),
        ({"source": "adapter", "base": "nothing", "path": "x"}, "model_not_found", "base"),
    ],
)
def test_it_names_what_is_wrong(
    hub: servers.Hub, body: dict[str, Any], code: str, param: str
) -> None:
    answer = call(hub, "POST", "models/add", **{"source": "local", "name": "new", **body})
    assert refusal(answer)[1:] == (code, param), answer.text


@pytest.mark.parametrize(
    ("patch", "code", "param"),
    [
        ({"pinned": "perhaps"}, "invalid_value", "pinned"),
        ({"priority": 10**6}, "invalid_value", "priority"),
        ({"context_tokens": 10**6}, "invalid_value", "context_tokens"),
        ({"dtype": "int1"}, "invalid_value", "dtype"),
        ({"device": "/dev/sda"}, "invalid_value", "device"),
        ({"max_concurrency": 0}, "invalid_value", "max_concurrency"),
        ({"options": {"api_base": "x"}}, "unknown_parameter", "options.api_base"),
        ({"options": {"a": {"b": 1}}}, "invalid_value", "options"),
        ({"path": "/etc"}, "unknown_parameter", "path"),
        ({"engine": "fake"}, "invalid_value", "engine"),
        ({"api_key": "x"}, "invalid_value", "api_key"),
    ],
)
def test_it_refuses_settings_that_are_none(
    hub: servers.Hub, imports: Path, patch: dict[str, Any], code: str, param: str
) -> None:
    if call(hub, "GET", "models/set").status_code == 404:
        tiny_files.folder(imports / "set")
        add(hub, "set", path="set")
        arrived(hub, "set")
    answer = call(hub, "PATCH", "models/set", visibility="team", **patch)
    assert refusal(answer)[1:] == (code, param), answer.text
    row = call(hub, "GET", "models/set").json()
    assert (row["settings"], row["visibility"]) == ({}, "hub"), "all of it or nothing"


def test_it_forgets_a_setting_that_is_null(hub: servers.Hub, imports: Path) -> None:
    tiny_files.folder(imports / "nulls")
    add(hub, "nulls", path="nulls", settings={"pinned": True}, tags=["small"])
    assert arrived(hub, "nulls")["settings"] == {"pinned": True}
    options = {"prefix_cache_bytes": 1}
    set_ = call(hub, "PATCH", "models/nulls", pinned=None, options=options, tags=[]).json()
    assert (set_["settings"], set_["tags"]) == ({"options": options}, [])
    cleared = call(hub, "PATCH", "models/nulls", options={"prefix_cache_bytes": None}).json()
    assert cleared["settings"].get("options", {}) == {}


def test_it_keeps_the_key_of_an_upstream_to_itself(hub: servers.Hub) -> None:
    wanted = {"source": "remote", "base_url": "http://1.1.1.1/v1/", "upstream_model": "gpt"}
    made = add(hub, "far", **wanted, api_key="sk-very-secret")
    assert made.status_code == 201, made.text
    assert (made.json()["origin"], made.json()["engine"]) == ("http://1.1.1.1/v1", "remote_openai")
    shown = call(hub, "GET", "models/far").text
    assert "sk-very-secret" not in made.text + shown
    database = (hub.data / "hub.sqlite3").read_bytes() + b"".join(
        file.read_bytes() for file in hub.data.glob("hub.sqlite3-wal")
    )
    assert b"far" in database
    assert b"sk-very-secret" not in database
    before = call(hub, "GET", "models/far").json()["sha256"]
    assert call(hub, "PATCH", "models/far", api_key="sk-new").json()["sha256"] != before


def test_scopes_part_who_may_what(hub: servers.Hub, imports: Path) -> None:
    tiny_files.folder(imports / "mine")
    body = {"source": "local", "path": "mine"}
    for key in ("reader", "loader"):
        refused = call(hub, "POST", "models/add", key, name="mine", **body)
        assert refusal(refused)[:2] == (403, "permission_denied")
    assert refusal(call(hub, "POST", "models/add", "limited", name="other", **body))[0] == 403
    assert call(hub, "POST", "models/add", "limited", name="mine", **body).status_code == 202
    arrived(hub, "mine")
    assert call(hub, "PATCH", "models/mine", "loader", pinned=True).status_code == 403
    assert call(hub, "PATCH", "models/mine", "old", pinned=True).status_code == 200
    assert call(hub, "DELETE", "models/mine", "reader").status_code == 403
    assert call(hub, "DELETE", "models/mine", "limited").status_code == 204


def test_it_filters_the_list(hub: servers.Hub, imports: Path) -> None:
    tiny_files.folder(imports / "seen")
    add(hub, "seen", path="seen")
    arrived(hub, "seen")
    found = call(hub, "GET", "models", search="see", kind="llm", source="local").json()
    assert [row["name"] for row in found["results"]] == ["seen"]
    assert call(hub, "GET", "models", search="see", kind="asr").json()["count"] == 0
    assert refusal(call(hub, "GET", "models", state="odd"))[1:] == ("invalid_value", "state")
    assert refusal(call(hub, "GET", "models", colour="x"))[1:] == ("unknown_parameter", "colour")


def test_secrets_are_set_and_never_shown(hub: servers.Hub) -> None:
    kept = call(hub, "PUT", "secrets/huggingface_token", "admin", value="hf_hidden")
    assert kept.status_code == 204
    listing = call(hub, "GET", "secrets", "admin")
    assert listing.json()[0]["is_set"]
    assert "hf_hidden" not in listing.text
    assert call(hub, "PUT", "secrets/other", "admin", value="x").status_code == 404
    assert call(hub, "DELETE", "secrets/huggingface_token", "admin").status_code == 204
    assert not call(hub, "GET", "secrets", "admin").json()[0]["is_set"]
    assert call(hub, "GET", "secrets").status_code == 403


@pytest.fixture(scope="module")
def tiny(hub: servers.Hub, imports: Path) -> Path:
    """A base that answers already, and two adapters that are not added yet."""
    base = tiny_models.make(imports / "tiny", "llama")
    for seed, name in enumerate(("red", "blue"), start=1):
        tiny_adapters.make(imports / name, base, seed)
    add(hub, "tiny", path="tiny", settings={"dtype": "float32"})
    arrived(hub, "tiny")
    said(hub, "tiny")
    return base


def said(hub: servers.Hub, model: str) -> str:
    body = {"prompt": "once upon", "max_tokens": 12, "temperature": 0}
    with hub.client() as client:
        answer = client.post("completions", json={"model": model, **body})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def attached(hub: servers.Hub) -> list[str]:
    found = seen_by_node(hub, "tiny")["adapters"]
    return [one["name"] for one in found if one.get("attached")]


def expected(speaker: tiny_models.Reference) -> str:
    vocabulary = Vocabulary(small_tokenizers.byte_level())
    prompt = vocabulary.encode("once upon", special=True)
    return shown(vocabulary, speaker.greedy(prompt, 12))


def test_one_engine_serves_a_base_and_its_adapters(hub: servers.Hub, tiny: Path) -> None:
    """Added while the base serves, asked for at once, removed again: the engine stays the same."""
    loads = seen_by_node(hub, "tiny")["loads_total"]
    own = {"tiny": tiny_models.Reference(tiny)}
    for name in ("red", "blue"):
        add(hub, name, source="adapter", base="tiny", path=name)
        row = arrived(hub, name)
        assert (row["state"], row["base"], row["report"]["attached"]) == ("available", "tiny", True)
        files = wire.Adapter(name=name, path=str(tiny.parent / name))
        own[name] = tiny_adapters.reference(tiny, files)
    for name, speaker in (*own.items(), *own.items()):
        assert said(hub, name) == expected(speaker), name
    assert len({expected(speaker) for speaker in own.values()}) == 3
    status = seen_by_node(hub, "tiny")
    assert (status["loads_total"], status["state"]) == (loads, "ready")
    totals = {one["name"]: one["requests_total"] for one in status["adapters"]}
    assert totals == {"red": 2, "blue": 2}
    assert all(one["completion_tokens_total"] == 24 for one in status["adapters"])
    live = call(hub, "GET", "models/red").json()["live"]
    assert (live["state"], live["capabilities"]) == ("ready", ["chat", "completions"])
    shown_to_few = call(hub, "GET", "status", "watches tiny").json()["models"]
    assert [(one["name"], one["adapters"]) for one in shown_to_few] == [("tiny", [])]
    with hub.client() as client:
        listed = {one["id"] for one in client.get("models").json()["data"]}
    assert {"tiny", "red", "blue"} <= listed
    refused = call(hub, "POST", "models/red/unload", "loader")
    assert refusal(refused)[:2] == (409, "conflict")
    assert {"red", "blue"} == {*attached(hub)}
    assert call(hub, "DELETE", "models/red").status_code == 204
    until_s = time.monotonic() + 30
    while "red" in attached(hub):  # it leaves by itself, without another request for the model
        assert time.monotonic() < until_s
        time.sleep(0.05)
    assert attached(hub) == ["blue"]
    assert said(hub, "tiny") == expected(own["tiny"])
    assert seen_by_node(hub, "tiny")["loads_total"] == loads


@pytest.mark.models
def test_it_converts_whisper_and_checks_its_files(hub: servers.Hub, imports: Path) -> None:
    source = tiny_whisper.make(imports / "hf-whisper")
    before = {file.name: file.stat().st_size for file in source.iterdir()}
    assert add(hub, "hf-whisper", path=str(source)).status_code == 202
    row = arrived(hub, "hf-whisper")
    assert (row["state"], row["kind"], row["engine"]) == ("available", "asr", "asr_whisper"), row
    sums = {file["path"]: file["sha256"] for file in row["report"]["files"]}
    assert {"model.bin", "vocabulary.json", "tokenizer.json", "config.json"} <= sums.keys()
    assert {file.name: file.stat().st_size for file in source.iterdir()} == before
    clip = Path(__file__).parents[2] / "data" / "speech" / "sense_and_sensibility_0880.flac"
    with hub.client() as client, clip.open("rb") as sound:
        heard = client.post(
            "/audio/transcriptions", data={"model": "hf-whisper"}, files={"file": sound}
        )
    assert heard.status_code == 200, heard.text

    (made,) = hub.data.rglob("converted/vocabulary.json")
    assert call(hub, "POST", "models/hf-whisper/verify", "reader").status_code == 403
    assert checked_again(hub, "hf-whisper") == []
    made.unlink()
    assert checked_again(hub, "hf-whisper") == ["vocabulary.json is missing"]
    assert call(hub, "DELETE", "models/hf-whisper").status_code == 204
    assert not made.parent.exists()
    assert source.is_dir()
