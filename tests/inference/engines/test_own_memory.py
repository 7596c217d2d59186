"""Keys and values: what is let go of is back at once, and memory that ran out loses no row."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference.engines import own_memory
from inference.engines.kv_cache import FIRST_ROWS, KvPool, Layout, Stage

MB = 1024 * 1024
CPU = torch.device("cpu")


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_let_go_of_is_back_at_once(dtype: torch.dtype) -> None:
    own_memory.zeros((MB,), dtype, CPU).any()  # what the library takes at first is its own
    between: list[Tensor] = []
    before = resident()
    blocks = []
    for _ in range(16):
        blocks.append(own_memory.zeros((4, MB // dtype.itemsize), dtype, CPU))
        between.append(torch.ones(64 * 1024))  # small ones stay
    assert resident() - before >= 16 * 4 * MB
    assert all(block.shape[0] == 4 and not block.any() for block in blocks)
    blocks.clear()
    assert resident() - before < 12 * MB


def test_it_can_be_written_read_and_cut() -> None:
    whole = own_memory.zeros((2, 8, 1024, 64), torch.float32, CPU)
    whole[1, 3] = 7.0
    part = whole[1]
    del whole
    assert part[3].eq(7).all()
    assert not part[:3].any()


def test_more_than_there_is_is_a_want_of_memory() -> None:
    with pytest.raises(MemoryError, match="keys or values"):
        own_memory.zeros((2**46,), torch.float32, CPU)


class Short(Layout):
    """Has no memory for values while it is told so."""

    is_short = False

    def part(self, rows: int, tokens: int, dim: int) -> Tensor:
        if Short.is_short and dim == self.value_dim:
            raise MemoryError
        return Layout.part(self, rows, tokens, dim)


@pytest.mark.parametrize("there", [0, FIRST_ROWS])
def test_a_table_that_cannot_grow_stays_as_it_is(
    there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Short(2, 2, 4, 3, torch.float32, CPU)
    pool = KvPool(layout, [16])
    stage = Stage(layout, 5)
    stage.keys.fill_(1), stage.values.fill_(2)
    seats = [pool.seat(stage, 5) for _ in range(there)]
    held = pool.nbytes
    monkeypatch.setattr(Short, "is_short", True)
    with pytest.raises(MemoryError):
        pool.seat(stage, 5)
    assert pool.nbytes == held
    monkeypatch.setattr(Short, "is_short", False)
    for seat in [*seats, pool.seat(stage, 5)]:
        keys, values = seat.table.read(seat)
        assert keys[:, :, :5].eq(1).all()
        assert values[:, :, :5].eq(2).all()
