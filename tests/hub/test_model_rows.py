"""The models table shows what matters first, and never more than a page of it."""

from typing import Any

import msgspec
import pytest
from django.http import QueryDict

from accounts import scopes
from accounts.principals import Principal
from hub.dashboard import rows
from hub.dashboard.catalog_table import PAGE_ROWS, Table, Wish
from inference import wire
from inference.models import Alias, Model

ADMIN = Principal(user_id=0, username="ada", role="admin", scopes=frozenset(scopes.SCOPES))


def make(*names: str, **fields: Any) -> list[Model]:
    return Model.objects.bulk_create(
        Model(name=name, kind="llm", engine="fake", path="/x", **fields) for name in names
    )


def ready(name: str) -> wire.Snapshot:
    status = wire.ModelStatus(name=name, version="", state="ready", kind="llm", engine="fake")
    return wire.Snapshot(at=0.0, models=[status])


def table(query: str, snapshot: wire.Snapshot | None = None) -> Table:
    return Table(snapshot, Wish.of(QueryDict(query)), ADMIN)


@pytest.mark.django_db
def test_it_shows_one_page_with_what_is_in_use_on_it() -> None:
    make(*(f"model-{number:04}" for number in range(rows.SHOWN + 50)))
    make("zz-failed", state=Model.State.FAILED, state_reason="torn")
    shown = rows.listing(ready("model-0240"), ADMIN)
    assert len(shown) == rows.SHOWN
    states = {row.name: row.state.key for row in shown}
    assert states["model-0240"] == "ready"
    assert states["zz-failed"] == "failed"


@pytest.mark.django_db
def test_a_variant_shows_its_own_figures() -> None:
    settings = {"options": {"quantization": "int8"}, "context_tokens": 512}
    make("base", quantization="BF16", context_tokens=8192)
    make("small", quantization="BF16", context_tokens=8192, settings=settings)
    found = {row.name: (row.about, row.context_tokens) for row in rows.listing(None, ADMIN)}
    assert found == {"base": ("fake · BF16", 8192), "small": ("fake · int8", 512)}


@pytest.mark.django_db
def test_the_catalog_finds_models_by_alias_once() -> None:
    target, _other = make("llama", "whisper")
    for name in ("gpt-4", "gpt-4o"):
        Alias.objects.create(name=name, target=target)
    (found,) = table("q=gpt-4").rows
    assert found.name == "llama"
    assert found.aliases == ("gpt-4", "gpt-4o")


@pytest.mark.django_db
def test_the_catalog_shows_every_model_page_by_page() -> None:
    make(*(f"model-{number:04}" for number in range(2 * PAGE_ROWS + 1)))
    seen = [row.name for page in (1, 2, 3) for row in table(f"page={page}").rows]
    assert len(seen) == len(set(seen)) == 2 * PAGE_ROWS + 1
    last = table("page=99")
    assert (last.page, last.first, last.last, last.after) == (3, 101, 101, "")
    assert last.before == "?page=2"


@pytest.mark.django_db
def test_the_catalog_filters_by_what_the_node_says_too() -> None:
    make("one", "two", "three")
    make("torn", state=Model.State.FAILED, state_reason="torn")
    make("coming", state=Model.State.DOWNLOADING)
    found = table("", ready("two"))
    assert {choice.value: choice.count for choice in found.groups} == {
        "": 5, "loaded": 1, "loading": 0, "cold": 2, "arriving": 1, "failed": 1,
    }  # fmt: skip
    assert [row.name for row in table("state=loaded", ready("two")).rows] == ["two"]
    assert [row.name for row in table("state=failed", ready("two")).rows] == ["torn"]
    assert [row.name for row in table("kind=llm&engine=nothing").rows] == []


@pytest.mark.django_db
def test_the_catalog_sorts_all_models_and_not_one_page() -> None:
    for number in range(PAGE_ROWS + 1):
        make(f"model-{number:04}", size_bytes=str(number))
    assert table("sort=-size").rows[0].name == f"model-{PAGE_ROWS:04}"
    heads = {head.title: head for head in table("sort=-size").heads}
    assert (heads["Size"].order, heads["Model"].order) == ("descending", "none")
    assert heads["Size"].address == "?sort=size"


def test_the_catalog_reads_no_nonsense_from_an_address() -> None:
    wish = Wish.of(QueryDict("sort=password&state=x&page=-1&kind=" + "y" * 99))
    assert (wish.sort, wish.state, wish.page, len(wish.kind)) == ("", "", 1, 32)


@pytest.mark.parametrize(
    ("fields", "acts"),
    [
        ({"state": "failed", "source": "huggingface"}, {"can_retry", "can_remove"}),
        ({"state": "cancelled", "source": "local"}, {"can_retry", "can_remove"}),
        ({"state": "failed", "source": "starter"}, {"can_retry"}),
        ({"state": "downloading", "source": "huggingface"}, {"can_cancel"}),
        ({"state": "available", "source": "local"}, {"can_load", "can_remove"}),
        ({"state": "available", "source": "starter"}, {"can_load"}),
    ],
)
@pytest.mark.django_db
def test_it_offers_what_can_be_done(fields: dict[str, str], acts: set[str]) -> None:
    make("one", **fields)
    row = table("").rows[0]
    every = {"can_load", "can_unload", "can_retry", "can_cancel", "can_remove"}
    assert {act for act in every if getattr(row, act)} == acts


@pytest.mark.django_db
def test_an_attached_adapter_is_as_ready_as_its_base_with_counts_of_its_own() -> None:
    (base,) = make("base")
    make("tuned", base=base, report={"kind": "adapter", "attached": True})
    make("merged", base=base, report={"kind": "adapter"})
    asked = wire.AdapterStatus(name="tuned", requests_total=3)
    status = ready("base").models[0]
    status = msgspec.structs.replace(status, adapters=[asked], memory_bytes=9, requests_total=5)
    snapshot = wire.Snapshot(at=0.0, models=[status])
    shown = {row.name: row for row in rows.listing(snapshot, ADMIN)}
    found = {row.name: row for row in table("", snapshot).rows}
    for name, state, requests, memory in (
        ("base", "ready", 5, 9),
        ("tuned", "ready", 3, 0),
        ("merged", "cold", 0, 0),
    ):
        for row in (shown[name], found[name]):
            assert (row.state.key, row.requests_total, row.memory_bytes) == (
                state,
                requests,
                memory,
            )
    assert [shown[name].can_pin for name in ("base", "tuned", "merged")] == [True, False, True]
    assert [shown[name].can_unload for name in ("base", "tuned")] == [True, False]
    assert {row.name for row in table("state=loaded", snapshot).rows} == {"base", "tuned"}
