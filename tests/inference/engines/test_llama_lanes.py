"""The lay-out of a GGUF model's KV cache."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engines.llama_lanes import LONG_SLOTS, plan
from inference.errors import OutOfMemory


def test_everyone_gets_the_whole_context_where_it_fits() -> None:
    (lane,) = plan(2_048, running=16, fits_tokens=93_000, gpu=False)
    assert (lane.room_tokens, lane.running, lane.shared) == (2_048, 16, False)


def test_short_requests_run_beside_one_shared_cache_for_long_ones() -> None:
    short, long = plan(8_192, running=32, fits_tokens=93_000, gpu=False)
    assert (short.room_tokens, short.running, short.shared) == (1_023, 32, False)
    assert (long.room_tokens, long.shared) == (8_192, True)


def test_the_context_comes_before_the_slots() -> None:
    short, long = plan(8_192, running=32, fits_tokens=12_000, gpu=False)
    assert (short.room_tokens, short.running, long.room_tokens) == (255, 13, 8_192)
    (one,) = plan(8_192, running=32, fits_tokens=9_000, gpu=False)
    assert (one.room_tokens, one.running, one.shared) == (8_192, 32, True)


def test_a_gpu_shares_one_cache() -> None:
    (lane,) = plan(8_192, running=32, fits_tokens=93_000, gpu=True)
    assert (lane.kv_tokens, lane.shared) == (16_384, True)


@pytest.mark.parametrize(("fits", "room", "running"), [(93_000, 8_192, 10), (9_000, 8_744, 1)])
def test_a_model_that_sees_has_whole_contexts(fits: int, room: int, running: int) -> None:
    (lane,) = plan(9_000 if running == 1 else 8_192, 32, fits, gpu=True, sees=True)
    assert (lane.room_tokens, lane.running, lane.shared) == (room, running, False)
    assert lane.allocated_tokens <= fits


def test_it_refuses_where_nothing_fits() -> None:
    with pytest.raises(OutOfMemory):
        plan(8_192, running=32, fits_tokens=300, gpu=False)


@given(
    st.integers(256, 131_072),
    st.integers(1, 256),
    st.integers(512, 2_000_000),
    st.booleans(),
    st.booleans(),
)
def test_it_never_takes_more_than_fits(
    context: int, running: int, fits: int, gpu: bool, sees: bool
) -> None:
    lanes = plan(context, running, fits, gpu, sees=sees)
    assert sum(lane.allocated_tokens for lane in lanes) <= fits + 256
    assert 1 <= lanes[-1].room_tokens <= context
    for lane in lanes:
        assert lane.room_tokens <= lane.kv_tokens
        assert 1 <= lane.running <= max(running, LONG_SLOTS)
    assert [lane.room_tokens for lane in lanes] == sorted(lane.room_tokens for lane in lanes)
