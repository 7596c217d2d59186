"""Folders that were made to harm: refused with the reason, by a real hub whose other models go on.

What they could do is named by what they attack: links, pipes, sizes, depths, names, templates.
"""

import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import servers
from tests.inference import tiny_files
from tests.inference.api.adding import add, arrived, call
from tests.inference.engines import small_tokenizers, tiny_models

Spoil = Callable[[Path], object]
WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
DEEP = "[" * 200_000
HUGE_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imports")


@pytest.fixture(scope="module")
def hub(imports: Path) -> Iterator[servers.Hub]:
    good = [{"name": "good", "kind": "llm", "engine": "fake", "path": "/m"}]
    keys = {
        "default": {"scopes": ["models:read", "models:write", "models:load", "inference"]},
        "watcher": {"scopes": ["status:read"]},
    }
    with servers.hub(good, keys=keys, AI_HUB_IMPORT_ROOTS=str(imports)) as started:
        servers.start(started, "worker", "run_worker")
        assert says(started, "good") == 200
        yield started


def says(hub: servers.Hub, model: str) -> int:
    return asked(hub, model).status_code


def asked(hub: servers.Hub, model: str, text: str = "hi") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    with hub.client() as client:
        return client.post("chat/completions", json=body)


def instead(name: str, make: Spoil) -> Spoil:
    """Put something else in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def text(content: str | bytes) -> Spoil:
    data = content.encode() if isinstance(content, str) else content
    return lambda file: file.write_bytes(data)


def listening(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(file))


def weights(header: Any, data: bytes = b"", length: int | None = None) -> Spoil:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(raw) if length is None else length
    return instead(WEIGHTS, text(struct.pack("<Q", size) + raw + data))


def entry(begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}


def index(shard: str, name: str = "model.norm.weight") -> Spoil:
    return instead(INDEX, text(json.dumps({"weight_map": {name: shard}})))


def large(file: Path) -> None:
    file.write_bytes(b'{"a":"' + b"x" * HUGE_BYTES + b'"}')


def to_itself(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")


HOSTILE: dict[str, tuple[Spoil, str]] = {
    "a link to another place": (lambda f: (f / "x").symlink_to("/etc/passwd"), "leaves the folder"),
    "weights that are elsewhere": (
        instead(WEIGHTS, lambda f: f.symlink_to("/proc/self/mem")),
        "leaves the folder",
    ),
    "a link to itself": (to_itself, "no plain file"),
    "a link to nothing": (lambda f: (f / "x").symlink_to(f / "gone"), "no plain file"),
    **{
        f"a pipe for {name}": (instead(name, os.mkfifo), "no plain file")
        for name in (WEIGHTS, CONFIG, INDEX, "README.md", "tokenizer_config.json", "x.jinja")
    },
    "a socket": (instead("s", listening), "no plain file"),
    "a folder for the weights": (instead(WEIGHTS, Path.mkdir), f"{WEIGHTS} cannot be read"),
    "a folder for the config": (instead(CONFIG, Path.mkdir), "config.json"),
    "a header without an end": (weights({}, length=2**62), "cut off"),
    "a header of brackets": (weights(b"[" * 20_000_000), "too many items"),
    "a deep header": (weights(DEEP.encode()), "too deeply"),
    "a name twice": (weights(b'{"w":{},"w":{}}'), "appears twice"),
    "tensors in one place": (
        weights({"a": entry(0, 16), "b": entry(8, 24)}, bytes(24)),
        "overlap",
    ),
    "tensors beyond the end": (weights({"a": entry(0, 2**40)}, bytes(16)), "cut off"),
    "a weight's name of control characters": (
        weights({"a\r\nx": entry(0, 16)}, bytes(16)),
        "does not fit its shape",
    ),
    "an empty shard": (instead("model-2.safetensors", text("")), "no safetensors file"),
    "empty weights": (instead(WEIGHTS, text("")), "no safetensors file"),
    "a deep config": (instead(CONFIG, text(DEEP)), "config.json"),
    "a config of 100 MB": (instead(CONFIG, large), "too large"),
    "a number of 5000 digits": (
        instead(CONFIG, text('{"vocab_size": ' + "9" * 5_000 + "}")),
        "no JSON object",
    ),
    "a config of another shape": (
        instead(CONFIG, text(tiny_files.config(num_hidden_layers=2**24))),
        "lack model.layers.1.",
    ),
    "code of its own": (
        instead(CONFIG, text(tiny_files.config(auto_map={"AutoModel": "evil.Evil"}))),
        "auto_map",
    ),
    "a deep index": (instead(INDEX, text(DEEP)), INDEX),
    "a shard elsewhere": (index("../../x.safetensors"), "no file here"),
    "a shard at a root": (index("/etc/x.safetensors"), "no file here"),
    "a shard that is not there": (index("gone.safetensors"), "is missing"),
    "a tensor that is not there": (index(WEIGHTS, "gone"), "does not hold it"),
    "a file's name that is no text": (
        lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff.json")).write_text("{}"),
        "is no name for a model's file",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_refused_and_others_go_on(hub: servers.Hub, imports: Path, what: str) -> None:
    spoil, reason = HOSTILE[what]
    folder = tiny_files.folder(imports / what.replace(" ", "-"))
    spoil(folder)
    answer = add(hub, "evil", path=folder.name)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "unsafe_model", error
    assert reason in error["message"]
    assert str(imports) not in answer.text
    assert call(hub, "GET", "models/evil").status_code == 404
    assert says(hub, "good") == 200


def header(values: bytes = b"", *, tensors: int = 0, count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + values


def named(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + value


GGUFS = {
    "no end of entries": header(count=2**63),
    "no end of tensors": header(tensors=2**63),
    "a text without an end": header(named(8, struct.pack("<Q", 2**62)), count=1),
    "an array without an end": header(named(9, struct.pack("<IQ", 4, 2**62)), count=1),
    "arrays in arrays": header(named(9, struct.pack("<IQ", 9, 1) * 100), count=1),
    "a value of no type": header(named(77, b""), count=1),
    "nothing": b"",
}


@pytest.mark.parametrize("what", GGUFS)
def test_so_is_a_hostile_gguf(hub: servers.Hub, imports: Path, what: str) -> None:
    file = imports / f"{what.replace(' ', '-')}.gguf"
    file.write_bytes(GGUFS[what])
    answer = add(hub, "evil", path=file.name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsafe_model")
    assert says(hub, "good") == 200


BOMBS = {
    "loop": "{% for i in range(10**9) %}{% for j in range(10**9) %}{% endfor %}{% endfor %}",
    "text": "{{ 'x' * 10**12 }}",
    "number": "{{ 10 ** (10 ** 10) }}",
    "digits": "{{ 1.5 | round(10 ** 9, 'ceil') }}",
    "way out": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


def test_a_template_bomb_harms_its_own_request_only(hub: servers.Hub, imports: Path) -> None:
    folder = tiny_models.make(imports / "bombs", "llama")
    cases = (f"{{% if messages[0].content == '{n}' %}}{b}{{% endif %}}" for n, b in BOMBS.items())
    small_tokenizers.byte_level.__wrapped__("hello" + "".join(cases)).save_pretrained(folder)
    add(hub, "bombs", path="bombs")
    assert arrived(hub, "bombs")["report"]["template"] == "fine"
    for name in BOMBS:
        answer = asked(hub, "bombs", name)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["param"] == "messages"
        assert says(hub, "good") == 200
    assert says(hub, "bombs") == 200, "the same engine goes on"
    assert call(hub, "DELETE", "models/bombs?force=true").status_code == 204
