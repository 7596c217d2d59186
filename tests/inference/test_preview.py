"""A model is judged before its files are here, to the same figures as after."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from inference import preview, wire
from inference.errors import InvalidValue, UnsafeModel
from inference.preview import Head
from tests import models
from tests.inference import hub_server, tiny_files
from tests.inference.hub_server import Behaviour

DEVICE = wire.DeviceInfo(name="cpu", label="", total_bytes=2**36, limit_bytes=2**35, used_bytes=0)
STATE = wire.Snapshot(at=0.0, devices=[DEVICE])


@pytest.fixture
def model_hub(settings: Settings) -> Iterator[Behaviour]:
    files = {**tiny_files.files(vocab_size=2**18), "README.md": b"x"}
    with hub_server.serving(Behaviour({"org/tiny": files})) as started:
        settings.HUB_HF_ENDPOINT = started.url
        yield started


@pytest.mark.django_db
def test_it_says_of_a_hubs_model_what_it_says_of_the_folder(
    model_hub: Behaviour, tmp_path: Path
) -> None:
    before = preview.of_hub("org/tiny", "main", [], STATE)
    for name, content in model_hub.models["org/tiny"].items():
        (tmp_path / name).write_bytes(content)
    after = preview.of_place(tmp_path, STATE)
    assert (before.report, before.size_bytes, before.fit) == (
        after.report,
        after.size_bytes,
        after.fit,
    )
    assert (before.licence, before.files) == ("apache-2.0", 4)
    assert before.fit
    assert before.fit["verdict"] == "fits"


@pytest.mark.django_db
def test_it_holds_no_more_of_a_strangers_headers_than_it_may(
    model_hub: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MAX_HEADS_BYTES", 2**19)
    monkeypatch.setattr(preview, "AT_ONCE", 1)
    claim = (2**40).to_bytes(8, "little") + bytes(2**20)  # a header without an end
    files = {f"model-{n}.safetensors": claim for n in range(4)}
    model_hub.models["org/hostile"] = files
    with pytest.raises(InvalidValue, match="too large to look into"):
        preview.of_hub("org/hostile", "main", [], STATE)


@pytest.mark.django_db
def test_it_judges_what_no_disk_could_hold() -> None:
    giant = {"hidden_size": 2**14, "intermediate_size": 2**16, "num_hidden_layers": 32}
    tensors, config = tiny_files.shapes(**giant), tiny_files.config(**giant)
    header, size = tiny_files.header(tensors), tiny_files.data_bytes(tensors)
    heads = [
        Head("model.safetensors", len(header) + size, header),
        Head("config.json", len(config), config),
        Head("tokenizer.json", 2**20),
    ]
    found = preview.of_heads(heads, STATE)
    assert found.size_bytes > size > 2**38
    assert found.fit
    assert found.fit["verdict"] == "does_not_fit"


@pytest.mark.django_db
def test_it_reads_a_gguf_file_from_its_beginning_and_believes_no_zeros() -> None:
    file = models.smollm2_gguf()
    whole = preview.of_place(file, STATE)
    with file.open("rb") as stream:
        begin = stream.read(preview.GGUF_HEAD_BYTES)
    size = file.stat().st_size
    assert preview.of_heads([Head("m.gguf", size, begin)], STATE).fit == whole.fit
    with pytest.raises(UnsafeModel):
        preview.of_heads([Head("m.gguf", size, begin[:100_000])], STATE)


@pytest.mark.django_db
def test_it_refuses_what_the_download_would_refuse() -> None:
    with pytest.raises(InvalidValue):
        preview.of_heads([Head("../config.json", 2, b"{}")], STATE)
    code = tiny_files.config(auto_map={"AutoModel": "x.Y"})
    with pytest.raises(UnsafeModel, match="auto_map"):
        preview.of_heads([Head("config.json", len(code), code)], STATE)
