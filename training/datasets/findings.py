"""What is wrong with a file, where, and what to do about it: each kind has a stable code."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Severity = Literal["error", "warning"]

KEPT_PER_CODE = 200  # findings of one kind that are told with their place; the rest is counted
SHOWN_CHARS = 80


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`line` counts from 1 in the file as it came; 0 speaks of the whole file. `path` is as in JSON."""

    line: int
    code: str
    message: str
    severity: Severity
    path: str = ""


class Defect(Exception):
    """One thing that is wrong with a row; its code is a key of `CODES`."""

    def __init__(self, code: str, message: str, path: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.path = code, message, path

    def at(self, line: int) -> Finding:
        severity = CODES[self.code][0]
        return Finding(
            line=line, code=self.code, message=self.message, severity=severity, path=self.path
        )


# code: (severity, what mends it). A row with an error is left out; with a warning it stays.
CODES: dict[str, tuple[Severity, str]] = {
    "empty_file": ("error", "Bring a file with at least one row."),
    "unknown_format": (
        "error",
        "Use one of the formats of the documentation, or rename the columns.",
    ),
    "not_utf8": ("error", "Save the file as UTF-8."),
    "bad_json": ("error", "Each line must be one whole JSON object."),
    "bad_csv": ("error", "Each row needs as many cells as the first line has names."),
    "bad_parquet": ("error", "Write the file again: it is damaged or cut off."),
    "too_large_row": ("error", "Split the row: one may have 4 MiB."),
    "not_an_object": ("error", 'Write {"messages": [...]} instead of a bare list or text.'),
    "mixed_format": ("error", "Give each format a file of its own."),
    "missing_field": ("error", "Add the field."),
    "wrong_type": ("error", "Give the field the type that the message names."),
    "unknown_field": ("warning", "Remove the field, or check its spelling: it is not used."),
    "no_messages": ("error", "A conversation needs at least a question and an answer."),
    "unknown_role": ("error", "Use system, developer, user, assistant or tool."),
    "late_system": ("error", "The system message comes first."),
    "no_assistant": ("error", "End with what the model should say, as role assistant."),
    "ends_without_assistant": ("error", "The last message must be the assistant's."),
    "no_user": ("warning", "A conversation without a question teaches the model to speak unasked."),
    "repeated_role": ("warning", "Join messages of one role that follow each other."),
    "empty_content": ("error", "Say something, or leave the message out."),
    "empty_completion": ("error", "Give the text that the model should write."),
    "bad_weight": ("error", "A weight is 0 or 1, and only the assistant's messages have one."),
    "nothing_learned": ("error", "At least one answer must have the weight 1."),
    "bad_tool_call": (
        "error",
        "A tool call has an id, a function's name and arguments as JSON text.",
    ),
    "bad_tool": ("error", 'A tool is {"type": "function", "function": {"name", "parameters"}}.'),
    "unknown_tool": ("error", "Add the tool to `tools`, or correct the name."),
    "orphan_tool_result": ("error", "A tool's answer needs the id of a call before it."),
    "image_content": ("error", "Only text can be learned: leave image parts out."),
    "same_pair": ("error", "The chosen and the rejected answer must differ."),
    "control_character": ("warning", "Remove characters that no keyboard writes."),
    "replacement_character": (
        "warning",
        "The text was damaged by a wrong encoding before it came here.",
    ),
    "duplicate": ("warning", "Keep one of them, or accept that it weighs double."),
    "conflict": ("warning", "The same question has different answers: keep the right one."),
    "leakage": ("error", "Remove from the validation data what is in the training data."),
    "secret": ("warning", "Remove it: a model repeats what it learned to whoever asks."),
    "personal_data": ("warning", "Remove it, or make sure that it may be learned."),
    "too_long": ("warning", "Raise max_length, or split the row: its end is not learned."),
    "nothing_left": ("error", "The answer lies behind max_length: shorten the question."),
    "mask_unknown": ("error", "The model's chat template changes what the assistant says."),
    "template_refuses": ("error", "The model's chat template does not take this conversation."),
    "too_few_rows": ("error", "Bring at least 10 rows; 50 to 100 teach a manner."),
}


def fix(code: str) -> str:
    return CODES[code][1]


def shown(value: object) -> str:
    """Write a stranger's value short and on one line."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


@dataclass
class Findings:
    """All of them counted, the first of each kind kept, so that memory stays flat."""

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, *found: Finding) -> None:
        for finding in found:
            self.counts[finding.code] += 1
            if self.counts[finding.code] <= KEPT_PER_CODE:
                self.kept.append(finding)

    def of(self, severity: Severity) -> int:
        return sum(n for code, n in self.counts.items() if CODES[code][0] == severity)

    def extend(self, line: int, defects: Iterable[Defect]) -> None:
        self.add(*(defect.at(line) for defect in defects))
