"""Files of every shape and writing become rows that can be trained on; hopeless ones are told so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.jobs import tiny_base
from training.datasets import validation
from training.datasets.report import Report

ROOT = Path(__file__).parents[3]
Q, A = "What is the capital?", "It is Lutz."
CHAT = {"messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]}
PAIR = {"prompt": Q, "chosen": A, "rejected": "I do not know."}


def read(folder: Path, data: bytes | str, name: str = "rows.jsonl", **options: Any) -> Report:
    file = folder / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    made = validation.Options(file=file, name=name, output=folder / "out", **options)
    return validation.run(made)


def kept(folder: Path, part: str = "train") -> list[dict[str, Any]]:
    file = folder / "out" / f"{part}.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("row", "shape", "made"),
    [
        (CHAT, "chat", CHAT),
        (
            {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
            "sharegpt",
            CHAT,
        ),
        ({"instruction": Q, "output": A}, "alpaca", CHAT),
        ({"instruction": Q, "input": "", "output": A}, "alpaca", CHAT),
        ({"prompt": Q, "completion": A}, "completion", {"prompt": Q, "completion": A}),
        ({"Question": Q, "Answer": A}, "completion", {"prompt": Q, "completion": A}),
        ({"text": A}, "text", {"text": A}),
        (PAIR, "preference", PAIR),
        (
            {
                "input": {"messages": CHAT["messages"][:1]},
                "preferred_output": CHAT["messages"][1:],
                "non_preferred_output": [{"role": "assistant", "content": "No."}],
            },
            "openai_preference",
            {
                "messages": CHAT["messages"][:1],
                "chosen": CHAT["messages"][1:],
                "rejected": [{"role": "assistant", "content": "No."}],
            },
        ),
        (
            {
                "chosen": CHAT["messages"],
                "rejected": [CHAT["messages"][0], {"role": "assistant", "content": "No."}],
            },
            "preference",
            {
                "messages": CHAT["messages"][:1],
                "chosen": CHAT["messages"][1:],
                "rejected": [{"role": "assistant", "content": "No."}],
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_shape_is_known(tmp_path: Path, row: Any, shape: str, made: Any) -> None:
    report = read(tmp_path, lines(row))
    assert (report.shape, report.kept, report.counts) == (shape, 1, {"too_few_rows": 1})
    assert kept(tmp_path) == [made]


def test_alpaca_joins_system_history_and_input(tmp_path: Path) -> None:
    row = {
        "system": "Be brief.",
        "history": [["Hello", "Hi"]],
        "instruction": "Translate",
        "input": "chat",
        "output": "cat",
    }
    read(tmp_path, lines(row))
    said = [(m["role"], m["content"]) for m in kept(tmp_path)[0]["messages"]]
    assert said == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "Translate\n\nchat"),
        ("assistant", "cat"),
    ]


def test_csv_with_semicolons_and_line_breaks(tmp_path: Path) -> None:
    data = '\ufeffprompt;completion\n"two\nlines";yes\nshort\nlast;"no; never"\n'
    report = read(tmp_path, data, "rows.csv")
    assert (report.writing, report.shape) == ("csv", "completion")
    assert [(f.line, f.code) for f in report.findings if f.line] == [(4, "bad_csv")]
    assert [row["completion"] for row in kept(tmp_path)] == ["yes", "no; never"]


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": [Q, "b"], "completion": [A, ""]}), tmp_path / "made.parquet")
    report = read(tmp_path, (tmp_path / "made.parquet").read_bytes(), "rows.parquet")
    assert (report.writing, report.kept) == ("parquet", 1)
    assert [(f.line, f.code) for f in report.findings if f.line] == [(2, "empty_completion")]


def test_a_cut_parquet_file_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "made.parquet")
    report = read(tmp_path, (tmp_path / "made.parquet").read_bytes()[:-9], "rows.parquet")
    assert "bad_parquet" in report.counts


def test_a_json_list_and_plain_text(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps([CHAT, CHAT]), "rows.json").counts["duplicate"] == 1
    report = read(tmp_path, "One\nparagraph.\n\n\nAnother.\n", "book.txt")
    assert (report.shape, report.kept) == ("text", 2)
    assert kept(tmp_path) == [{"text": "One\nparagraph."}, {"text": "Another."}]


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "a.jsonl", "empty_file"),
        (b" \n\n", "a.jsonl", "empty_file"),
        (b"\x7fELF\0\0", "a.jsonl", "not_utf8"),
        (b'{"colour": "red"}\n', "a.jsonl", "unknown_format"),
        (b"{broken\n", "a.jsonl", "bad_json"),
        (b"[" * 100_000, "a.json", "bad_json"),
        (b"{" + b'"a":' * 10, "a.jsonl", "bad_json"),
        (b'{"text": "' + b"x" * (5 * 2**20) + b'"}\n', "a.jsonl", "too_large_row"),
        (b"a,b\n1,2\n", "a.csv", "unknown_format"),
        (b"prompt,completion\n", "a.csv", "empty_file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hopeless_files_are_told_why(tmp_path: Path, data: bytes, name: str, code: str) -> None:
    report = read(tmp_path, data, name)
    assert (list(report.counts), report.kept, report.train) == ([code], 0, None)


def test_the_split_is_by_question_and_stays(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {at % 500}", "completion": f"{at}"} for at in range(1_000)]
    read(tmp_path, lines(*rows), held_out=0.1)
    held = {row["prompt"] for row in kept(tmp_path, "validation")}
    assert 25 < len(held) < 80
    assert not held & {row["prompt"] for row in kept(tmp_path)}
    read(tmp_path, lines(*rows[::-1], {"prompt": "new", "completion": "x"}), held_out=0.1)
    assert held <= {row["prompt"] for row in kept(tmp_path, "validation")} <= held | {"new"}


def test_validation_data_that_is_learned_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(lines(PAIR, {**PAIR, "prompt": "Another?"}))
    report = read(tmp_path, lines(PAIR), validation=other)
    assert report.counts["leakage"] == 1
    assert [row["prompt"] for row in kept(tmp_path, "validation")] == ["Another?"]


def test_a_file_of_validation_is_read_by_its_name(tmp_path: Path) -> None:
    """The store keeps it under an id, which has no suffix."""
    held = tmp_path / "file-5a3c"
    held.write_text(f"prompt,completion\nAnother?,{A}\n")
    told = {"validation": held, "validation_name": "held.csv"}
    read(tmp_path, f"prompt,completion\n{Q},{A}\n", "rows.csv", **told)
    assert kept(tmp_path, "validation") == [{"prompt": "Another?", "completion": A}]


def test_the_process_measures_with_a_base(tmp_path: Path) -> None:
    """As the worker starts it: rows that no answer is left of are found, lengths are counted."""
    base = tiny_base(tmp_path / "base")
    file = tmp_path / "rows.jsonl"
    long = {"messages": [{"role": "user", "content": "word " * 400}, CHAT["messages"][1]]}
    file.write_text(lines(CHAT, long))
    made = {
        "file": str(file),
        "name": file.name,
        "output": str(tmp_path / "out"),
        "base": str(base),
        "max_length": 256,
    }
    (tmp_path / "options.json").write_text(json.dumps(made))
    command = [sys.executable, "-m", "training.datasets", str(tmp_path / "options.json")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    report = msgspec.json.decode((tmp_path / "out" / "report.json").read_bytes(), type=Report)
    assert [(f.line, f.code) for f in report.findings if f.line] == [(2, "nothing_left")]
    assert report.lengths is not None
    assert report.lengths.longest > 256 > report.lengths.p50 > 5
    assert 0 < report.lengths.share < 1
    assert sum(count for _, count in report.lengths.histogram) == 2
