"""Chat templates are code of the model: compiled in a sandbox, with limits on time and output.

Called by the vocabularies, `prompts.py` and `check_template.py`. Source of the helpers a template may use: the conventions of Hugging
Face chat templates (`raise_exception`, `strftime_now`, `tojson`, `generation`, loop controls).
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from types import FrameType
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from inference.errors import InvalidRequest, LoadFailed

TIME_LIMIT_S = 2.0
OUTPUT_LIMIT_CHARS = 32 * 1024 * 1024
FILENAME = "<template>"  # what jinja calls code that comes from a string
# Methods and filters that make long text from a short template, and that no chat template needs.
GROWING = frozenset(
    [
        "center",
        "ljust",
        "rjust",
        "zfill",
        "expandtabs",
        "translate",
        "encode",
        "format",
        "format_map",
    ]
)

log = logging.getLogger(__name__)

Trace = Callable[[FrameType, str, Any], Any]


class _Generation(Extension):
    """`{% generation %}`: marks what an assistant said, for training; here it only renders."""

    tags: set[str] = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _BoundedConcat(NodeTransformer):
    """Turn `a ~ b` into `a|string + b|string`, so that the operator's limit holds for it too."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (jinja's name)
        self.generic_visit(node)
        texts: list[nodes.Expr] = [
            nodes.Filter(part, "string", [], [], None, None, lineno=node.lineno)
            for part in node.nodes
        ]
        return reduce(lambda left, right: nodes.Add(left, right, lineno=node.lineno), texts)


class _Sandbox(ImmutableSandboxedEnvironment):
    """No attribute access to internals, no mutation, and no result over the output limit."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        bounded = _BoundedConcat().visit(source)
        return super()._generate(bounded, name, filename, defer_init=defer_init)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str) and re.search(r"[0-9*]", left):
            raise SecurityError("the template formats with a width, which is not allowed")
        _refuse_over(_size(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | bytes) and attr in GROWING:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call and refuse a result that is too large, before it is made where that can be known."""
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name in BOUNDED:
            return BOUNDED[name](owner, *args, **kwargs)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, str):
            _refuse_over(len(result))
        return result


def _size(operator: str, left: Any, right: Any) -> float:
    """Estimate the size of a result in characters, items or bits, before it is made."""
    sized = isinstance(left, str | list | tuple), isinstance(right, str | list | tuple)
    match operator, sized:
        case "+", (True, True):
            return len(left) + len(right)
        case "*", (True, False):
            return len(left) * float(right)
        case "*", (False, True):
            return len(right) * float(left)
        case "**", _:
            return abs(float(right)) * abs(float(left)).as_integer_ratio()[0].bit_length()
    return 0


def _refuse_over(size: float) -> None:
    if size > OUTPUT_LIMIT_CHARS:
        raise SecurityError("the template makes a value that is too large")


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    _refuse_over(len(text) + times * len(new))
    return text.replace(old, new, times)


def _join(text: str, parts: Iterable[str]) -> str:
    parts = list(parts)
    _refuse_over(len(parts) * len(text) + sum(map(len, parts)))
    return text.join(parts)


def _replace_filter(value: Any, old: str, new: str, count: int | None = None) -> str:
    return _replace(str(value), str(old), str(new), -1 if count is None else count)


def _join_filter(value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    parts = value if attribute is None else (item[attribute] for item in value)
    return _join(str(d), (str(part) for part in parts))


BOUNDED: dict[str, Callable[..., str]] = {"replace": _replace, "join": _join}


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters |= {"tojson": _tojson, "replace": _replace_filter, "join": _join_filter}
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    environment.globals.pop("lipsum", None)
    for name in ("center", "wordwrap", "format", "pprint", "xmlattr"):
        environment.filters.pop(name, None)
    return environment


class _TimedOut(BaseException):
    """Raised inside a template; no template code can catch it."""


def _deadline(limit_s: float) -> Trace:
    """Trace the lines of template code (and of nothing else) and stop it at its deadline."""
    end = time.monotonic() + limit_s

    def on_line(_frame: FrameType, _event: str, _value: Any) -> Trace:
        if time.monotonic() > end:
            raise _TimedOut
        return on_line

    def on_call(frame: FrameType, _event: str, _value: Any) -> Trace | None:
        return on_line if frame.f_code.co_filename == FILENAME else None

    return on_call


class ChatTemplate:
    """A compiled template."""

    def __init__(self, source: str, limit_s: float = TIME_LIMIT_S) -> None:
        """Raises: LoadFailed if the template does not compile."""
        self.source = source
        self._limit_s = limit_s
        try:
            self._template = _environment().from_string(source)
        except (TemplateError, RecursionError, SyntaxError) as error:
            raise LoadFailed(f"the model's chat template does not compile: {error}") from error

    def render(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
        """Render a conversation, ready for the assistant to speak.

        Raises: TemplateError when the template refuses the conversation; InvalidRequest when it
        breaks, or passes its limits.
        """
        before = sys.gettrace()
        sys.settrace(_deadline(self._limit_s))
        try:
            return self._collect(messages, variables)
        except _TimedOut:
            raise InvalidRequest(
                f"the model's chat template ran longer than {self._limit_s:g} s", param="messages"
            ) from None
        finally:
            sys.settrace(before)

    def _collect(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
        values = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(messages=list(messages), **values):
                parts.append(part)
                size += len(part)
                if size > OUTPUT_LIMIT_CHARS:
                    raise SecurityError("the template gives too much text")
        except TemplateError:
            raise
        except Exception as error:  # a template can break in any way that Python can
            raise InvalidRequest(
                f"the model's chat template cannot render these messages: {error}",
                param="messages",
            ) from error
        return "".join(parts)


def compiled(source: object) -> ChatTemplate | None:
    """Compile a model's template; without one, or with a broken one, chats are rendered plainly.

    What is broken is found when the model is added, and told there.
    """
    if not source or not isinstance(source, str):
        return None
    try:
        return ChatTemplate(source)
    except LoadFailed as error:
        log.warning("chats are rendered without a template: %s", error.message)
        return None
