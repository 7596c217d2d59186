"""Rows never mix, however sequences come, grow and go; memory never passes its limit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engines.decoder import Decode, DecodeIndex
from inference.engines.kv_cache import KvPool, Layout, NoRoom, Seat, Stage, capacities
from inference.engines.kv_memory import KvMemory
from inference.engines.prefix_cache import MIN_TOKENS, PrefixCache

LAYOUT = Layout(2, 2, 4, 3, torch.float32, torch.device("cpu"))
SIZES = [4, 8, 16]


def stage_of(tokens: int, mark: float) -> Stage:
    """A prompt whose values tell whose they are."""
    stage = Stage(LAYOUT, tokens)
    stage.keys.fill_(mark)
    stage.values.fill_(mark)
    return stage


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 15)), max_size=40))
def test_it_keeps_every_sequence_in_its_own_row(acts: list[tuple[int, int]]) -> None:
    pool = KvPool(LAYOUT, SIZES)
    owners: list[tuple[float, Seat]] = []
    for at, (act, size) in enumerate(acts):
        mark = float(at + 1)
        if act <= 1:
            owners.append((mark, pool.seat(stage_of(size, mark), size)))
        elif owners and act == 2:
            pool.free(owners.pop(size % len(owners))[1])
        elif owners:
            mark, seat = owners[size % len(owners)]
            if seat.length < SIZES[-1]:
                pool.make_room(seat)
                keys, values = seat.table.read(seat)
                keys[:, :, seat.length], values[:, :, seat.length] = mark, mark
                seat.length += 1
        for own, seat in owners:
            keys, values = seat.table.read(seat)
            assert seat.table.seats[seat.row] is seat
            assert (keys[:, :, : seat.length] == own).all()
            assert (values[:, :, : seat.length] == own).all()
    for _, seat in owners:
        pool.free(seat)
    assert pool.nbytes == 0


def test_a_step_writes_behind_each_row_and_hides_what_is_behind_that() -> None:
    pool = KvPool(LAYOUT, SIZES)
    seats = [pool.seat(stage_of(size, size), size) for size in (3, 1, 2)]
    table = seats[0].table
    index = DecodeIndex(Decode(table, [0, 0, 0], [seat.length for seat in seats]))
    index.write(1, torch.full((3, 2, 4), 9.0), torch.full((3, 2, 3), 9.0))
    for seat, size in zip(seats, (3, 1, 2), strict=True):
        keys, _ = table.read(seat)
        assert (keys[1, :, :size] == size).all()
        assert (keys[1, :, size] == 9).all()
        assert (index.mask[seat.row, 0, 0] == 0).tolist() == [at <= size for at in range(4)]


def test_it_never_passes_its_limit() -> None:
    pool = KvPool(LAYOUT, SIZES, limit_bytes=4 * 4 * LAYOUT.token_bytes)
    memory = KvMemory(pool, PrefixCache(10**9))
    seats = [memory.seat(stage_of(3, 1), 3) for _ in range(4)]
    with pytest.raises(NoRoom):
        memory.seat(stage_of(3, 1), 3)
    seats[0].length = 4
    with pytest.raises(NoRoom):
        memory.extend(seats[0])
    assert memory.nbytes <= pool.limit_bytes


def test_a_sequence_of_the_whole_context_fits_into_twice_its_size() -> None:
    """What the node plans at least: the prompt while it is computed, and its row."""
    context = SIZES[-1]
    pool = KvPool(LAYOUT, SIZES, limit_bytes=2 * context * LAYOUT.token_bytes)
    memory = KvMemory(pool, PrefixCache(10**9))
    for first in range(1, context - 1):
        stage, _ = memory.start(list(range(first)), reuse=False)
        seat = memory.seat(stage, first)
        memory.release(stage)
        for length in range(first, context):
            seat.length = length
            memory.extend(seat)
        memory.free(seat)
        assert memory.nbytes == 0


def test_kept_prefixes_give_way_to_running_sequences() -> None:
    pool = KvPool(LAYOUT, [32], limit_bytes=5 * 32 * LAYOUT.token_bytes)
    prefixes = PrefixCache(10**9)
    memory = KvMemory(pool, prefixes)
    for first in range(5):
        tokens = [first * 100 + at for at in range(32)]
        memory.keep_prompt(tokens, stage_of(32, 1))
    seat = memory.seat(stage_of(20, 2), 20)
    assert seat.length == 20
    assert memory.nbytes <= pool.limit_bytes
    assert prefixes.find([400 + at for at in range(32)])[1] == 32
    assert prefixes.find(list(range(32)))[1] == 0


def test_it_finds_the_longest_common_prefix() -> None:
    cache = PrefixCache(10**9)
    base = list(range(100, 140))
    cache.keep(base, stage_of(40, 1))
    cache.keep([*base[:30], *range(10)], stage_of(40, 2))
    stage, shared = cache.find([*base[:35], 1, 2, 3])
    assert shared == 35
    assert stage is not None
    assert float(stage.keys[0, 0, 0, 0, 0]) == 1
    assert cache.find(list(range(MIN_TOKENS * 2)))[1] == 0


def test_a_longer_turn_replaces_the_shorter_one() -> None:
    cache = PrefixCache(10**9)
    tokens = list(range(60))
    cache.keep(tokens[:30], stage_of(30, 1))
    cache.keep(tokens, stage_of(60, 2))
    assert cache.nbytes == 60 * LAYOUT.token_bytes
    cache.keep(tokens[:40], stage_of(40, 3))
    assert cache.nbytes == 60 * LAYOUT.token_bytes


@given(st.lists(st.integers(MIN_TOKENS, 60), max_size=20))
def test_kept_prefixes_stay_within_their_limit(sizes: list[int]) -> None:
    cache = PrefixCache(100 * LAYOUT.token_bytes)
    for at, size in enumerate(sizes):
        cache.keep([at * 1000 + token for token in range(size)], stage_of(size, at))
        assert cache.nbytes <= cache.limit_bytes
    if sizes:
        last = [(len(sizes) - 1) * 1000 + token for token in range(sizes[-1])]
        assert cache.find(last)[1] == sizes[-1]


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(2, 4))
def test_tables_reach_the_context_limit(context: int, first: int, factor: int) -> None:
    sizes = capacities(context, first, factor)
    assert sizes[-1] == context
    assert sizes == sorted(set(sizes))
