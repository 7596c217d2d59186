"""The vendored front-end is what VERSIONS.txt says, byte for byte."""

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "static" / "vendor", ROOT / "tests" / "e2e" / "vendor"]


def lines(folder: Path) -> list[list[str]]:
    text = (folder / "VERSIONS.txt").read_text()
    return [line.split("  ") for line in text.splitlines()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_it_names_every_file_with_its_hash(folder: Path) -> None:
    for path, origin, licence, digest in lines(folder):
        found = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        assert digest == f"sha256:{found}", path
        assert "@" in origin[1:], path
        assert licence, path


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_it_holds_nothing_that_is_not_named(folder: Path) -> None:
    named = {path for path, *_rest in lines(folder)} | {"VERSIONS.txt"}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == named
