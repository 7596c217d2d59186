"""Continuous batching: sequences join and leave a running batch at every step.

One step advances every running sequence by one token and computes a bounded piece of the waiting
prompts, so that a long prompt stalls nobody. Called by one thread only (`token_engine`).

Rounding depends on how many tokens are computed together, so a cached prefix can change an answer. A
request that is to repeat (a seed, temperature 0) and runs alone is therefore computed in blocks of one
size, and reuses nothing but such blocks.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec

import torch
from torch import Tensor

from inference import wire
from inference.engines.base import NO_NUMBERS, failed, failure_of
from inference.engines.choice import Choice, Computing, Request, shared
from inference.engines.decoder import Decode, Decoder, Prefill
from inference.engines.kv_cache import NoRoom, Stage
from inference.engines.kv_memory import KvMemory
from inference.engines.sampling import Chosen, Sampler, choose, logprob_table, read_logprobs
from inference.engines.text import TextStream
from inference.engines.vocabulary import Vocabulary
from inference.engines.worked import Most
from inference.errors import ContextLengthExceeded, EngineFailed, HubError

Parameters = ParamSpec("Parameters")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many sequences run at once, and how many prompt tokens a step may compute."""

    rows: int
    alone_tokens: int  # while no answer runs
    beside_tokens: int  # while answers run, which wait for it
    block_tokens: int = 64  # what a request that is to repeat computes at once


@dataclass(slots=True)
class Counters:
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    """What one call of the decoder computes, and for whom."""

    running: list[Choice]  # in the order of the decodes' rows
    decodes: list[Decode]
    works: list[Computing]
    prefills: list[Prefill]


class Batch:
    """All requests of a model. Invariant: a request ends with exactly one Done or Failure."""

    def __init__(
        self,
        decoder: Decoder,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        memory: KvMemory,
        limits: Limits,
    ) -> None:
        """`ends` are the tokens that end an answer."""
        self._decoder, self._vocabulary, self._ends = decoder, vocabulary, ends
        self._memory, self._limits = memory, limits
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Computing] = deque()
        self._computing: list[Computing] = []
        self._running: list[Choice] = []  # oldest first
        self.counters, self.most = Counters(), Most()

    # --- from outside ---------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        return not self._requests

    @property
    def requests(self) -> int:
        return len(self._requests)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_bytes(self) -> int:
        return self._memory.nbytes

    def add(self, request: Request, samplers: Sequence[Sampler]) -> None:
        stops = request.body.sampling.stop
        request.choices = [
            Choice(request, at, sampler, TextStream(stops)) for at, sampler in enumerate(samplers)
        ]
        self._requests[request.job.stream] = request
        self._waiting.append(Computing(request, request.choices, request.prompt))

    def cancel(self, stream: int) -> bool:
        """Stop a request; False if there is none of this number."""
        request = self._requests.get(stream)
        if request is None:
            return False
        self.counters.cancelled += 1
        self._end(request, request.done())
        return True

    def fail_all(self, error: HubError) -> None:
        for request in list(self._requests.values()):
            self._end(request, failure_of(error))

    def abandon(self, error: HubError) -> None:
        """Tell everybody the end without touching the device."""
        for request in list(self._requests.values()):
            request.ended = True
            request.job.emit(failure_of(error))
        self._requests.clear()

    def step(self) -> None:
        """Compute one step; a failure ends the requests of this step and nothing else."""
        self._admit()
        self._make_rows_fit()
        step = self._plan()
        if not (step.decodes or step.prefills):
            return
        try:
            logits = self._decoder.step(step.decodes, step.prefills)
            self.counters.steps += 1
            tokens = sum(len(piece.tokens) for piece in step.prefills)
            self.most.note(self.kv_bytes, len(step.running), tokens)
            self._deliver(step, logits)
        except Exception as error:  # noqa: BLE001 (no fault of a model may end the loop)
            self._fail_step(step, error)

    # --- who takes part -------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let waiting prompts in, first come first served, while there is room."""
        while self._waiting and self._has_rows(self._waiting[0]):
            work = self._waiting.popleft()
            if work.request.room == 0 and not work.wants_logprobs:
                self._alone(work.request, self._finish_prompt, work, None)
            elif not self._start(work):
                return

    def _has_rows(self, work: Computing) -> bool:
        taken = len(self._running) + sum(len(other.choices) for other in self._computing)
        return taken == 0 or taken + len(work.choices) <= self._limits.rows

    def _start(self, work: Computing) -> bool:
        """Give a prompt its memory; without room it waits for running sequences to leave."""
        try:
            work.stage, work.computed = self._memory.start(
                work.tokens,
                reuse=not work.wants_logprobs,
                block=self._limits.block_tokens if work.repeats else 0,
                owner=work.request.owner,
            )
        except NoRoom:
            if self._running or self._computing:
                self._waiting.appendleft(work)
            else:
                self._end(work.request, failure_of(_too_large(len(work.tokens))))
            return False
        self._computing.append(work)
        self.counters.cached_tokens += work.computed
        if not any(choice.tokens for choice in work.choices):
            work.request.cached_tokens = work.computed
        return True

    def _make_rows_fit(self) -> None:
        """Make room for each running sequence's next token; the youngest give theirs back first."""
        for choice in list(self._running):
            while choice.seat is not None:
                try:
                    self._memory.extend(choice.seat)
                    break
                except NoRoom:
                    self._give_back(self._running[-1])

    def _give_back(self, choice: Choice) -> None:
        """Take a sequence out of the batch; it is computed again when there is room."""
        self._leave(choice)
        if self._running or self._computing:
            self._wait_again(choice)
        else:
            tokens = len(choice.request.prompt) + len(choice.tokens)
            self._end(choice.request, failure_of(_too_large(tokens)))

    def _plan(self) -> _Step:
        by_seat = {id(choice.seat): choice for choice in self._running}
        step = _Step([], [], [], [])
        for table in self._memory.tables:
            choices = [by_seat[id(seat)] for seat in table.seats]
            lengths = [seat.length for seat in table.seats]
            step.running.extend(choices)
            loras = [choice.request.lora for choice in choices]
            shifts = [choice.request.shift for choice in choices]
            last = [choice.tokens[-1] for choice in choices]
            step.decodes.append(Decode(table, last, lengths, loras, shifts))
        budget = self._limits.beside_tokens if step.decodes else self._limits.alone_tokens
        if not step.decodes and len(self._computing) == 1 and self._computing[0].repeats:
            budget = self._limits.block_tokens
        for work, piece in shared(self._computing, budget):
            step.works.append(work)
            step.prefills.append(piece)
        return step

    # --- delivering -----------------------------------------------------------------------------

    def _deliver(self, step: _Step, logits: Tensor) -> None:
        rows, owners = list(range(len(step.running))), list(step.running)
        finished: list[Computing] = []
        at = len(rows)
        for work, piece in zip(step.works, step.prefills, strict=True):
            self._advance(work, piece, logits[at : at + piece.want])
            if len(step.prefills) == 1 and not step.decodes:
                self._mark_exact(piece)
            at += piece.want
            if not work.left:
                finished.append(work)
                if work.request.room:
                    rows.extend([at - 1] * len(work.choices))
                    owners.extend(work.choices)
        chosen = self._choose(logits, rows, owners)
        for choice in step.running:
            if choice.seat is not None:
                choice.seat.length += 1
        for choice, token in zip(step.running, chosen, strict=False):
            self._alone(choice.request, self._say, choice, token)
        self._seat_all(finished, chosen[len(step.running) :])

    def _advance(self, work: Computing, piece: Prefill, logits: Tensor) -> None:
        count = len(piece.tokens)
        if work.wants_logprobs:
            begin = work.computed + 1
            targets = work.tokens[begin : begin + count]
            work.prompt_logprobs += _told(logits, targets, work.request.body.logprobs or 0)
        work.computed += count
        self.counters.prompt_tokens += count

    def _mark_exact(self, piece: Prefill) -> None:
        """Note a whole block that was computed alone, behind others of its kind."""
        block = self._limits.block_tokens
        if len(piece.tokens) == block and piece.start == piece.stage.exact_tokens:
            piece.stage.exact_tokens += block

    def _choose(self, logits: Tensor, rows: list[int], owners: list[Choice]) -> list[Chosen]:
        if not owners:
            return []
        if rows != list(range(logits.shape[0])):
            logits = logits[torch.tensor(rows, device=logits.device)]
        return choose(logits, [choice.sampler for choice in owners])

    def _seat_all(self, finished: Sequence[Computing], chosen: Sequence[Chosen]) -> None:
        at = 0
        for work in finished:
            count = len(work.choices) if work.request.room else 0
            first = chosen[at : at + count] if count else None
            at += count
            self._alone(work.request, self._finish_prompt, work, first)

    def _finish_prompt(self, work: Computing, first: Sequence[Chosen] | None) -> None:
        """The prompt is computed: its choices take their rows and say their first token."""
        if work in self._computing:
            self._computing.remove(work)
        self._memory.release(work.stage)
        if work.echoes:
            work.echo(self._vocabulary)
        if first is None or work.stage is None:
            for choice in work.choices:
                choice.finish_empty()
            self._end_if_complete(work.request)
            return
        self._memory.keep_prompt(work.tokens, work.stage, work.request.owner)
        for choice, chosen in zip(work.choices, first, strict=True):
            seated = self._seat(choice, work.stage)
            self._say(choice, chosen)
            if not seated and not choice.finished:
                self._wait_again(choice)

    def _seat(self, choice: Choice, stage: Stage) -> bool:
        """Give a choice its row; False if it must wait for others to leave.

        Raises: ContextLengthExceeded.
        """
        try:
            choice.seat = self._memory.seat(stage, stage.tokens)
        except NoRoom:
            if not (self._running or self._computing):
                raise _too_large(stage.tokens) from None
            return False
        self._running.append(choice)
        return True

    def _wait_again(self, choice: Choice) -> None:
        """Queue a choice that has no row: what it said so far is computed again with its prompt."""
        tokens = [*choice.request.prompt, *choice.tokens]
        self._waiting.appendleft(Computing(choice.request, [choice], tokens))

    def _say(self, choice: Choice, chosen: Chosen) -> None:
        """Raises: EngineFailed."""
        if choice.finished or choice.request.ended:
            return
        if not chosen.sound:
            raise EngineFailed(NO_NUMBERS)
        self.counters.completion_tokens += 1
        if not choice.take(chosen, self._vocabulary, self._ends):
            return
        if choice.seat is not None and choice.index == 0:
            tokens = [*choice.request.prompt, *choice.tokens]
            self._memory.keep(tokens[: choice.seat.length], choice.seat, choice.request.owner)
        self._leave(choice)
        self._end_if_complete(choice.request)

    # --- leaving --------------------------------------------------------------------------------

    def _leave(self, choice: Choice) -> None:
        if choice.seat is not None:
            self._memory.free(choice.seat)
            choice.seat = None
            self._running.remove(choice)

    def _end_if_complete(self, request: Request) -> None:
        if not request.unfinished:
            self._end(request, request.done())

    def _end(self, request: Request, last: wire.Done | wire.Failure) -> None:
        """Take a request out, wherever it is, and tell its end."""
        if request.ended:
            return
        request.ended = True
        self._requests.pop(request.job.stream, None)
        self._waiting = deque(work for work in self._waiting if work.request is not request)
        for work in [work for work in self._computing if work.request is request]:
            self._memory.release(work.stage)
            self._computing.remove(work)
        for choice in request.choices:
            self._leave(choice)
        request.job.emit(last)

    # --- failures -------------------------------------------------------------------------------

    def _alone(
        self,
        request: Request,
        act: Callable[Parameters, None],
        *given: Parameters.args,
        **named: Parameters.kwargs,
    ) -> None:
        """Act for one request; its fault is its own."""
        try:
            act(*given, **named)
        except HubError as error:
            self._end(request, failure_of(error))
        except Exception as error:  # noqa: BLE001 (as above)
            self._end(request, failure_of(EngineFailed(f"the engine failed: {error}")))

    def _fail_step(self, step: _Step, error: Exception) -> None:
        self._memory.forget()
        failure = failed(error, "this step")
        concerned = [choice.request for choice in step.running]
        for request in [*concerned, *(work.request for work in step.works)]:
            self._end(request, failure_of(failure))


def _told(logits: Tensor, targets: Sequence[int], top: int) -> list[Chosen]:
    """Give the log probabilities of the prompt's own tokens, which follow these positions."""
    if not targets:
        return []
    tokens = torch.tensor(targets, device=logits.device)
    table: list[list[float]] = logprob_table(logits[: len(targets)].float(), tokens, top).tolist()
    told = [Chosen(token) for token in targets]
    for chosen, row in zip(told, table, strict=True):
        read_logprobs(chosen, row, top)
    return told


def _too_large(tokens: int) -> ContextLengthExceeded:
    """It was alone and did not fit: to try again would not help."""
    return ContextLengthExceeded(
        f"a sequence of {tokens} tokens does not fit into the memory that this model was given"
    )
