"""What can be set or run is documented, and what is documented exists."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from django.conf import settings
from django.core.management import find_commands

from accounts.api import urls as accounts_urls
from hub import config, env
from inference.management import urls as inference_urls
from training.management import urls as training_urls

ROOT: Path = settings.BASE_DIR
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
SOURCES = ("hub", "inference", "accounts", "training", "deploy", "tests")
INTERNAL = {"AI_HUB_TEST_OWNER", "AI_HUB_TEST_OF", "AI_HUB_TEST_FUZZ_S"}  # of the tests alone
# In tests they are made up; AI_HUB_KEY is how the API's examples name a client's own variable.
MADE_UP = {"AI_HUB_KEY", "AI_HUB_PROT", "AI_HUB_HOST_FILE", "AI_HUB_DATABASE_URL_FILE"}


def python_files() -> Iterator[Path]:
    for folder in SOURCES:
        yield from (ROOT / folder).rglob("*.py")


def variables_read() -> set[str]:
    text = (ROOT / "hub" / "settings.py").read_text(encoding="utf-8")
    return {env.full(name) for name in re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', text)}


def variables_named() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in python_files())
    found = {name for text in texts for name in re.findall(r"AI_HUB_[A-Z_]*[A-Z]", text)}
    return found - INTERNAL - MADE_UP


def rows(prefix: str) -> set[str]:
    return set(re.findall(rf"^\| `{prefix}([a-z_A-Z]+)`", PAGE, re.MULTILINE))


def test_it_documents_every_variable() -> None:
    documented = {f"AI_HUB_{name}" for name in rows("AI_HUB_")}
    documented |= {name for name in env.KNOWN_ELSEWHERE if f"| `{name}` |" in PAGE}
    assert documented == variables_read()


def test_it_names_no_variable_that_is_not_documented() -> None:
    assert {name for name in variables_named() if f"`{name}`" not in PAGE} == set()


def test_it_documents_every_key_of_the_config_file() -> None:
    section = PAGE.partition("## config/hub.json")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `([a-z_.]+)`", section, re.MULTILINE)) == set(
        _keys(config.HubConfig)
    )


def test_it_documents_the_defaults_of_the_config_file() -> None:
    defaults = msgspec.to_builtins(config.HubConfig())
    told = re.findall(r"^\| `([a-z]\w+\.\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert len(told) > 10
    for key, value in told:
        section, name = key.split(".")
        assert json.loads(value) == defaults[section][name], key
    assert json.loads((ROOT / "config" / "hub.json").read_bytes()) == defaults


def _keys(struct: type[msgspec.Struct], prefix: str = "") -> Iterable[str]:
    for field in msgspec.structs.fields(struct):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _keys(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_it_documents_every_command() -> None:
    commands = {
        name
        for app in ("hub", "accounts", "inference")
        for name in find_commands(str(ROOT / app / "management"))
    }
    assert rows("manage.py ") == commands


def test_it_documents_every_room_of_the_management_api() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = page.partition("# The management API")[2].partition("\n## ")[0]
    told = {
        room
        for cell in re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
        for room in re.findall(r"[` ]([a-z_]+)[/`?]", cell)
    }
    rooms = (accounts_urls, inference_urls, training_urls)
    routes = [route for room in rooms for route in room.urlpatterns]
    assert {str(route.pattern).partition("/")[0] for route in routes} == told
