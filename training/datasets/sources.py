"""Reading a file row by row, whatever it is written in; a row that cannot be read is a defect of its line."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from training.datasets.findings import Defect, shown

Writing = Literal["jsonl", "json", "csv", "parquet", "text"]
Row = tuple[int, Any]  # line from 1, and a value or the Defect in its place

MAX_ROW_BYTES = 4 * 2**20
MAX_ARRAY_BYTES = 256 * 2**20  # one JSON array must be read whole
BLOCK_BYTES = 2**16
PARQUET_ROWS = 256
BOM = b"\xef\xbb\xbf"


def writing_of(file: Path, name: str) -> Writing:
    """Tell by its first bytes, then by its name. Raises: Defect."""
    with file.open("rb") as stream:
        head = stream.read(BLOCK_BYTES).removeprefix(BOM)
    if not head.strip():
        raise Defect("empty_file", "The file is empty.")
    if head[:4] == b"PAR1":
        return "parquet"
    if b"\0" in head:
        raise Defect("not_utf8", "The file is not text: it holds zero bytes.")
    begin, ending = head.lstrip()[:1], Path(name).suffix.lower()
    if begin == b"[" and ending != ".jsonl":
        return "json"
    if begin == b"{" or ending in {".jsonl", ".ndjson"}:
        return "jsonl"
    return "csv" if ending in {".csv", ".tsv"} else "text"


def rows(file: Path, writing: Writing) -> Iterator[Row]:
    """Give every row with its line. Raises: OSError."""
    return READERS[writing](file)


def _jsonl(file: Path) -> Iterator[Row]:
    with file.open("rb") as stream:
        for line, data in _lines(stream):
            if isinstance(data, Defect):
                yield line, data
            elif data.strip():
                yield line, _parsed(data)


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | Defect]]:
    """A line that is too long is passed over without being held."""
    line = 0
    while data := stream.readline(MAX_ROW_BYTES + 1):
        line += 1
        if len(data) > MAX_ROW_BYTES and not data.endswith(b"\n"):
            _pass_over(stream)
            yield line, Defect("too_large_row", f"The row has more than {MAX_ROW_BYTES:,} bytes.")
        else:
            yield line, data.removeprefix(BOM) if line == 1 else data


def _pass_over(stream: IO[bytes]) -> None:
    while (data := stream.readline(BLOCK_BYTES)) and not data.endswith(b"\n"):
        pass


def _parsed(data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return Defect("not_utf8", f"Byte {error.start} of the row is not UTF-8.")
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except Defect as defect:
        return defect
    except RecursionError:
        return Defect("bad_json", "The row is nested too deep.")
    except ValueError as error:
        at = len(text[: getattr(error, "pos", 0)].encode())
        what = getattr(error, "msg", str(error)).removesuffix(" at")
        return Defect("bad_json", f"No JSON from byte {at} on: {what}.")


def _refuse(name: str) -> Any:
    raise Defect("bad_json", f"{name} is not JSON.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Defect(
            "bad_json", f"The name {shown(twice)} comes twice in one object.", shown(twice)
        )
    return made


def _json(file: Path) -> Iterator[Row]:
    """A list of rows: its numbers take the place of lines."""
    if file.stat().st_size > MAX_ARRAY_BYTES:
        yield 0, Defect("too_large_row", "A JSON list this large is read as JSONL: a row a line.")
        return
    values = _parsed(file.read_bytes().removeprefix(BOM))
    if isinstance(values, Defect):
        yield 0, values
        return
    yield from enumerate(values, 1)


def _csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_BYTES)
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        dialect = _dialect(stream)
        reader = csv.reader(stream, dialect, strict=True)
        names = next(reader, [])
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Defect("bad_csv", f"The row cannot be read: {error}.")
                continue
            if cells:
                yield line, _cells(names, cells)


def _dialect(stream: IO[str]) -> type[csv.Dialect]:
    """Comma, semicolon or tab, whichever the first line has most of."""
    first = stream.readline()
    stream.seek(0)

    class Found(csv.excel):
        delimiter = max(",;\t", key=first.count)

    return Found


def _cells(names: list[str], cells: list[str]) -> Any:
    if len(cells) != len(names):
        return Defect(
            "bad_csv", f"The row has {len(cells)} cells, the first line {len(names)} names."
        )
    if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
        return Defect("not_utf8", "The row holds bytes that are not UTF-8.")
    return {name.strip(): cell for name, cell in zip(names, cells, strict=True)}


def _parquet(file: Path) -> Iterator[Row]:
    import pyarrow as pa  # noqa: PLC0415 (60 MB: only where a Parquet file comes)
    import pyarrow.parquet as pq  # noqa: PLC0415

    line = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(PARQUET_ROWS):
                for value in batch.to_pylist():
                    line += 1
                    yield line, value
    except (pa.ArrowException, OSError) as error:
        yield (
            line + 1,
            Defect("bad_parquet", f"The file cannot be read from here on: {shown(str(error))}"),
        )


def _text(file: Path) -> Iterator[Row]:
    """Paragraphs, apart by an empty line, are rows."""
    part: list[bytes] = []
    begin = size = 0
    with file.open("rb") as stream:
        for line, data in _lines(stream):
            if isinstance(data, Defect):
                yield line, data
                continue
            if data.strip():
                begin = begin if part else line
                part.append(data)
                size += len(data)
            if part and (not data.strip() or size > MAX_ROW_BYTES // 4):
                yield begin, _paragraph(part)
                part, size = [], 0
    if part:
        yield begin, _paragraph(part)


def _paragraph(part: list[bytes]) -> Any:
    try:
        return {"text": b"".join(part).decode().strip()}
    except UnicodeDecodeError:
        return Defect("not_utf8", "The paragraph holds bytes that are not UTF-8.")


READERS: dict[Writing, Callable[[Path], Iterator[Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "text": _text,
}
