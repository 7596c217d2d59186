"""Nothing goes round the guards: each dangerous call has the modules that may make it, by name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("accounts", "hub", "inference", "training")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

# Modules that nobody may import, but for the files named, each with its own checks.
MODULES: dict[str, set[str]] = {
    "pickle": set(),  # runs what it reads
    "marshal": set(),
    "shelve": set(),
    "dill": set(),
    "cloudpickle": set(),
    "yaml": set(),
    "orjson": set(),
    "simplejson": set(),
    "ujson": set(),
    "tarfile": {"training/archive.py"},  # writes one, of files made here
    "zipfile": {"inference/safe_extract.py"},  # the guard itself
    "xml": set(),
    "ftplib": set(),
    "telnetlib": set(),
    "requests": set(),
    "aiohttp": set(),
    "urllib3": set(),
    "urllib.request": {"inference/downloads.py"},  # the proxies that the machine names
    "http.client": {
        "hub/supervisor/start.py",  # asks our own server on loopback
        "inference/engines/llama_server.py",  # a unix socket of our own child
    },
    "httpx": {
        "inference/safe_fetch.py",  # the guard itself
        "inference/downloads.py",  # pinned files from the package index
        "inference/hub_protocol.py",  # calls the address that safe_address checked
        "inference/hub_search.py",  # the same hub
        "inference/bounded.py",  # asks with the client of these two, and of downloads
        "inference/upstreams.py",  # checked by safe_address
        "inference/engines/remote_openai.py",  # the upstream that check_upstream let in
        "inference/engines/upstream_client.py",
        "hub/tracking/upstream.py",  # MLflow of our own, or the one that the operator named
    },
}
# Calls by their last names.
CALLS: dict[str, set[str]] = {
    "eval": set(),
    "exec": set(),
    "compile": set(),
    "__import__": set(),
    "os.system": set(),
    "os.popen": set(),
    "torch.load": set(),
    "shutil.unpack_archive": set(),
    "mark_safe": set(),
    "SafeString": {
        "hub/dashboard/panels.py",  # what a template rendered
        "hub/dashboard/enrolment.py",  # squares drawn here
    },
    "tempfile.mktemp": set(),
}
# Where bodies of strangers are read there is one reader.
STRANGERS = (
    "accounts/api/",
    "inference/api/",
    "inference/openai/",
    "inference/management/",
    "training/api/",
    "training/management/",
    "hub/",
)
JSON_READERS = {
    "json.load",
    "json.loads",
    "json.JSONDecoder",
    "msgspec.json.decode",
    "msgspec.json.Decoder",
}
MAY_READ_JSON = {
    "inference/openai/bounded_json.py",  # the guard itself
    "hub/config.py",  # the operator's own file
}


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    """Give `os.system` of the call's function; an empty string for what has no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := name_of(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def readers(place: str, tree: ast.Module) -> list[str]:
    """Find what reads JSON of strangers by itself, also handed on or under a name of its own."""
    if not place.startswith(STRANGERS) or place in MAY_READ_JSON:
        return []
    named = [(name_of(node), node.lineno) for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return [
        f"{place}:{line} reads JSON by {name}"
        for name, line in [*named, *imported(tree)]
        if name in JSON_READERS
    ]


def offences(file: Path) -> list[str]:
    place, tree = file.relative_to(ROOT).as_posix(), tree_of(file)
    found = [
        f"{place}:{line} imports {name}"
        for name, line in imported(tree)
        for banned, allowed in MODULES.items()
        if (name == banned or name.startswith(f"{banned}.")) and place not in allowed
    ]
    found += readers(place, tree)
    for call in calls(tree):
        name = name_of(call.func)
        if name in CALLS and place not in CALLS[name]:
            found.append(f"{place}:{call.lineno} calls {name}")
        for word in call.keywords:
            is_true = isinstance(word.value, ast.Constant) and word.value.value is True
            if word.arg in {"shell", "trust_remote_code"} and is_true:
                found.append(f"{place}:{call.lineno} says {word.arg}=True")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_goes_round_a_guard(package: str) -> None:
    inside = [file for file in FILES if file.is_relative_to(ROOT / package)]
    assert inside
    assert [line for file in inside for line in offences(file)] == []


def test_no_template_turns_escaping_off() -> None:
    bad = re.compile(r"\|\s*safe\b|autoescape off|\|\s*safeseq|onclick=|onload=|javascript:")
    files = [*(ROOT / "templates").rglob("*.html")]
    assert files
    assert [file.name for file in files if bad.search(file.read_text(encoding="utf-8"))] == []


def test_every_exception_is_still_needed() -> None:
    """A name that stays on a list after its call has gone would let a new one in."""
    for name, files in MODULES.items():
        for file in files:
            assert any(
                n == name or n.startswith(f"{name}.") for n, _ in imported(tree_of(ROOT / file))
            )
    for name, files in CALLS.items():
        for file in files:
            assert any(name_of(call.func) == name for call in calls(tree_of(ROOT / file))), file
    for place in MAY_READ_JSON:
        nodes = [node for node in ast.walk(tree_of(ROOT / place)) if isinstance(node, ast.expr)]
        assert any(name_of(node) in JSON_READERS for node in nodes), place


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "import http.client",
        "from tarfile import open",
        "import zipfile",
        "x = eval('1')",
        "import os\nos.system('x')",
        "run('x', shell=True)",
        "load('x', trust_remote_code=True)",
        "mark_safe('x')",
        "import json\njson.loads(x)",
        "import json\nread = json.loads",
        "from json import loads",
        "import msgspec\nmsgspec.json.decode(x)",
        "from msgspec.json import Decoder",
    ],
)
def test_it_sees_what_it_looks_for(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hub.test_guards.ROOT", tmp_path)
    for place in ("hub", "training/api", "training/management"):
        file = tmp_path / place / "x.py"
        file.parent.mkdir(parents=True)
        file.write_text(source)
        assert offences(file)
