"""One choice of one request: run llama.cpp until it ends, and turn what comes into deltas.

Used by `llm_gguf` only. A choice holds a share of the KV budget while it computes; an open-ended one
starts with a small share, and pauses where it cannot get more: it goes on later, from its own text.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from inference import wire
from inference.engines.gguf_vocabulary import GgufVocabulary
from inference.engines.llama_budget import KvBudget
from inference.engines.llama_lanes import Lane
from inference.engines.llama_request import (
    SEEDS,
    Ask,
    Penalties,
    Prompt,
    score_body,
    step_body,
    stream_body,
)
from inference.engines.llama_server import Alternative, Chosen, Chunk, LlamaServer, Step
from inference.engines.llama_vision import Eyes
from inference.engines.text import Piece, StopFilter, TextStream

OPEN_TOKENS = 256  # first share, and each further one, of a choice without max_tokens
SCORED = 1_000  # alternatives asked for to find a token that llama.cpp does not score by itself
FINISH: dict[str, wire.FinishReason] = {"stop": "stop", "length": "length"}
STEP_FINISH: dict[str, wire.FinishReason] = {"eos": "stop"}


@dataclass(slots=True)
class Road:
    """A lane in use: its own llama.cpp, and what of its cache is taken."""

    lane: Lane
    server: LlamaServer
    budget: KvBudget

    def share_for(self, tokens: int) -> int:
        """Return what a request takes: as much as it needs, or a whole slot."""
        return tokens if self.lane.shared else self.lane.room_tokens


@dataclass(slots=True)
class Tools:
    """What all choices of an engine share; roads in the order of their room."""

    roads: list[Road]
    vocabulary: GgufVocabulary
    plain_token: int  # a token that is whole by itself
    eyes: Eyes | None = None


@dataclass(slots=True)
class Choice:
    """`send(text, tokens, logprobs, finish)`; `gave_up()` is true after a cancel."""

    index: int
    ask: Ask
    tools: Tools
    send: Callable[[Piece, wire.FinishReason | None], None]
    prefilled: Callable[[int, int], None]  # prompt tokens computed, prompt tokens reused
    gave_up: Callable[[], bool]
    generated: int = 0
    share: int = 0
    resumed: bool = False
    road: Road = field(init=False)
    text: list[str] = field(default_factory=list)
    finish: wire.FinishReason | None = None

    @property
    def seed(self) -> int:
        """Differ between choices, and between the parts of a paused one."""
        return (self.ask.seed + self.index * 7_919 + self.generated * 104_729) % SEEDS

    @property
    def left(self) -> int:
        return self.ask.max_tokens - self.generated

    def run(self) -> None:
        """Compute until the choice ends or gives up.

        Raises: EngineFailed, ContextLengthExceeded.
        """
        if self.left <= 0:
            self.send(Piece(), "length")
            return
        work = _Steps(self) if self.ask.exact else _Stream(self)
        while self.finish is None and self._take_share():
            try:
                work.run()
            finally:
                self.road.budget.give_back(self.share)
                self.share = 0
            self.resumed = True
            if self.gave_up():
                return

    def _take_share(self) -> bool:
        """Choose the first road with room, and wait for a share of its cache."""
        first = min(self.left, OPEN_TOKENS) if self.ask.open_ended else self.left
        needed = self.ask.prompt_tokens + self.generated + first
        roads = self.tools.roads
        self.road = next((r for r in roads if needed <= r.lane.room_tokens), roads[-1])
        share = self.road.share_for(needed)
        if not self.road.budget.take(share, self.gave_up, first=self.resumed):
            return False
        self.share = share
        return True

    def has_room(self) -> bool:
        """Get a larger share where the next token needs it; False: pause, and go on elsewhere."""
        more = 0 if self.road.lane.shared else 1  # a slot is one token longer than its share
        if self.left <= 0 or self.ask.prompt_tokens + self.generated + 1 < self.share + more:
            return True
        more = min(self.left, OPEN_TOKENS)
        if not (self.road.lane.shared and self.road.budget.take_more(more)):
            return False
        self.share += more
        return True

    def end(self, piece: Piece, finish: wire.FinishReason) -> None:
        self.finish = finish
        self.send(piece, finish)


class _Stream:
    """llama.cpp generates and sends text as it comes: the fast way."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._filter = StopFilter(choice.ask.sampling.stop)
        self._before = 0  # tokens generated before the last pause
        self._told = 0  # tokens accounted for in deltas
        self._counted_prompt = False

    def run(self) -> None:
        choice = self._choice
        self._before = choice.generated
        ask, said = choice.ask, "".join(choice.text)
        prompt: Prompt = ask.pictured.prompt if ask.pictured else ask.tokens
        if said:  # before a pause, which a prompt with images never has
            prompt = ask.tokens + choice.tools.vocabulary.encode(said, special=False)
        body = stream_body(ask, prompt, choice.left, choice.seed)
        choice.road.server.stream(body, self._take)

    def _take(self, chunk: Chunk) -> bool:
        """Return True to stop llama.cpp."""
        choice = self._choice
        if choice.gave_up():
            return True
        made = chunk.timings.predicted_n
        if not made:
            return False  # the prompt is being computed
        self._count_prompt(chunk)
        choice.generated = self._before + made
        for part in chunk.choices:
            self._show(part.text, part.finish_reason)
        return choice.finish is not None or not choice.has_room()

    def _count_prompt(self, chunk: Chunk) -> None:
        if not self._counted_prompt:
            self._counted_prompt = True
            self._choice.prefilled(chunk.timings.prompt_n, chunk.timings.cache_n)

    def _show(self, text: str, finish: str | None) -> None:
        choice = self._choice
        choice.text.append(text)
        shown = self._filter.push(text)
        if self._filter.stopped:
            choice.end(self._piece(shown), "stop")
        elif finish is not None:
            choice.end(self._piece(shown + self._filter.finish()), FINISH.get(finish, "stop"))
        elif shown:
            choice.send(self._piece(shown), None)

    def _piece(self, text: str) -> Piece:
        new, self._told = self._choice.generated - self._told, self._choice.generated
        return Piece(text, new)


class _Steps:
    """One token at a time, so that each is known by itself: for logprobs and OpenAI's penalties."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._tokens = list(choice.ask.tokens)
        self._penalties = Penalties(choice.ask.sampling)
        self._text = TextStream(choice.ask.sampling.stop)

    def run(self) -> None:
        choice = self._choice
        is_first = True
        while choice.finish is None and not choice.gave_up() and choice.has_room():
            step = self._step(is_first)
            if is_first and choice.gave_up():
                return
            is_first = False
            if choice.generated == 0:
                choice.prefilled(step.timings.prompt_n, step.timings.cache_n)
            self._take(step)

    def _step(self, is_first: bool) -> Step:
        choice = self._choice
        body = step_body(choice.ask, self._tokens, self._penalties, choice.seed)
        server = choice.road.server
        if not is_first:
            return server.step(body)
        step = server.first_step(body, choice.gave_up)
        if step.tokens or choice.gave_up():
            return step
        whole = server.step(body)  # a stream keeps the first byte of a character to itself
        whole.timings = step.timings
        return whole

    def _take(self, step: Step) -> None:
        choice = self._choice
        choice.generated += 1
        if step.stop_type == "eos" or not step.tokens:
            self._end("stop", ended_by_token=1)
            return
        token = step.tokens[0]
        raw = choice.tools.vocabulary.token_bytes(token)
        shown = self._text.push(raw, self._logprob(token, step))
        self._tokens.append(token)
        self._penalties.saw(token)
        if self._text.stopped:
            choice.end(shown or Piece(), "stop")
        elif choice.left <= 0:
            self._end("length", shown=shown)
        elif shown is not None:
            choice.send(shown, None)

    def _end(
        self, finish: wire.FinishReason, shown: Piece | None = None, ended_by_token: int = 0
    ) -> None:
        rest = self._text.finish()
        if shown is not None:
            rest.text = shown.text + rest.text
            rest.tokens += shown.tokens
            rest.logprobs = shown.logprobs + rest.logprobs
        rest.tokens += ended_by_token
        self._choice.end(rest, finish)

    def _logprob(self, token: int, step: Step) -> wire.TokenLogprob | None:
        asked = self._choice.ask.logprobs
        if asked is None:
            return None
        found = step.completion_probabilities[0] if step.completion_probabilities else None
        if found is None:
            found = self._score(token, asked)
        text, raw = self._choice.tools.vocabulary.token_text(token)
        top = [self._alternative(item) for item in found.top_logprobs[:asked]]
        return wire.TokenLogprob(text, found.logprob, raw, top)

    def _score(self, token: int, asked: int) -> Chosen:
        """Score a token that is only the beginning of a character: llama.cpp does not say."""
        tools = self._choice.tools
        for wanted in (max(SCORED, asked), tools.vocabulary.size):
            step = self._choice.road.server.step(
                score_body(self._tokens, tools.plain_token, wanted)
            )
            listed = step.completion_probabilities[0].top_logprobs
            for item in listed:
                if item.id == token:
                    return Chosen(token, item.logprob, item.bytes, listed)
        return Chosen(token, -9999.0)  # Source: OpenAI's API reference: a very unlikely token

    def _alternative(self, item: Alternative) -> wire.TopLogprob:
        text, raw = self._choice.tools.vocabulary.token_text(item.id)
        return wire.TopLogprob(text, item.logprob, raw)
