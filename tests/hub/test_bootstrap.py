"""`make setup`: pip's configuration holds for uv, and every requirement is pinned with a reason."""

import ast
import re
import sys
from pathlib import Path

import pytest

from deploy import bootstrap

ROOT = Path(bootstrap.__file__).parent.parent
LISTING = """:env:.cert='/certs/env.pem'
global.cert='/certs/ca.pem'
global.extra-index-url='https://a.example/simple https://b.example/simple'
global.find-links='/wheels'
install.index-url='https://main.example/simple'
freeze.timeout='10'
"""


def test_it_reads_pips_configuration() -> None:
    settings = bootstrap.pip_settings(LISTING, {"PIP_CERT": "/certs/env.pem", "HOME": "/"})
    assert settings == {
        "cert": "/certs/env.pem",
        "extra-index-url": "https://a.example/simple https://b.example/simple",
        "find-links": "/wheels",
        "index-url": "https://main.example/simple",
    }


def test_it_translates_it_for_uv() -> None:
    flags, env = bootstrap.uv_options(bootstrap.pip_settings(LISTING, {"PIP_PROXY": "http://p"}))
    assert " ".join(flags) == (
        "--extra-index-url https://a.example/simple --extra-index-url https://b.example/simple"
        " --find-links /wheels --index-url https://main.example/simple"
        " --index-strategy unsafe-best-match"
    )
    assert env["SSL_CERT_FILE"] == "/certs/ca.pem"
    assert env["HTTPS_PROXY"] == "http://p"


def test_it_adds_nothing_where_nothing_is_set() -> None:
    flags, env = bootstrap.uv_options({})
    assert flags == []
    assert set(env) == {"UV_HTTP_TIMEOUT"}


@pytest.mark.parametrize(("device", "file"), [("cpu", "cpu.txt"), ("cuda", "gpu.txt")])
def test_it_keeps_the_torch_builds_apart(
    monkeypatch: pytest.MonkeyPatch, device: str, file: str
) -> None:
    monkeypatch.setenv("AI_HUB_DEVICE", device)
    files = bootstrap._requirement_files(with_tests=False)
    assert [path.name for path in files] == [file, "requirements.txt"]


def test_it_notices_a_changed_requirement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("a==1\n")
    first = bootstrap._stamp([file])
    assert bootstrap._stamp([file]) == first
    file.write_text("a==2\n")
    assert bootstrap._stamp([file]) != first


def test_it_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(bootstrap.__file__).read_text(encoding="utf-8"))
    names = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["requirements.txt", "requirements/dev.txt"])
def test_it_pins_every_package_with_a_reason(name: str) -> None:
    lines = [
        line
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines
    wrong = [line for line in lines if not re.fullmatch(r"[\w.\[\],-]+==\S+ +# .{8,}", line)]
    assert wrong == []


def test_it_locks_what_it_pins() -> None:
    lock = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    for name in ("requirements.txt", "requirements/dev.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for package, version in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE):
            assert locked[package.lower()] == version, package


def test_it_names_no_registry() -> None:
    files = [
        ROOT / "requirements.txt",
        *(ROOT / "requirements").iterdir(),
        Path(bootstrap.__file__),
    ]
    for file in files:
        assert "://" not in file.read_text(encoding="utf-8"), file
