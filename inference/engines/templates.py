"""Chat templates are code of the model: compiled in a sandbox, with limits on time and output.

Called by the vocabularies, `prompts.py` and `check_template.py`. Source of the helpers a template may use: the conventions of Hugging
Face chat templates (`raise_exception`, `strftime_now`, `tojson`, `generation`, loop controls).
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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

from inference.engines.template_bounds import (
    FILTERS,
    METHODS,
    OUTPUT_LIMIT_CHARS,
    bounded,
    check_operands,
    checked,
    refuse_over,
    same,
    weight,
)
from inference.errors import InvalidRequest, LoadFailed

TIME_LIMIT_S = 2.0
SAME = "as_written"  # a filter of ours
MAX_PATTERN_CHARS, MAX_INDENT = 256, 100
# Filters that no chat template needs, and whose time or text has no bound.
DROPPED = (
    *("batch", "center", "format", "pprint", "slice", "striptags", "urlize", "wordwrap", "xmlattr"),
)
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


class _Bounded(NodeTransformer):
    """Let the limits hold for what jinja makes by itself.

    `a ~ b` becomes `a|string + b|string`; what is written as a list, a tuple or an object is checked.
    """

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (jinja's name)
        self.generic_visit(node)
        texts: list[nodes.Expr] = [_filtered(part, "string") for part in node.nodes]
        return reduce(lambda left, right: nodes.Add(left, right, lineno=node.lineno), texts)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, SAME)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, SAME)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, SAME) if node.ctx == "load" else node


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """No attribute access to internals, no mutation, and no result over the limits."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        bounded = _Bounded().visit(source)
        return super()._generate(bounded, name, filename, defer_init=defer_init)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str) and re.search(r"[0-9*]", left):
            raise SecurityError("the template formats with a width, which is not allowed")
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            refuse_over(len(left) + len(right))
            return left + right
        check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | bytes) and attr in GROWING:
            return False
        return not isinstance(obj, int | float) and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call and refuse what is too large, before it is made where that can be known."""
        weight([*args, *kwargs.values()])
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name in METHODS:
            return METHODS[name](owner, *args, **kwargs)
        return checked(super().call(context, obj, *args, **kwargs))


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    refuse_over(len(pattern), MAX_PATTERN_CHARS)
    return datetime.now().astimezone().strftime(pattern)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(indent, int):
        refuse_over(indent, MAX_INDENT)
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
    filters = environment.filters | FILTERS | {"tojson": _tojson, SAME: same}
    environment.filters = {
        name: bounded(made) for name, made in filters.items() if name not in DROPPED
    }
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    environment.globals.pop("lipsum", None)
    return environment


class _TimedOut(BaseException):
    """Raised inside a template; no template code can catch it."""


def _deadline(limit_s: float) -> Trace:
    """Trace the lines of template code, and the calls that filters make, and stop them at a deadline.

    It is one of this thread's own time: a machine that is busy with others ends no template.
    """
    end_s = time.thread_time() + limit_s
    look_at_s = time.monotonic() + limit_s  # this clock is cheaper, and never the slower one

    def on_line(_frame: FrameType, _event: str, _value: Any) -> Trace:
        nonlocal look_at_s
        if time.monotonic() > look_at_s:
            left_s = end_s - time.thread_time()
            if left_s <= 0:
                raise _TimedOut
            look_at_s = time.monotonic() + left_s
        return on_line

    def on_call(frame: FrameType, event: str, value: Any) -> Trace | None:
        traced = on_line(frame, event, value)
        return traced if frame.f_code.co_filename == FILENAME else None

    return on_call


class ChatTemplate:
    """A compiled template."""

    def __init__(self, source: str, limit_s: float = TIME_LIMIT_S) -> None:
        """Raises: LoadFailed if the template does not compile."""
        self.source = source
        self._limit_s = limit_s
        try:
            self._template = _environment().from_string(source)
        except (TemplateError, RecursionError, SyntaxError, ValueError, MemoryError) as error:
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
