"""Checks of one conversation in OpenAI's form; each says where in the row it found what."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from training.datasets.findings import Defect, shown

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FIELDS = {
    "role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal",
    "reasoning_content",
}  # fmt: skip
MAX_MESSAGES = 2_000


def check(
    messages: Any, tools: Any = None, path: str = "messages", *, answers: bool = True
) -> Iterator[Defect]:
    """`answers`: the conversation must end with the assistant, as what is learned does."""
    if not isinstance(messages, list):
        yield Defect("wrong_type", f"{path} must be a list, but is {_kind(messages)}.", path)
        return
    if not messages or len(messages) > MAX_MESSAGES:
        yield Defect("no_messages", f"{path} has {len(messages)} messages.", path)
        return
    bad = False
    for at, message in enumerate(messages):
        for defect in _message(message, f"{path}[{at}]"):
            bad = True
            yield defect
    if not bad:
        yield from _order(messages, path, answers)
        yield from _calls(messages, tools, path)
    yield from _tools(tools)


def _message(message: Any, path: str) -> Iterator[Defect]:
    if not isinstance(message, dict):
        yield Defect("wrong_type", f"{path} must be an object, but is {_kind(message)}.", path)
        return
    role = message.get("role")
    if role not in ROLES:
        words = "has no role" if role is None else f"has the unknown role {shown(role)}"
        yield Defect("unknown_role", f"{path} {words}.", f"{path}.role")
        return
    for name in message.keys() - FIELDS:
        yield Defect(
            "unknown_field", f"{path} has the unknown field {shown(name)}.", f"{path}.{shown(name)}"
        )
    yield from _content(message, path)
    yield from _weight(message, path)


def _content(message: dict[str, Any], path: str) -> Iterator[Defect]:
    content, path = message.get("content"), f"{path}.content"
    if content is None:
        if not (message["role"] == "assistant" and message.get("tool_calls")):
            yield Defect("empty_content", f"{path} is missing.", path)
    elif isinstance(content, list):
        yield from _parts(content, path)
    elif not isinstance(content, str):
        yield Defect("wrong_type", f"{path} must be a text, but is {_kind(content)}.", path)
    elif not content.strip() and not message.get("tool_calls"):
        yield Defect("empty_content", f"{path} is empty.", path)


def _parts(parts: list[Any], path: str) -> Iterator[Defect]:
    for at, part in enumerate(parts):
        here = f"{path}[{at}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in {"image_url", "input_image", "input_audio", "file"}:
            yield Defect("image_content", f"{here} is of the type {kind}.", here)
        elif kind != "text" or not isinstance(part.get("text"), str):
            yield Defect("wrong_type", f"{here} must be a part of the type text.", here)
    if not parts:
        yield Defect("empty_content", f"{path} is empty.", path)


def _weight(message: dict[str, Any], path: str) -> Iterator[Defect]:
    if "weight" not in message:
        return
    weight = message["weight"]
    if message["role"] != "assistant":
        yield Defect(
            "bad_weight", f"{path}: only the assistant's messages have a weight.", f"{path}.weight"
        )
    elif isinstance(weight, bool) or weight not in (0, 1):
        yield Defect(
            "bad_weight", f"{path}.weight is {shown(weight)}, not 0 or 1.", f"{path}.weight"
        )


def _order(messages: Sequence[dict[str, Any]], path: str, answers: bool) -> Iterator[Defect]:
    roles = [message["role"] for message in messages]
    for at, role in enumerate(roles):
        if at and role in {"system", "developer"}:
            yield Defect(
                "late_system",
                f"{path}[{at}] is a {role} message, but not the first.",
                f"{path}[{at}]",
            )
        if at and role == roles[at - 1] and role in {"user", "assistant"}:
            yield Defect(
                "repeated_role",
                f"{path}[{at}] follows another {role} message.",
                f"{path}[{at}].role",
            )
    if answers:
        yield from _answered(messages, roles, path)


def _answered(messages: Sequence[dict[str, Any]], roles: list[str], path: str) -> Iterator[Defect]:
    if "assistant" not in roles:
        yield Defect("no_assistant", "No message is the assistant's: nothing can be learned.", path)
        return
    if roles[-1] != "assistant":
        yield Defect(
            "ends_without_assistant",
            f"The last message is of the role {roles[-1]}.",
            f"{path}[{len(roles) - 1}]",
        )
    if "user" not in roles:
        yield Defect("no_user", "No message is the user's.", path)
    said = [message for message in messages if message["role"] == "assistant"]
    if not any(message.get("weight", 1) for message in said):
        yield Defect("nothing_learned", "All answers have the weight 0.", path)


def _calls(messages: Sequence[dict[str, Any]], tools: Any, path: str) -> Iterator[Defect]:
    known = {_tool_name(tool) for tool in tools} if isinstance(tools, list) else None
    ids: set[str] = set()
    for at, message in enumerate(messages):
        calls = message.get("tool_calls")
        if calls is not None:
            yield from _called(calls, known, ids, f"{path}[{at}].tool_calls")
        if message["role"] == "tool" and message.get("tool_call_id") not in ids:
            yield Defect(
                "orphan_tool_result",
                f"{path}[{at}] answers a call that no message before it makes.",
                f"{path}[{at}].tool_call_id",
            )


def _called(calls: Any, known: set[str] | None, ids: set[str], path: str) -> Iterator[Defect]:
    if not isinstance(calls, list) or not calls:
        yield Defect("bad_tool_call", f"{path} must be a list of calls.", path)
        return
    for at, call in enumerate(calls):
        here = f"{path}[{at}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            yield Defect("bad_tool_call", f"{here} names no function.", here)
            continue
        if isinstance(call.get("id"), str):
            ids.add(call["id"])
        if not _is_arguments(function.get("arguments")):
            yield Defect(
                "bad_tool_call",
                f"{here}: the arguments are no JSON object.",
                f"{here}.function.arguments",
            )
        if known is not None and function["name"] not in known:
            yield Defect(
                "unknown_tool",
                f"{here} calls {shown(function['name'])}, which tools does not list.",
                here,
            )


def _is_arguments(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, dict)


def _tools(tools: Any) -> Iterator[Defect]:
    if tools is None:
        return
    if not isinstance(tools, list):
        yield Defect("wrong_type", f"tools must be a list, but is {_kind(tools)}.", "tools")
        return
    for at, tool in enumerate(tools):
        if not _tool_name(tool):
            yield Defect("bad_tool", f"tools[{at}] names no function.", f"tools[{at}]")


def _tool_name(tool: Any) -> str:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "a number")
