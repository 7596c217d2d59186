"""A row of any known shape in one of the four formats that are trained on, with what is wrong in it."""

from collections.abc import Callable, Iterator
from typing import Any

from training.datasets import conversations
from training.datasets.findings import CODES, Defect, shown
from training.datasets.shapes import Found

Normal = dict[str, Any]
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


def normal(found: Found, row: Any) -> tuple[Normal | None, list[Defect]]:
    """Give the row as it will be learned, or None where an error forbids it."""
    if not isinstance(row, dict):
        return None, [Defect("not_an_object", "The row is no JSON object.")]
    defects: list[Defect] = []
    if missing := [part for part in found.shape.parts if found.columns[part] not in row]:
        name = found.columns[missing[0]]
        return None, [Defect(_missing_code(row), f"The row has no field {shown(name)}.", name)]
    try:
        made = MAKERS[found.shape.name](found, row)
    except Defect as defect:
        return None, [defect]
    defects += _checked(found.format, made)
    defects += _unused(found, row)
    is_bad = any(CODES[defect.code][0] == "error" for defect in defects)
    return (None if is_bad else made), defects


def _missing_code(row: dict[str, Any]) -> str:
    """A row that looks like another format is told so."""
    return (
        "mixed_format"
        if row.keys() & {"messages", "conversations", "chosen", "prompt", "text"}
        else "missing_field"
    )


def _unused(found: Found, row: dict[str, Any]) -> Iterator[Defect]:
    used = {*found.columns.values(), *found.shape.also}
    for name in row:
        if name not in used and found.shape.name in {"chat", "openai_preference"}:
            yield Defect("unknown_field", f"The field {shown(name)} is not used.", shown(name))


# --- one maker for each shape ---------------------------------------------------------------------


def _chat(found: Found, row: Normal) -> Normal:
    return _with_tools(found, row, {"messages": found.get(row, "messages")})


def _sharegpt(found: Found, row: Normal) -> Normal:
    turns, column = found.get(row, "conversations"), found.columns["conversations"]
    if not isinstance(turns, list):
        raise Defect("wrong_type", f"{column} must be a list.", column)
    messages = [_spoken(turn, f"{column}[{at}]") for at, turn in enumerate(turns)]
    system = found.get(row, "system")
    if isinstance(system, str) and system.strip():
        messages.insert(0, {"role": "system", "content": system})
    return _with_tools(found, row, {"messages": messages})


def _spoken(turn: Any, path: str) -> Normal:
    speaker = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
    role = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise Defect(
            "unknown_role", f"{path} is of the unknown speaker {shown(speaker)}.", f"{path}.from"
        )
    return {"role": role, "content": turn.get("value", turn.get("content"))}


def _alpaca(found: Found, row: Normal) -> Normal:
    messages: list[Normal] = []
    if system := _text_of(found, row, "system", ""):
        messages.append({"role": "system", "content": system})
    for at, pair in enumerate(found.get(row, "history") or []):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Defect(
                "wrong_type", f"history[{at}] must be a question and an answer.", f"history[{at}]"
            )
        messages += [
            {"role": "user", "content": pair[0]},
            {"role": "assistant", "content": pair[1]},
        ]
    asked = [_text_of(found, row, part, "") for part in ("instruction", "input")]
    messages.append(
        {"role": "user", "content": "\n\n".join(part for part in asked if part.strip())}
    )
    messages.append({"role": "assistant", "content": _text_of(found, row, "output")})
    return {"messages": messages}


def _completion(found: Found, row: Normal) -> Normal:
    return {part: _text_of(found, row, part) for part in ("prompt", "completion")}


def _text(found: Found, row: Normal) -> Normal:
    return {"text": _text_of(found, row, "text")}


def _openai_preference(found: Found, row: Normal) -> Normal:
    given = found.get(row, "input")
    if not isinstance(given, dict):
        raise Defect("wrong_type", "input must be an object with messages.", "input")
    made = {"messages": given.get("messages"), "chosen": found.get(row, "chosen")}
    made["rejected"] = found.get(row, "rejected")
    return made | ({"tools": given["tools"]} if given.get("tools") else {})


def _preference(found: Found, row: Normal) -> Normal:
    chosen, rejected = found.get(row, "chosen"), found.get(row, "rejected")
    if "messages" in found.columns:
        made = {"messages": found.get(row, "messages")}
    elif "prompt" in found.columns:
        made = {"prompt": found.get(row, "prompt")}
    elif isinstance(chosen, list) and isinstance(rejected, list):
        same = _common(chosen, rejected)
        made, chosen, rejected = {"messages": chosen[:same]}, chosen[same:], rejected[same:]
    else:
        raise Defect("missing_field", "The row has no prompt.", "prompt")
    return _with_tools(found, row, made | {"chosen": chosen, "rejected": rejected})


def _common(left: list[Any], right: list[Any]) -> int:
    pairs = zip(left, right, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _with_tools(found: Found, row: Normal, made: Normal) -> Normal:
    tools = found.get(row, "tools")
    return made if tools in (None, []) else made | {"tools": tools}


def _text_of(found: Found, row: Normal, part: str, default: Any = None) -> str:
    """Raises: Defect."""
    column = found.columns.get(part, part)
    value = row.get(column, default)
    if value is None and default is not None:
        return str(default)
    if not isinstance(value, str):
        raise Defect("wrong_type", f"{shown(column)} must be a text.", shown(column))
    return value


MAKERS: dict[str, Callable[[Found, Normal], Normal]] = {
    "chat": _chat,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "completion": _completion,
    "text": _text,
    "openai_preference": _openai_preference,
    "preference": _preference,
}


# --- checks of what was made ----------------------------------------------------------------------


def _checked(form: str, row: Normal) -> Iterator[Defect]:
    if form == "chat":
        yield from conversations.check(row["messages"], row.get("tools"))
    elif form == "preference":
        yield from _pair(row)
    elif form == "completion":
        if not row["completion"].strip():
            yield Defect("empty_completion", "The completion is empty.", "completion")
    elif not row["text"].strip():
        yield Defect("empty_content", "The text is empty.", "text")


def _pair(row: Normal) -> Iterator[Defect]:
    if "messages" in row:
        yield from conversations.check(row["messages"], row.get("tools"), answers=False)
    elif not isinstance(row["prompt"], str):
        yield from conversations.check(row["prompt"], row.get("tools"), "prompt", answers=False)
    elif not row["prompt"].strip():
        yield Defect("empty_content", "The prompt is empty.", "prompt")
    for part in ("chosen", "rejected"):
        yield from _answer(row[part], row.get("tools"), part)
    if row["chosen"] == row["rejected"]:
        yield Defect("same_pair", "The chosen and the rejected answer are the same.", "chosen")


def _answer(value: Any, tools: Any, path: str) -> Iterator[Defect]:
    if isinstance(value, str):
        if not value.strip():
            yield Defect("empty_completion", f"{path} is empty.", path)
        return
    for defect in conversations.check(value, tools, path):
        if defect.code != "no_user":  # the question is apart
            yield defect
