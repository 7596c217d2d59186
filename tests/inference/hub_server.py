"""A model hub of the tests' own: it speaks the protocol, and misbehaves as a test says."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 64 * 1024


@dataclass
class Behaviour:
    """The models it holds, what it does wrong, and what it was asked."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str = ""  # needed for every file, if set
    commit: str = COMMIT
    cut_after: list[int] = field(default_factory=list)  # bytes of each next large file, then cut
    wrong: int = 0  # as many next large files are others
    gate: threading.Event | None = None  # large files stop half-way until it is set
    redirect: str = ""  # files are elsewhere
    about: dict[str, dict[str, object]] = field(default_factory=dict)  # what a search tells of them
    no_search: bool = False
    searches: list[dict[str, list[str]]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    half_way: threading.Event = field(default_factory=threading.Event)
    endless: bool = False  # large files never end
    drip_s: float = 0.0  # between the bytes of every answer, the status line's too
    answer: bytes | None = None  # to every question, instead of what it should say
    encoding: str = ""  # of that answer
    circle: bool = False  # every file is where it was asked for
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        here = self.behaviour
        here.tokens.append(self.headers.get("authorization", ""))
        if here.token and self.headers.get("authorization") != f"Bearer {here.token}":
            self.send_error(401)
        elif here.drip_s:
            self._drip()
        elif here.answer is not None and self.path.startswith("/api/"):
            self._whole(here.answer)
        elif self.path.startswith("/api/models?"):
            self._search(parse_qs(urlsplit(self.path).query))
        elif self.path.startswith("/api/models/"):
            self._listing(self.path.removeprefix("/api/models/").partition("/revision/"))
        else:
            self._file(self.path.lstrip("/").partition("/resolve/"))

    def _search(self, asked: dict[str, list[str]]) -> None:
        here = self.behaviour
        here.searches.append(asked)
        if here.no_search:
            self.send_error(501)
            return
        text = asked["search"][0].lower()
        found = [_entry(name, here.about.get(name, {})) for name in here.models]
        found = [entry for entry in found if text in str(entry["id"]).lower()]
        self._whole(json.dumps(found[: int(asked["limit"][0])]).encode())

    def _listing(self, parts: tuple[str, str, str]) -> None:
        files = self.behaviour.models.get(parts[0])
        if files is None or parts[2].partition("?")[0] not in {"main", self.behaviour.commit}:
            self.send_error(404)
            return
        siblings = [_sibling(name, content) for name, content in files.items()]
        card = {"license": "apache-2.0"}
        answer = {"sha": self.behaviour.commit, "siblings": siblings, "cardData": card}
        self._whole(json.dumps(answer).encode())

    def _file(self, parts: tuple[str, str, str]) -> None:
        here = self.behaviour
        commit, _, name = parts[2].partition("/")
        content = here.models.get(parts[0], {}).get(name)
        if content is None or commit != here.commit:
            self.send_error(404)
        elif here.redirect or here.circle:
            self.send_response(302)
            self.send_header("location", f"{here.redirect}{self.path}")
            self.send_header("content-length", "0")
            self.end_headers()
        elif len(content) <= PIECE:
            self._whole(content)
        else:
            self._large(content)

    def _large(self, content: bytes) -> None:
        here = self.behaviour
        asked = self.headers.get("range", "")
        here.ranges.append(asked)
        if here.wrong:
            here.wrong -= 1
            content = content[::-1]
        start = int(asked[6:-1]) if asked else 0
        if here.endless:
            self._endless(start)
            return
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(content) - start))
        self.send_header("etag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        until = start + here.cut_after.pop(0) if here.cut_after else len(content)
        self._pieces(content, start, until)

    def _endless(self, start: int) -> None:
        self.send_response(206 if start else 200)
        self.end_headers()
        self.close_connection = True
        for _ in range(4000):  # 250 MB, so that a test that fails ends too
            self.wfile.write(bytes(PIECE))

    def _drip(self) -> None:
        self.close_connection = True
        for byte in b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1000:
            self.wfile.write(bytes([byte]))
            time.sleep(self.behaviour.drip_s)

    def _pieces(self, content: bytes, start: int, until: int) -> None:
        gate = self.behaviour.gate
        for at in range(start, until, PIECE):
            if gate and at >= len(content) // 2:
                self.behaviour.half_way.set()
                gate.wait(60)
            self.wfile.write(content[at : min(at + PIECE, until)])
        self.close_connection = True

    def _whole(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        if self.behaviour.encoding:
            self.send_header("content-encoding", self.behaviour.encoding)
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked may hang up
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


def _entry(name: str, about: dict[str, object]) -> dict[str, object]:
    return {"_id": "0", "id": name, "modelId": name, "private": False, **about}


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """Large files are in LFS, by SHA-256; small ones in git."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if len(content) > PIECE:
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return entry


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Behaviour]:
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    behaviour.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield behaviour
    finally:
        if behaviour.gate:
            behaviour.gate.set()
        server.shutdown()
        server.server_close()
