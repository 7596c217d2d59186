"""A search in a model hub: by its protocol, over a real server; sizes become verdicts."""

from collections.abc import Iterator

import pytest

from hub.dashboard import fits
from inference import hub_search, wire
from inference.downloads import DownloadFailed
from inference.hub_protocol import Hub
from inference.node import memory
from tests.inference import hub_server
from tests.inference.hub_server import Behaviour

ABOUT: dict[str, dict[str, object]] = {
    "org/tiny-llama": {
        "downloads": 12_345,
        "likes": 7,
        "tags": ["llama", "license:apache-2.0", 5],
        "pipeline_tag": "text-generation",
        "safetensors": {"parameters": {"BF16": 1_000_000}, "total": 1_000_000},
        "gated": False,
    },
    "org/giant-llama": {
        "safetensors": {"parameters": {"BF16": 70 * 10**9}, "total": 70 * 10**9},
        "gated": "manual",
    },
    "org/middle-llama": {
        "safetensors": {"parameters": {"F16": 10**10, "I64": -5}, "total": 10**10},
        "tags": ["llama", ["x"]],
        "gguf": None,
    },
    "org/llama-gguf": {"gguf": {"total": 8 * 10**9, "architecture": "llama"}, "likes": -3},
}
DEVICE = wire.DeviceInfo(
    name="cpu", label="", total_bytes=2**35, limit_bytes=16 * 10**9, used_bytes=0
)
STATE = wire.Snapshot(at=0.0, devices=[DEVICE])


@pytest.fixture
def server() -> Iterator[Behaviour]:
    models: dict[str, dict[str, bytes]] = {name: {} for name in ABOUT}
    with hub_server.serving(Behaviour(models, about=ABOUT)) as started:
        yield started


def hub(server: Behaviour, token: str = "") -> Hub:
    return Hub(server.url, token, private_allowed=False)


def test_it_tells_what_the_hub_knows(server: Behaviour) -> None:
    hits = {hit.model_id: hit for hit in hub_search.search(hub(server), "LLAMA", STATE)}
    assert hits.keys() == ABOUT.keys()
    tiny = hits["org/tiny-llama"]
    assert (tiny.downloads, tiny.likes, tiny.licence) == (12_345, 7, "apache-2.0")
    assert (tiny.task, tiny.parameters, tiny.size_bytes) == (
        "text-generation", 1_000_000, 2_000_000,
    )  # fmt: skip
    gguf = hits["org/llama-gguf"]
    assert (gguf.parameters, gguf.size_bytes, gguf.fit, gguf.likes) == (8 * 10**9, 0, None, 0)
    assert hits["org/giant-llama"].is_gated
    (asked,) = server.searches
    assert (asked["search"], asked["limit"], asked["sort"]) == (["LLAMA"], ["20"], ["downloads"])


@pytest.mark.parametrize("has_bf16", [True, False])
def test_by_its_size_it_says_whether_it_could_fit(
    server: Behaviour, has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "computes_bf16", lambda: has_bf16)  # whatever processor this is
    hits = {hit.model_id: hit.fit for hit in hub_search.search(hub(server), "llama", STATE)}
    small, giant, middle = (hits[f"org/{n}-llama"] for n in ("tiny", "giant", "middle"))
    assert small
    assert giant
    assert middle
    assert (small["verdict"], giant["verdict"]) == ("fits", "does_not_fit")
    assert {one["verdict"] for one in giant["smaller"]} == {"does_not_fit"}
    assert middle["verdict"] == "does_not_fit"
    assert [one["verdict"] for one in middle["smaller"]] == ["fits", "fits"]
    assert fits.words(middle) == "fits in 8 bits"
    assert [fits.tone(one) for one in (small, middle, giant, None)] == ["good", "warn", "bad", ""]


def test_it_shows_its_token_to_the_hub(server: Behaviour) -> None:
    server.token = "hf_secret"
    with pytest.raises(DownloadFailed, match="401"):
        hub_search.search(hub(server), "llama", STATE)
    assert hub_search.search(hub(server, "hf_secret"), "llama", STATE)


def test_a_hub_that_cannot_be_searched_says_so(server: Behaviour) -> None:
    server.no_search = True
    with pytest.raises(DownloadFailed, match="cannot be searched: it answers 501"):
        hub_search.search(hub(server), "llama", STATE)
    with pytest.raises(DownloadFailed, match="does not answer"):
        hub_search.search(Hub("http://127.0.0.1:9", "", private_allowed=False), "llama", STATE)
