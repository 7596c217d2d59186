"""Names lead to models, and changes are seen by every process."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.config import HubConfig
from inference import catalog, errors, specs, starter_rows, starters
from inference.models import Alias, Model

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url", "rows")]


@pytest.fixture
def rows() -> None:
    """Two models that serve, one that does not yet, one that never will."""
    catalog.invalidate()
    chat = Model.objects.create(name="chat", kind="llm", engine="fake", path="/m/chat")
    Model.objects.create(name="vectors", kind="embed", engine="fake", path="/m/vectors")
    Model.objects.create(name="baking", kind="llm", engine="fake", path="/m/b", state="preparing")
    Model.objects.create(
        name="broken", kind="llm", engine="fake", path="/m/c", state="failed", state_reason="why"
    )
    Model.objects.create(name="given-up", kind="llm", engine="fake", path="/m/d", state="cancelled")
    Alias.objects.create(name="gpt-4o", target=chat)
    catalog.invalidate()


async def test_it_resolves_a_name_and_an_alias() -> None:
    plain, alias = await catalog.resolve("chat"), await catalog.resolve("gpt-4o")
    assert plain.spec == alias.spec
    assert (alias.name, alias.model) == ("gpt-4o", "chat")


def test_it_makes_no_query_when_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.resolve_now("chat")
    monkeypatch.setattr(catalog, "CHECK_INTERVAL_S", 0.0)  # so that each one compares versions
    with CaptureQueriesContext(connection) as queries:
        for _ in range(100):
            catalog.resolve_now("gpt-4o")
    assert len(queries) == 0


async def test_it_answers_many_at_once() -> None:
    found = await asyncio.gather(*(catalog.resolve("gpt-4o") for _ in range(100)))
    assert {resolved.model for resolved in found} == {"chat"}


async def test_it_says_when_there_is_no_such_model() -> None:
    with pytest.raises(errors.ModelNotFound, match="`gpt-9`"):
        await catalog.resolve("gpt-9")


async def test_it_says_why_a_model_cannot_serve() -> None:
    with pytest.raises(errors.Unavailable, match="being prepared") as preparing:
        await catalog.resolve("baking")
    assert preparing.value.retry_after_s
    with pytest.raises(errors.LoadFailed) as broken:
        await catalog.resolve("broken")
    cannot = "The model `broken` cannot be used (why): add it again, or remove it."
    assert broken.value.message == cannot
    with pytest.raises(errors.LoadFailed, match="`given-up` was stopped before it was all here: "):
        await catalog.resolve("given-up")


async def test_it_lists_only_what_can_serve() -> None:
    names = {resolved.name for resolved in await catalog.available()}
    assert names == {"chat", "vectors", "gpt-4o"}


def test_it_obeys_the_mapping_of_the_config_file(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = HubConfig(model_mapping={"house-model": "gpt-4o", "chat": "vectors"})
    monkeypatch.setattr(settings, "HUB_CONFIG", mapped)
    catalog.invalidate()
    assert catalog.resolve_now("house-model").model == "chat"
    assert catalog.resolve_now("chat").model == "chat", "a model's own name is not redirected"


def test_it_survives_a_ring_of_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HUB_CONFIG", HubConfig(model_mapping={"a": "b", "b": "a"}))
    catalog.invalidate()
    with pytest.raises(errors.ModelNotFound):
        catalog.resolve_now("a")


def test_it_sees_a_change_of_another_process() -> None:
    before = catalog.resolve_now("chat").spec
    _elsewhere("Model.objects.filter(name='chat').update(path='/m/other')")
    deadline_s = time.monotonic() + 2 * catalog.CHECK_INTERVAL_S
    while catalog.resolve_now("chat").spec == before and time.monotonic() < deadline_s:
        pass
    after = catalog.resolve_now("chat").spec
    assert after.path == "/m/other"
    assert after.version != before.version


async def test_a_name_that_another_process_made_is_there_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads that a training succeeded may call its model: no older snapshot says no."""
    monkeypatch.setattr(catalog, "CHECK_INTERVAL_S", 3600.0)
    assert await catalog.available()
    await asyncio.to_thread(
        _elsewhere, "Model.objects.create(name='new', kind='llm', engine='fake', path='/m/new')"
    )
    assert (await catalog.resolve("new")).model == "new"
    await asyncio.to_thread(
        _elsewhere, "Model.objects.filter(name='baking').update(state='available')"
    )
    assert (await asyncio.to_thread(catalog.resolve_now, "baking")).model == "baking"


def _elsewhere(change: str) -> None:
    """Change rows in another process, which says so."""
    program = (
        "import django; django.setup()\n"
        "from inference import catalog\n"
        "from inference.models import Model\n"
        f"{change}\n"
        "catalog.invalidate()\n"
    )
    subprocess.run([sys.executable, "-c", _on_the_test_database(program)], check=True, timeout=60)


def _on_the_test_database(program: str) -> str:
    name = str(settings.DATABASES["default"]["NAME"])
    return (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "from django.conf import settings\n"
        f"settings.DATABASES['default']['NAME'] = {name!r}\n{program}"
    )


def test_its_version_ignores_what_the_node_measures() -> None:
    row = Model.objects.get(name="chat")
    before = specs.of(row)
    row.measured_bytes = 123
    after = specs.of(row)
    assert (after.version, after.memory_bytes) == (before.version, 123)
    row.settings = {"max_concurrency": 2}
    assert specs.of(row).version != before.version


def test_it_takes_settings_into_the_spec() -> None:
    row = Model.objects.get(name="vectors")
    row.settings = {"priority": 2, "max_concurrency": 3, "options": {"speed": 2.5}}
    spec = specs.of(row)
    assert (spec.priority, spec.max_concurrency, spec.options) == (2, 3, {"speed": 2.5})


def test_it_registers_starters_by_what_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "HUB_MODELS", tmp_path)
    chat = starters.by_name("smollm2-135m-instruct")
    assert chat is not None
    chat.folder(tmp_path).mkdir()
    with chat.path(tmp_path).open("wb") as file:
        file.truncate(chat.size_bytes)
    waiting = starter_rows.ensure()
    assert [row.name for row in waiting] == ["smollm2-135m"]
    assert catalog.resolve_now("gpt-3.5-turbo").spec.path == str(chat.path(tmp_path))
    with pytest.raises(errors.LoadFailed, match="fetch_models"):
        catalog.resolve_now("text-embedding-3-small")


def test_it_leaves_an_alias_where_the_operator_pointed_it(tmp_path: Path) -> None:
    starter_rows.ensure()
    Alias.objects.filter(name="gpt-4").update(target=Model.objects.get(name="chat"))
    starter_rows.ensure()
    assert Alias.objects.get(name="gpt-4").target.name == "chat"
