"""What is resident twice because a process maps a file twice is told."""

import mmap
from pathlib import Path

from inference.mapped import doubled_bytes

SIZE = 8 * 2**20


def mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as stream:
        found = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
    assert found.find(b"x") == SIZE - 1  # each page is read
    return found


def test_a_second_mapping_of_a_file_counts_as_double(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(SIZE - 1) + b"x")
    before = doubled_bytes()
    with mapped(file):
        assert doubled_bytes() == before
        with mapped(file):
            assert doubled_bytes() == before + SIZE
    assert doubled_bytes() == before


def test_a_process_that_has_ended_has_none() -> None:
    assert doubled_bytes(2**22 + 1) == 0
