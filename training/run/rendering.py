"""From a row of a data set to token ids and which of them are learned. No torch.

Renders as the engines do: the model's own template in its sandbox, special tokens in a row's text stay
text. The mask of any template is found by rendering prefixes of the conversation, and is checked.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from inference.engines.prompts import PLAIN_NAMES
from inference.engines.templates import ChatTemplate
from inference.engines.vocabulary import Vocabulary
from inference.errors import InvalidRequest
from training.recipes.recipe import TrainOn

IGNORED = -100  # the label of what is not learned; Source: torch.nn.functional.cross_entropy
MARK_OPEN, MARK_CLOSE, MARK_DIGITS = "\uf8f0", "\uf8f1", "\ue000"
MARK = re.compile(f"{MARK_OPEN}{MARK_DIGITS}([0-9]+){MARK_CLOSE}")

Message = Mapping[str, Any]


class BadRow(ValueError):
    """This row cannot be learned from; `code` is stable, the message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Example:
    """`labels` has the id where it is learned, else IGNORED; its first is always IGNORED."""

    ids: list[int]
    labels: list[int]
    cut: int = 0  # tokens that max_length took away
    positions: list[int] = field(default_factory=list)  # of a packed row; each part starts at 0

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


@dataclass(slots=True)
class Pair:
    """Two answers to one prompt, the first one better."""

    chosen: Example
    rejected: Example


@dataclass(slots=True)
class Renderer:
    """Made once for each base model; one thread."""

    vocabulary: Vocabulary
    template: ChatTemplate | None
    variables: dict[str, str]
    bos: list[int]  # what the model wants before plain text
    eos: int | None
    _special: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        texts = sorted((t for t in self.vocabulary.special_texts if t), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    @classmethod
    def load(cls, base: Path) -> "Renderer":
        """Raises: LoadFailed."""
        vocabulary = Vocabulary.load(base)
        encoder = vocabulary.prompt_encoder()
        return cls(
            vocabulary,
            encoder.template,
            dict(encoder.variables),
            list(encoder.prefix),
            vocabulary.hf.eos_token_id,
        )

    # --- rows -------------------------------------------------------------------------------------

    def text(self, text: str) -> Example:
        """All of it is learned, its end too."""
        ids = [*self.bos, *self._plain(text)]
        if self.eos is not None:
            ids.append(self.eos)
        return _example(ids, [(len(self.bos), len(ids))])

    def completion(self, prompt: str, completion: str) -> Example:
        """Plain text, no template; the prompt is not learned, the end is."""
        before = [*self.bos, *self._plain(prompt)]
        end = [] if self.eos is None else [self.eos]
        ids = [*before, *self._plain(completion), *end]
        return _example(ids, [(len(before), len(ids))])

    def chat(
        self, messages: Sequence[Message], tools: Any = None, train_on: TrainOn = "assistant"
    ) -> Example:
        """Raises: BadRow."""
        marks: list[str] = []
        whole = [self._hidden(self._adapted(message), marks) for message in messages]
        whole, known_tools = self._with_tools(whole, self._hidden(tools, marks))
        added = len(whole) - len(messages)
        turns = [at + added for at in _learned_turns(messages, train_on)]
        ids = self._ids(whole, known_tools, marks, asks=False)
        if train_on == "all":
            return _example(ids, [(0, len(ids))])
        spans = [self._span(whole, known_tools, marks, ids, at) for at in turns]
        for at, span in zip(turns, spans, strict=True):
            self._check(whole[at], marks, ids[span[0] : span[1]])
        return _example(ids, spans)

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """`prompt` (a text or messages) or `messages`, with `chosen` and `rejected`. Raises: BadRow."""
        prompt = row.get("messages", row.get("prompt"))
        if isinstance(prompt, str) and all(isinstance(row[k], str) for k in ("chosen", "rejected")):
            chosen, rejected = (self.completion(prompt, row[k]) for k in ("chosen", "rejected"))
            return Pair(chosen, rejected)
        before = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or ())
        )
        tools = row.get("tools")
        made = [
            self.chat([*before, *_answer(row[k])], tools, "last") for k in ("chosen", "rejected")
        ]
        return Pair(*made)

    def prompt(self, messages: Sequence[Message], tools: Any = None) -> list[int]:
        """Give what the assistant would continue."""
        marks: list[str] = []
        whole = [self._hidden(self._adapted(message), marks) for message in messages]
        whole, known = self._with_tools(whole, self._hidden(tools, marks))
        return self._ids(whole, known, marks, asks=True)

    # --- spans ------------------------------------------------------------------------------------

    def _span(
        self, messages: list[Any], tools: Any, marks: list[str], ids: list[int], at: int
    ) -> tuple[int, int]:
        """Where turn `at` lies in `ids`, its end mark included."""
        before = self._try(messages[:at], tools, marks, asks=True)
        until = self._try(messages[: at + 1], tools, marks, asks=False)
        if before is not None and until is not None and _starts(ids, before):
            end = _common(ids, until)
            if end > len(before):
                return len(before), self._trimmed(ids, len(before), end)
        return self._span_by_difference(messages, tools, marks, ids, at)

    def _span_by_difference(
        self, messages: list[Any], tools: Any, marks: list[str], ids: list[int], at: int
    ) -> tuple[int, int]:
        """For templates that treat earlier turns differently: change the turn and see what moves."""
        content = messages[at].get("content")
        if not isinstance(content, str) or not content:
            raise BadRow("mask_unknown", f"messages[{at}]: the template hides where this turn lies")
        starts, ends = [], []
        for other in ("\u00a7 1", "\u00b6\u00b6 x"):
            changed = [*messages[:at], {**messages[at], "content": other}, *messages[at + 1 :]]
            found = self._ids(changed, tools, marks, asks=False)
            starts.append(_common(ids, found))
            ends.append(_common(ids[::-1], found[::-1]))
        start, tail = min(starts), min(ends)
        end = len(ids) - tail
        if self.eos is not None and end < len(ids) and self._closes(ids[end]):
            end += 1
        return start, self._trimmed(ids, start, end)

    def _closes(self, token: int) -> bool:
        return bool(self._special.fullmatch(self.vocabulary.token_text(token)[0]))

    def _trimmed(self, ids: list[int], start: int, end: int) -> int:
        """Leave out white space behind the mark that ends a turn: the engine stops at the mark."""
        last = end
        while last > start and not self.vocabulary.token_bytes(ids[last - 1]).strip():
            if self._closes(ids[last - 1]):
                return last
            last -= 1
        return end

    def _check(self, message: Message, marks: list[str], ids: list[int]) -> None:
        """What is learned must hold what the assistant said. Raises: BadRow."""
        said = b"".join(
            self.vocabulary.token_text(token)[0].encode()
            if self._closes(token)
            else self.vocabulary.token_bytes(token)
            for token in ids
        ).decode(errors="replace")
        content = message.get("content")
        wanted = MARK.sub(lambda m: marks[int(m[1])], content) if isinstance(content, str) else ""
        if not ids or _squeezed(wanted) not in _squeezed(said):
            raise BadRow(
                "mask_unknown",
                "the chat template changes what the assistant says, so that it cannot be told apart",
            )

    # --- rendering --------------------------------------------------------------------------------

    def _try(
        self, messages: list[Any], tools: Any, marks: list[str], asks: bool
    ) -> list[int] | None:
        """A prefix of a conversation may be one that the template refuses."""
        try:
            return self._ids(messages, tools, marks, asks)
        except BadRow:
            return None

    def _ids(self, messages: list[Any], tools: Any, marks: list[str], asks: bool) -> list[int]:
        """Raises: BadRow."""
        text = self._text(messages, tools, asks)
        ids: list[int] = []
        for at, piece in enumerate(MARK.split(text)):
            if at % 2:
                ids += self.vocabulary.encode(marks[int(piece)], special=False)
            elif piece:
                ids += self.vocabulary.encode(piece, special=True)
        return ids

    def _text(self, messages: list[Any], tools: Any, asks: bool) -> str:
        if self.template is None:
            lines = [
                f"{PLAIN_NAMES.get(m['role'], 'User')}: {m.get('content') or ''}\n"
                for m in messages
            ]
            return "".join(lines) + ("Assistant:" if asks else "")
        values = {**self.variables, "tools": tools, "add_generation_prompt": asks}
        try:
            return self.template.render(messages, values)
        except (TemplateError, InvalidRequest) as error:
            raise BadRow(
                "template_refuses", f"the chat template refuses this row: {error}"
            ) from error

    def _adapted(self, message: Message) -> dict[str, Any]:
        """Replace a role or a form that the template does not name by one that every model knows."""
        made = {
            k: v for k, v in message.items() if k not in {"weight", "refusal"} and v is not None
        }
        made["content"] = _joined(message.get("content"))
        if made["role"] == "developer" and not self._names("developer"):
            made["role"] = "system"
        if made["role"] in {"tool", "function"} and not self._names(made["role"]):
            made = {
                "role": "user",
                "content": f"<tool_response>\n{made['content']}\n</tool_response>",
            }
        if made.get("tool_calls"):
            made = self._with_calls(made)
        return made

    def _with_calls(self, message: dict[str, Any]) -> dict[str, Any]:
        calls = [_parsed_call(call) for call in message["tool_calls"]]
        if self._names("tool_calls", quoted=False):
            return {**message, "tool_calls": calls}
        texts = [
            f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>"
            for call in calls
        ]
        content = "\n".join(filter(None, [message["content"], *texts]))
        return {k: v for k, v in message.items() if k != "tool_calls"} | {"content": content}

    def _with_tools(self, messages: list[Any], tools: Any) -> tuple[list[Any], Any]:
        """Tell the tools in the system message where the template has no place for them."""
        if not tools or self._names("tools", quoted=False):
            return messages, tools or None
        listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        text = (
            f"You may call these tools:\n<tools>\n{listed}\n</tools>\nTo call one, answer with its name"
            ' and arguments: <tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>'
        )
        if messages and messages[0]["role"] == "system":
            first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
            return [first, *messages[1:]], None
        return [{"role": "system", "content": text}, *messages], None

    def _names(self, word: str, quoted: bool = True) -> bool:
        source = "" if self.template is None else self.template.source
        pattern = rf"""['"]{word}['"]""" if quoted else rf"\b{word}\b"
        return re.search(pattern, source) is not None

    def _hidden(self, value: Any, marks: list[str]) -> Any:
        """Replace special tokens that a row's text spells out, so that they stay text."""
        if isinstance(value, str):
            return self._special.sub(lambda found: _mark(found.group(), marks), value)
        if isinstance(value, Mapping):
            return {key: self._hidden(part, marks) for key, part in value.items()}
        return [self._hidden(part, marks) for part in value] if isinstance(value, list) else value

    def _plain(self, text: str) -> list[int]:
        return self.vocabulary.encode(text, special=False)


def _mark(text: str, marks: list[str]) -> str:
    marks.append(text)
    return f"{MARK_OPEN}{MARK_DIGITS}{len(marks) - 1}{MARK_CLOSE}"


def _joined(content: Any) -> str:
    """Text of a content that may be parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content or ""


def _parsed_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Templates want arguments as an object, OpenAI's form has them as a text."""
    function = dict(call.get("function") or {})
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError:
            raise BadRow("bad_arguments", "a tool call's arguments are no JSON") from None
    return {**call, "type": "function", "function": function}


def _answer(value: Any) -> list[Message]:
    return [{"role": "assistant", "content": value}] if isinstance(value, str) else list(value)


def _learned_turns(messages: Sequence[Message], train_on: TrainOn) -> list[int]:
    turns = [at for at, message in enumerate(messages) if message.get("role") == "assistant"]
    if train_on == "last":
        turns = turns[-1:]
    return [at for at in turns if messages[at].get("weight", 1)]


def _example(ids: list[int], spans: Sequence[tuple[int, int]]) -> Example:
    """What comes behind the last learned token changes nothing: it is left out."""
    ids = ids[: max((end for _, end in spans), default=len(ids))]
    labels = [IGNORED] * len(ids)
    for start, end in spans:
        labels[start:end] = ids[start:end]
    if labels:
        labels[0] = IGNORED  # nothing comes before it
    return Example(ids, labels)


def cut(example: Example, max_length: int) -> Example:
    over = max(0, len(example.ids) - max_length)
    if not over:
        return example
    return Example(example.ids[:max_length], example.labels[:max_length], over)


def _starts(ids: list[int], prefix: list[int]) -> bool:
    return ids[: len(prefix)] == prefix


def _common(left: list[int], right: list[int]) -> int:
    """Count the tokens that both begin with."""
    for at, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return at
    return min(len(left), len(right))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
