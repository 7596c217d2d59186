"""One request inside the batching loop, and its choices: what they have said, and why they ended."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from inference import wire
from inference.engines.allowance import within_budget
from inference.engines.base import Job
from inference.engines.decoder import Places, Prefill, image_end
from inference.engines.kv_cache import Seat, Stage
from inference.engines.lora import Lora
from inference.engines.prompts import check_context
from inference.engines.sampling import Chosen, Sampler
from inference.engines.text import Piece, TextStream
from inference.engines.vocabulary import Vocabulary

MAX_CHOICES = 128  # of one request; more than a batch has rows run as a batch of their own


@dataclass(eq=False)
class Request:
    """A job that has its tokens. `room` is how many tokens each choice may generate."""

    job: Job
    body: wire.Generate
    prompt: list[int]
    room: int
    silent: bool = False  # a probe: only the end is told
    held: object = None  # what must live as long as the request (its images)
    lora: Lora | None = None
    places: Places | None = None
    whole_images: bool = False  # no step ends inside of one
    choices: list["Choice"] = field(default_factory=list)
    cached_tokens: int = 0
    told: bool = False  # what the prompt took, to whoever counts
    started_s: float = field(default_factory=time.monotonic)
    first_s: float = 0.0
    ended: bool = False

    @property
    def shift(self) -> int:
        """From the index of a token that was said to its position."""
        return self.places.shift if self.places else 0

    @property
    def owner(self) -> str:
        """Name whose keys and values these are: an adapter's, or the plain model's."""
        return "" if self.lora is None else self.lora.key

    @property
    def unfinished(self) -> list["Choice"]:
        return [choice for choice in self.choices if not choice.finished]

    def send(self, delta: wire.Delta) -> None:
        if self.silent:
            return
        if not self.told:
            self.told = True
            prompt, cached = len(self.prompt), self.cached_tokens
            delta = msgspec.structs.replace(delta, prompt_tokens=prompt, cached_tokens=cached)
        self.job.emit(delta)

    def done(self) -> wire.Done:
        total_s = time.monotonic() - self.started_s
        usage = wire.Usage(
            prompt_tokens=len(self.prompt),
            completion_tokens=sum(len(choice.tokens) for choice in self.choices),
            cached_tokens=self.cached_tokens,
        )
        timing = wire.Timing(first_s=self.first_s or total_s, total_s=total_s)
        return wire.Done(usage=usage, timing=timing)


@dataclass(eq=False)
class Choice:
    """One answer of a request, while it grows."""

    request: Request
    index: int
    sampler: Sampler
    stream: TextStream
    tokens: list[int] = field(default_factory=list)
    seat: Seat | None = None
    finished: bool = False

    def take(self, chosen: Chosen, vocabulary: Vocabulary, ends: frozenset[int]) -> bool:
        """Add a token to the answer and send what can be shown of it; True if that was the end."""
        request = self.request
        if not request.first_s:
            request.first_s = time.monotonic() - request.started_s
        self.tokens.append(chosen.token)
        if chosen.token in ends and not request.body.sampling.ignore_eos:
            self._finish(self.stream.finish(), "stop", unseen=1)
            return True
        logprob = None if chosen.logprob is None else token_logprob(chosen, vocabulary)
        piece = self.stream.push(vocabulary.token_bytes(chosen.token), logprob)
        if self.stream.stopped:
            self._finish(piece or Piece(), "stop")
        elif len(self.tokens) >= request.room:
            self._finish(_joined(piece, self.stream.finish()), "length")
        elif piece is not None:
            self._send(piece)
        return self.finished

    def finish_empty(self) -> None:
        """End an answer that has no room for a token."""
        self._finish(Piece(), "length")

    def _finish(self, piece: Piece, reason: wire.FinishReason, unseen: int = 0) -> None:
        piece.tokens += unseen
        self.finished = True
        self._send(piece, reason)

    def _send(self, piece: Piece, reason: wire.FinishReason | None = None) -> None:
        wanted = self.request.body.logprobs is not None
        self.request.send(
            wire.Delta(
                index=self.index,
                text=piece.text,
                tokens=piece.tokens,
                logprobs=piece.logprobs if wanted else None,
                finish_reason=reason,
            )
        )


def _joined(first: Piece | None, second: Piece) -> Piece:
    if first is None:
        return second
    return Piece(
        first.text + second.text, first.tokens + second.tokens, first.logprobs + second.logprobs
    )


def token_logprob(chosen: Chosen, vocabulary: Vocabulary) -> wire.TokenLogprob:
    text, raw = vocabulary.token_text(chosen.token)
    top = [wire.TopLogprob(*_named(vocabulary, token, logprob)) for token, logprob in chosen.top]
    return wire.TokenLogprob(text, chosen.logprob, raw, top)


def _named(vocabulary: Vocabulary, token: int, logprob: float) -> tuple[str, float, bytes]:
    text, raw = vocabulary.token_text(token)
    return text, logprob, raw


@dataclass(eq=False)
class Computing:
    """Tokens on their way into the cache, for one or more choices that go on from there.

    For a new request these are its prompt's, for a choice that had to give its row back also what
    it has said so far.
    """

    request: Request
    choices: Sequence[Choice]
    tokens: list[int]
    stage: Stage | None = None
    computed: int = 0
    prompt_logprobs: list[Chosen] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def echoes(self) -> bool:
        """True where the prompt's text is a part of the answer and was not sent yet."""
        return self.request.body.echo and not any(choice.tokens for choice in self.choices)

    @property
    def wants_logprobs(self) -> bool:
        return self.echoes and self.request.body.logprobs is not None

    @property
    def repeats(self) -> bool:
        """True where the same request is to be given the same answer."""
        rules = self.request.body.sampling
        return rules.temperature == 0 or rules.seed is not None

    def next_piece(self, budget: int) -> Prefill | None:
        """Give the tokens of the next step; logits of the last one, or of all if they are told."""
        count = min(self.left, budget)
        if count <= 0 or self.stage is None:
            return None
        end = self.computed + count
        if self.request.whole_images:
            end = image_end(self.tokens, end)
            count = end - self.computed
        want = count if self.wants_logprobs else int(end == len(self.tokens))
        piece = self.tokens[self.computed : end]
        places = self.request.places
        at = None if places is None else places.of(self.computed, count)
        return Prefill(self.stage, piece, self.computed, want, self.request.lora, at)

    def echo(self, vocabulary: Vocabulary) -> None:
        """Send the prompt's text in front of each choice, with its log probabilities if asked."""
        stream = TextStream()
        given = [Chosen(self.tokens[0]), *self.prompt_logprobs]
        pieces = [
            stream.push(
                vocabulary.token_bytes(token),
                token_logprob(given[at], vocabulary) if self.wants_logprobs else None,
            )
            for at, token in enumerate(self.tokens)
        ]
        whole = Piece()
        for piece in (*pieces, stream.finish()):
            whole = whole if piece is None else _joined(whole, piece)
        logprobs = whole.logprobs if self.wants_logprobs else None
        for choice in self.choices:
            delta = wire.Delta(index=choice.index, text=whole.text, logprobs=logprobs)
            self.request.send(delta)


def room_for(body: wire.Generate, prompt: Sequence[int], context: int, param: str) -> int:
    """Raises: ContextLengthExceeded, TokenBudgetExceeded."""
    asked, count = body.sampling.max_tokens, len(prompt)
    if body.echo and asked == 0 and count <= context:
        return within_budget(0, count, body)
    return within_budget(check_context(count, asked, context, param), count, body)


def shared(works: Sequence[Computing], budget: int) -> Iterator[tuple[Computing, Prefill]]:
    """Share a step among prompts: half of it to the oldest, the rest to the shortest first.

    So a short prompt passes a long one, and the long one goes on at half its speed or better.
    """
    if not works:
        return
    oldest, *later = works
    spare = budget - min(oldest.left, (budget + 1) // 2)
    for work in sorted(later, key=lambda work: work.left):
        if piece := work.next_piece(spare):
            spare, budget = spare - len(piece.tokens), budget - len(piece.tokens)
            yield work, piece
    if piece := oldest.next_piece(budget):
        yield oldest, piece
