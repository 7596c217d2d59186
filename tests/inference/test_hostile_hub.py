"""A hub that lies, drips or never ends costs one model its arrival, and nobody else anything."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from inference import arrivals, bounded, downloads, entries, hub_search
from inference.downloads import DownloadFailed, Source
from inference.hub_protocol import Hub
from inference.models import Model
from tests.inference import hub_server, tiny_files
from tests.inference.hub_server import COMMIT, Behaviour

DB = pytest.mark.django_db(transaction=True)
LARGE = bytes(200_000)
DEEP = b"[" * 200_000


@pytest.fixture
def hub(settings: Settings, tmp_path: Path) -> Iterator[Behaviour]:
    files = tiny_files.files(vocab_size=2**16)
    with hub_server.serving(Behaviour({"org/tiny": files, "org/x": {"f": LARGE}})) as started:
        settings.HUB_HF_ENDPOINT = started.url
        settings.HUB_MODELS = tmp_path / "models"
        yield started


def asked(hub: Behaviour) -> Hub:
    return Hub(hub.url, "", private_allowed=False)


def fetch(hub: Behaviour, target: Path, size: int | None) -> None:
    source = Source(f"{hub.url}/org/x/resolve/{COMMIT}/f", size_bytes=size)
    downloads.download(source, target, lambda *_: None, lambda _: None)


def brought() -> Model:
    row = entries.add(entries.Wanted(source="huggingface", name="tiny", model_id="org/tiny"))
    arrivals.bring(row.pk)
    row.refresh_from_db()
    return row


def test_no_more_than_announced_is_written(hub: Behaviour, tmp_path: Path) -> None:
    hub.endless = True
    seen: list[int] = []
    source = Source(f"{hub.url}/org/x/resolve/{COMMIT}/f", size_bytes=150_000)
    with pytest.raises(downloads.TooLong, match="announced 150,000 bytes"):
        downloads.download(source, tmp_path / "f", lambda done, _: seen.append(done))
    assert max(seen) <= 150_000
    assert [*tmp_path.iterdir()] == []


def test_what_came_before_counts_with_what_was_announced(hub: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(LARGE)
    with pytest.raises(downloads.TooLong):
        fetch(hub, tmp_path / "f", 100)
    assert [*tmp_path.iterdir()] == []


def test_a_file_of_the_announced_size_comes(hub: Behaviour, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "f", len(LARGE))
    assert (tmp_path / "f").read_bytes() == LARGE


@DB
@pytest.mark.usefixtures("redis_url")
def test_an_endless_file_is_the_hubs_fault_and_leaves_nothing(
    hub: Behaviour, settings: Settings
) -> None:
    hub.endless = True
    row = brought()
    assert row.state == "failed"
    assert "sends more" in row.state_reason
    assert not [*settings.HUB_MODELS.rglob("*.part")]


@pytest.mark.parametrize("size", [-(10**12), 2**60])
def test_sizes_that_cannot_be_are_refused(hub: Behaviour, size: int) -> None:
    siblings = [{"rfilename": "a.safetensors", "size": size}]
    hub.answer = json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
    with pytest.raises(DownloadFailed, match=r"a\.safetensors: the hub says that it has"):
        asked(hub).listing("org/tiny", "main", [])


def test_a_listing_that_drips_has_a_deadline(
    hub: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "LIMIT_S", 0.5)
    hub.drip_s = 0.05
    began_s = time.monotonic()
    with pytest.raises(DownloadFailed, match="not whole after"):
        asked(hub).listing("org/tiny", "main", [])
    with pytest.raises(DownloadFailed, match="not whole after"):
        hub_search.search(asked(hub), "tiny", None)
    assert time.monotonic() - began_s < 10


def test_a_file_that_drips_before_it_begins_is_cut(
    hub: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "STALL_S", 0.3)
    hub.drip_s = 0.05
    with pytest.raises(DownloadFailed, match="not whole after"):
        fetch(hub, tmp_path / "f", None)


def test_a_download_that_is_too_slow_is_kept_and_given_up(
    hub: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SLOW_S", 0.0)
    monkeypatch.setattr(downloads, "SLOW_BYTES_PER_S", 2**50)
    with pytest.raises(DownloadFailed, match="too slow"):
        fetch(hub, tmp_path / "f", len(LARGE))
    assert 0 < (tmp_path / "f.part").stat().st_size <= len(LARGE)


def test_a_cancel_ends_a_listing(hub: Behaviour) -> None:
    def cancelled() -> None:
        raise arrivals.Gone

    with pytest.raises(arrivals.Gone):
        asked(hub).listing("org/tiny", "main", [], cancelled)


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_an_answer_that_is_too_long_or_packed_is_not_read(hub: Behaviour, encoding: str) -> None:
    whole = b" " * (bounded.MAX_ANSWER_BYTES + 1)
    hub.answer, hub.encoding = gzip.compress(whole) if encoding else whole, encoding
    reason = "not its protocol's" if encoding else "too long"
    with pytest.raises(DownloadFailed, match=reason):
        asked(hub).listing("org/tiny", "main", [])
    with pytest.raises(DownloadFailed, match=reason):
        hub_search.search(asked(hub), "tiny", None)


def test_a_listing_as_deep_as_can_be_is_not_its_protocols(hub: Behaviour) -> None:
    hub.answer = b'{"sha": "' + COMMIT.encode() + b'", "cardData": {"a": ' + DEEP
    with pytest.raises(DownloadFailed, match="not its protocol's"):
        asked(hub).listing("org/tiny", "main", [])


@DB
@pytest.mark.usefixtures("redis_url")
def test_a_circle_of_redirects_is_told(hub: Behaviour) -> None:
    hub.circle = True
    row = brought()
    assert (row.state, "redirects" in row.state_reason) == ("failed", True), row.state_reason
    assert "unexpected" not in row.state_reason
