"""Forty defects in one file of good rows: each is found, on its line, with its place, and nothing else is."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.datasets import validation
from training.datasets.findings import CODES
from training.datasets.report import Report

GOOD = 400


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages)} | more


def user(content: Any = "What is the capital of Zubrowka?", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content} | more


def assistant(content: Any = "It is Lutz.", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | more


def call(**changes: Any) -> dict[str, Any]:
    function = {"name": "look", "arguments": '{"at": 1}'} | changes
    return {"id": "c1", "type": "function", "function": function}


def calls(*made: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(made)}


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "fog"}

# What stands in the line, as text or as a row: the code that must be found, and where in the row.
SEEDED: list[tuple[str | bytes | dict[str, Any] | list[Any], str, str]] = [
    ('{"messages": [', "bad_json", ""),
    ('{"messages": []} x', "bad_json", ""),
    ('{"messages": [], "n": NaN}', "bad_json", ""),
    ('{"messages": [], "messages": []}', "bad_json", "messages"),
    (b'{"messages": "\xff\xfe"}', "not_utf8", ""),
    ([user(), assistant()], "not_an_object", ""),
    ({"message": [user(), assistant()]}, "missing_field", "messages"),
    ({"prompt": "a", "completion": "b"}, "mixed_format", "messages"),
    ({"messages": "hello"}, "wrong_type", "messages"),
    (chat(), "no_messages", "messages"),
    ({"messages": ["hello", assistant()]}, "wrong_type", "messages[0]"),
    (chat(user(role="human"), assistant()), "unknown_role", "messages[0].role"),
    (chat({"content": "hi"}, assistant()), "unknown_role", "messages[0].role"),
    (chat(user("q1", mood="good"), assistant()), "unknown_field", "messages[0].mood"),
    (chat(user("q2"), assistant(), note=1), "unknown_field", "note"),
    (chat(user("q3")), "no_assistant", "messages"),
    (chat(user("q4"), assistant(), user("and?")), "ends_without_assistant", "messages[2]"),
    (chat(assistant("I speak first.")), "no_user", "messages"),
    (chat(user("q5"), user("q6"), assistant()), "repeated_role", "messages[1].role"),
    (
        chat(user("q7"), {"role": "system", "content": "Be brief."}, assistant()),
        "late_system",
        "messages[1]",
    ),
    (chat(user(""), assistant()), "empty_content", "messages[0].content"),
    (chat(user("q8"), assistant("  ")), "empty_content", "messages[1].content"),
    (chat(user("q9"), {"role": "assistant"}), "empty_content", "messages[1].content"),
    (chat(user(7), assistant()), "wrong_type", "messages[0].content"),
    (
        chat(user([{"type": "image_url", "image_url": {"url": "x"}}]), assistant()),
        "image_content",
        "messages[0].content[0]",
    ),
    (chat(user("q10"), assistant(weight=0.5)), "bad_weight", "messages[1].weight"),
    (chat(user("q11", weight=1), assistant()), "bad_weight", "messages[0].weight"),
    (chat(user("q12"), assistant(weight=0)), "nothing_learned", "messages"),
    (chat(user("q13"), calls({"id": "c1"})), "bad_tool_call", "messages[1].tool_calls[0]"),
    (
        chat(user("q14"), calls(call(arguments="at 1"))),
        "bad_tool_call",
        "messages[1].tool_calls[0].function.arguments",
    ),
    (
        chat(user("q15"), calls(call(name="fly")), tools=[TOOL]),
        "unknown_tool",
        "messages[1].tool_calls[0]",
    ),
    (chat(user("q16"), RESULT, assistant()), "orphan_tool_result", "messages[1].tool_call_id"),
    (chat(user("q17"), assistant(), tools=[{"type": "function"}]), "bad_tool", "tools[0]"),
    (chat(user("q18"), assistant(), tools="look"), "wrong_type", "tools"),
    (
        chat(user("q19"), assistant("key AKIAIOSFODNN7EXAMPLE")),
        "secret",
        "messages[1].content",
    ),
    (chat(user("write to anna@zubrowka.gov"), assistant()), "personal_data", "messages[0].content"),
    (chat(user("bell \x07"), assistant()), "control_character", "messages[0].content"),
    (
        chat(user("q20"), assistant("caf\ufffd")),
        "replacement_character",
        "messages[1].content",
    ),
    (chat(user("question 3"), assistant("answer 3")), "duplicate", ""),
    (chat(user("question 4"), assistant("another answer")), "conflict", ""),
]


def written(folder: Path) -> tuple[Path, list[int]]:
    """Spread the defects between good rows; give the file and the line of each."""
    lines = [
        json.dumps(chat(user(f"question {at}"), assistant(f"answer {at}"))).encode()
        for at in range(GOOD)
    ]
    places = []
    for at, (row, _, _) in enumerate(SEEDED):
        place = 20 + at * 9
        text = row if isinstance(row, str | bytes) else json.dumps(row)
        lines.insert(place, text.encode() if isinstance(text, str) else text)
        places.append(place + 1)
    file = folder / "seeded.jsonl"
    file.write_bytes(b"\n".join(lines))
    return file, places


@pytest.fixture(scope="module", name="read")
def _read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[int], Path]:
    folder = tmp_path_factory.mktemp("seeded")
    file, places = written(folder)
    options = validation.Options(file=file, name=file.name, output=folder / "out")
    return validation.run(options), places, folder / "out"


def test_there_are_forty() -> None:
    assert len(SEEDED) == 40


@pytest.mark.parametrize(
    "at", range(len(SEEDED)), ids=[f"{n}-{s[1]}" for n, s in enumerate(SEEDED)]
)
def test_each_is_found_on_its_line(read: tuple[Report, list[int], Path], at: int) -> None:
    report, places, _ = read
    _, code, path = SEEDED[at]
    found = [f for f in report.findings if f.line == places[at]]
    assert [(f.code, f.path) for f in found] == [(code, path)]
    assert found[0].message.endswith(".")


def test_nothing_else_is_found(read: tuple[Report, list[int], Path]) -> None:
    report, places, _ = read
    assert {finding.line for finding in report.findings} == set(places)
    assert report.rows == GOOD + len(SEEDED)
    left_out = sum(CODES[code][0] == "error" for _, code, _ in SEEDED)
    assert report.kept == report.rows - left_out
    assert (report.errors, report.warnings) == (left_out, len(SEEDED) - left_out)


def test_what_is_kept_is_written(read: tuple[Report, list[int], Path]) -> None:
    report, _, output = read
    assert report.train is not None
    rows = [json.loads(line) for line in (output / "train.jsonl").read_bytes().splitlines()]
    assert len(rows) == report.train.rows == report.kept
    assert (output / "train.jsonl").stat().st_size == report.train.size_bytes
    assert not (output / "validation.jsonl").exists()
