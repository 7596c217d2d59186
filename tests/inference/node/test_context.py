"""How much context is planned: in full what was asked for, else a share that leaves others room."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.node import context, memory
from inference.node.devices import Device
from inference.node.eviction import Impossible, Limits, Target, plan
from inference.node.headers import Shape, read
from inference.node.peaks import Peaks
from inference.node.placement import Placement
from tests.inference.node.test_memory import CONFIG, folder, spec

GB = 10**9
TOKEN = 23_040  # bytes of keys and values in 16 bits: SmolLM2-135M


def placed(place: Path, limit_bytes: int, **values: object) -> Placement:
    device = Device("cpu", "", limit_bytes, limit_bytes, limit_bytes)
    values = {"dtype": "bfloat16"} | values
    (found,) = memory.placements(spec(place, **values), [device], Peaks(place / "peaks.json"))
    return found


def long(place: Path, tokens: int = 131_072) -> Path:
    return folder(place, CONFIG | {"max_position_embeddings": tokens})


def test_what_nobody_asked_for_leaves_others_room(tmp_path: Path) -> None:
    found = placed(long(tmp_path), 8 * GB)
    assert found.kv_bytes == GB
    assert found.context_tokens == GB // TOKEN // context.COPIES
    assert found.claim["cpu"] < 2 * GB


def test_a_small_share_still_holds_one_request_with_its_copy(tmp_path: Path) -> None:
    found = placed(long(tmp_path), 700_000_000)
    assert found.kv_bytes == 2 * context.KV_REQUEST_TOKENS * TOKEN
    assert found.context_tokens == context.KV_REQUEST_TOKENS


def test_a_context_that_fits_into_the_share_is_planned_in_full(tmp_path: Path) -> None:
    found = placed(folder(tmp_path), 8 * GB)
    assert (found.context_tokens, found.kv_bytes) == (8_192, 2 * 8_192 * TOKEN)


def test_what_was_asked_for_is_planned_in_full(tmp_path: Path) -> None:
    asked = {"context_tokens": 65_536, "whole_context": True}
    found = placed(long(tmp_path), 8 * GB, **asked)
    assert (found.context_tokens, found.kv_bytes) == (65_536, 2 * 65_536 * TOKEN)
    assert found.kv_min_bytes == found.kv_bytes


def test_what_was_asked_for_and_does_not_fit_is_refused_with_figures(tmp_path: Path) -> None:
    found = placed(long(tmp_path), 2 * GB, context_tokens=65_536, whole_context=True)
    target, limits = Target("m", [found]), Limits({"cpu": 2 * GB})
    verdict = plan(target, [], {"cpu": 2 * GB}, 0.0, limits)
    assert isinstance(verdict, Impossible)
    assert "on cpu; 2.00 GB are free, and the limit is 2.00 GB" in verdict.reason
    assert "for the 65536 tokens of context that are set take 3.02 GB of it" in verdict.reason


def test_several_models_fit_where_one_took_all(tmp_path: Path) -> None:
    """Source of the sizes: SmolLM2-135M, on a hub that may use 1.6 GB."""
    shape = Shape(269_000_000, TOKEN, 8_192, 0, "llama", 49_152, 2_112, 134_500_000, 269_000_000)
    one = memory.need(spec(dtype="float32"), shape, cuda=False, limit_bytes=16 * GB // 10)
    assert one.bytes < 1.4 * GB
    assert one.context.held(one.kv_bytes) >= context.KV_REQUEST_TOKENS


def test_it_shrinks_further_where_weights_leave_less_than_the_share(tmp_path: Path) -> None:
    roomy = placed(long(tmp_path), 8 * GB)
    tables = memory.TABLES_SHARE * roomy.kv_bytes
    tight = placed(long(tmp_path), int(roomy.claim["cpu"] - roomy.kv_bytes - tables) + 130_000_000)
    assert tight.claim["cpu"] == pytest.approx(tight.allowance_bytes)
    assert tight.kv_min_bytes <= tight.kv_bytes < roomy.kv_bytes
    assert context.KV_REQUEST_TOKENS <= tight.context_tokens < roomy.context_tokens


def test_pinned_models_take_of_the_context_too(tmp_path: Path) -> None:
    found = placed(long(tmp_path), 8 * GB)
    less = found.with_less(found.kv_bytes // 2)
    assert less.context_tokens == found.context_tokens // 2


def test_adapters_have_their_room_beside_the_context(tmp_path: Path) -> None:
    plain, adapted = (placed(folder(tmp_path), 8 * GB, adapters_bytes=n) for n in (0, 10**8))
    assert adapted.kv_bytes == plain.kv_bytes + 10**8
    assert adapted.context_tokens == plain.context_tokens


@pytest.mark.parametrize("engine", ["embed_text", "asr_whisper", "remote_openai", "fake"])
def test_what_keeps_no_keys_and_values_has_no_planned_context(engine: str) -> None:
    model = wire.ModelSpec(name="m", kind="embed", engine=engine, path="")
    assert context.plan(model, 512, 0, GB).held(0) == 0


def test_a_gguf_model_gets_the_cells_that_llama_cpp_keeps_free() -> None:
    asked = wire.ModelSpec(
        name="m",
        kind="llm",
        engine="llm_gguf",
        path="",
        context_tokens=8_192,
        whole_context=True,
        max_concurrency=1,
    )
    found = context.plan(asked, 8_192, TOKEN, GB)
    assert found.kv_bytes == (8_192 + context.GRAIN_TOKENS) * TOKEN
    assert found.held(found.kv_bytes) == 8_192


@given(
    own=st.integers(0, 2**24),
    asked=st.integers(0, 2**20),
    limit=st.integers(10**8, 10**12),
    over=st.integers(1, 8),
    engine=st.sampled_from(["llm_transformers", "llm_gguf", "llm_vllm"]),
    whole=st.booleans(),
)
def test_a_plan_holds_what_it_says(
    own: int, asked: int, limit: int, over: int, engine: str, whole: bool
) -> None:
    shape = Shape(10**6, TOKEN, own)
    model = spec(engine=engine, context_tokens=asked, whole_context=whole and asked > 0)
    found = memory.need(model, shape, cuda=True, over=over, limit_bytes=limit)
    tokens = found.context.held(found.kv_bytes * over)
    most = min(asked or own or context.USUAL_CONTEXT_TOKENS, own or context.USUAL_CONTEXT_TOKENS)
    assert found.kv_min_bytes <= found.kv_bytes
    assert min(most, context.KV_REQUEST_TOKENS) <= tokens <= most
    if model.whole_context:
        assert tokens == most
    elif engine != "llm_vllm":
        share = limit * over * context.DEVICE_SHARE
        assert found.kv_bytes * over <= max(share, found.kv_min_bytes * over) + over


def test_a_small_part_of_a_gpu_is_no_more_than_the_whole() -> None:
    model = spec(engine="llm_vllm", context_tokens=131_072, whole_context=True)
    alone = memory.need(model, Shape(10**6, TOKEN, 131_072), cuda=True, limit_bytes=GB)
    shared = memory.need(model, Shape(10**6, TOKEN, 131_072), cuda=True, over=3, limit_bytes=GB)
    assert shared.context.held(shared.kv_bytes * 3) == alone.context.held(alone.kv_bytes) == 131_072


def test_the_least_machine_for_a_long_context_is_that_for_one_short_request(tmp_path: Path) -> None:
    far = spec(long(tmp_path, 2**24))
    least = memory.need(far, read(str(tmp_path)), cuda=False, limit_bytes=1)
    short = spec(tmp_path, context_tokens=context.KV_REQUEST_TOKENS, max_concurrency=1)
    fits = memory.need(short, read(str(tmp_path)), cuda=False)
    assert least.kv_bytes == least.kv_min_bytes
    assert least.bytes <= fits.bytes
