"""Archives of strangers: what no honest one holds is refused before a byte is decoded."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from inference import safe_extract
from inference.safe_extract import Hostile, Limits

GOOD = {"pkg/model.bin": b"weights" * 1000, "pkg/readme.txt": b"hello"}
SMALL = Limits(file_bytes=10_000, total_bytes=20_000, files=5)


def write(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def add(info: zipfile.ZipInfo, content: bytes = b"x") -> Callable[[Path], None]:
    """Give a change that puts one more member into an archive."""

    def change(file: Path) -> None:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(info, content)

    return change


def named(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.external_attr = mode << 16
    return info


def packed(method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("pkg/odd")
    info.compress_type = method
    return info


def replace(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new))

    return change


def encrypt(file: Path) -> None:
    """Set the flag in each header of the directory."""
    content = bytearray(file.read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 8] |= 1
    file.write_bytes(content)


def lie_about_the_size(file: Path) -> None:
    """Let the directory tell ten decoded bytes where there are seven thousand."""
    size = struct.pack("<L", len(GOOD["pkg/model.bin"]))
    replace(size, struct.pack("<L", 10))(file)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def spoil(file: Path) -> None:
    file.write_bytes(b"x" * 99)


def read(file: Path, member: str = "pkg/model.bin", limits: Limits = SMALL) -> bytes:
    return b"".join(safe_extract.read(file, member, limits))


def test_it_reads_one_file_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "a.whl", {"pkg/": b"", **GOOD})
    assert read(file) == GOOD["pkg/model.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "parent": (add(named("../../etc/cron.d/x")), "leads elsewhere"),
    "parent inside": (add(named("pkg/../../x")), "leads elsewhere"),
    "absolute": (add(named("/etc/passwd")), "leads elsewhere"),
    "drive": (add(named("C:/x")), "leads elsewhere"),
    "backslash": (add(named("pkg\\..\\x")), "leads elsewhere"),
    "doubled slash": (add(named("pkg//x")), "leads elsewhere"),
    "no name": (add(named("")), "leads elsewhere"),
    "null": (replace(b"pkg/readme.txt", b"pkg/readme\0txt"), "leads elsewhere"),
    "symbolic link": (add(named("pkg/l", stat.S_IFLNK | 0o777), b"/etc"), "a link"),
    "device": (add(named("pkg/d", stat.S_IFCHR | 0o666)), "a link or a device"),
    "pipe": (add(named("pkg/p", stat.S_IFIFO | 0o666)), "a link or a device"),
    "duplicate": (replace(b"pkg/readme.txt", b"pkg/model2.txt"), "twice"),
    "too much in all": (add(named("pkg/big"), bytes(14_000)), "more than 20000 bytes"),
    "encrypted": (encrypt, "packed in a way"),
    "another packing": (add(packed(zipfile.ZIP_LZMA)), "packed in a way"),
    "a wrong size": (lie_about_the_size, ""),
    "cut off": (cut, ""),
    "no archive": (spoil, ""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused(kind: str, tmp_path: Path) -> None:
    change, said = HOSTILE[kind]
    members = {**GOOD, "pkg/model2.txt": b"2"} if kind == "duplicate" else GOOD
    file = write(tmp_path / "a.whl", members)
    change(file)
    with pytest.raises(Hostile, match=said or None):
        read(file)


def test_what_decodes_to_too_much_is_refused_by_its_directory(tmp_path: Path) -> None:
    bomb = write(tmp_path / "a.whl", {"bomb": bytes(50 * 2**20)})
    assert bomb.stat().st_size < 2**17
    limits = Limits(file_bytes=2**20)
    with pytest.raises(Hostile, match="bomb is larger"):
        next(safe_extract.read(bomb, "bomb", limits))
    with pytest.raises(Hostile, match="more than 1048576 bytes"):
        next(safe_extract.read(bomb, "bomb", Limits(file_bytes=2**30, total_bytes=2**20)))


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.whl", {f"f{number}": b"" for number in range(6)})
    with pytest.raises(Hostile, match="more than 5 files"):
        read(file, "f0")


def test_a_tar_is_no_zip(tmp_path: Path) -> None:
    import tarfile  # noqa: PLC0415 (this test alone makes one)

    file = tmp_path / "a.whl"
    with tarfile.open(file, "w") as archive:
        info = tarfile.TarInfo("../x")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(Hostile):
        read(file)


@pytest.mark.parametrize("member", ["pkg/none", "pkg/", "../a.whl"])
def test_what_is_not_there_is_said(member: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.whl", {"pkg/": b"", **GOOD})
    with pytest.raises(Hostile, match="no file"):
        read(file, member)
