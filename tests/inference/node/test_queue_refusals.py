"""Who would wait in a ready model's queue for longer than its deadline is told at once, and nobody else."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import DeadlineExceeded, HubError
from inference.node import pace
from tests.inference.node.worlds import World, spec


@dataclass
class Desk:
    """One loaded model whose answers take as long as a test says; the next to end is known."""

    slots: int = 1
    world: World = field(default_factory=World)
    ends: list[tuple[float, int]] = field(default_factory=list)
    served: int = 0

    def ask(self, deadline_s: float = 1e6) -> HubError | None:
        """Give the refusal that comes at once, if one does."""
        model = spec("m", max_concurrency=self.slots, max_queue=1_000)
        ticket = self.world.request(model, deadline_s=deadline_s)
        self.world.settle()
        return self.world.ended.get(ticket)

    def work_until(self, until: float, takes_s: Sequence[float]) -> None:
        """Let what is being answered end in its time, one after another."""
        self.begin(takes_s)
        while self.ends and self.ends[0][0] <= until:
            at, ticket = heapq.heappop(self.ends)
            self.world.now = max(self.world.now, at)
            self.world.tick()
            self.world.serve(ticket)
            self.served += 1
            self.begin(takes_s)
        self.world.now = max(self.world.now, until)
        self.world.tick()

    def begin(self, takes_s: Sequence[float]) -> None:
        known = {ticket for _, ticket in self.ends}
        for ticket in sorted(set(self.world.running) - known):
            takes = takes_s[ticket % len(takes_s)]
            heapq.heappush(self.ends, (self.world.now + takes, ticket))

    def learn(self, answers: int, takes_s: Sequence[float]) -> None:
        for _ in range(answers):
            self.ask()
            self.work_until(self.world.now + max(takes_s), takes_s)

    def next_start(self, takes_s: float) -> float:
        """Say when a request that joined the queue now would begin, if nobody in it left but at its deadline."""
        ends = sorted(at for at, _ in self.ends)
        free_at = [self.world.now] * (self.slots - len(ends)) + ends
        for waiting in self.world.scheduler.models["m"].queue:
            if free_at[0] < waiting.deadline_at:
                free_at = sorted([*free_at[1:], free_at[0] + takes_s])
        return free_at[0]


def test_it_refuses_at_once_and_says_when_to_come_back() -> None:
    desk = Desk()
    desk.learn(pace.ENOUGH, [2.0])
    assert not any(desk.ask() for _ in range(11))
    refused = desk.ask(deadline_s=10.0)
    assert isinstance(refused, DeadlineExceeded)
    assert "10 requests wait before this one for m, in all about 22 s" in refused.message
    assert refused.retry_after_s == 12.0
    assert desk.ask(deadline_s=25.0) is None


def test_a_few_answers_are_no_evidence() -> None:
    desk = Desk()
    desk.learn(pace.ENOUGH - 1, [100.0])
    assert not any(desk.ask(deadline_s=1.0) for _ in range(50))


def test_old_answers_are_no_evidence() -> None:
    desk = Desk()
    desk.learn(pace.ENOUGH, [10.0])
    desk.world.tick(pace.FRESH_S)
    assert not any(desk.ask(deadline_s=1.0) for _ in range(50))


def test_uneven_answers_need_a_longer_queue() -> None:
    def refused_at(takes_s: Sequence[float]) -> int:
        desk = Desk()
        desk.learn(pace.SEEN, takes_s)
        return next(count for count in range(500) if desk.ask(deadline_s=30.0))

    assert refused_at([2.0]) < refused_at([0.5, 3.5]) < 100


def test_it_goes_on_refusing_until_the_queue_is_clearly_shorter() -> None:
    uneven = [1.0, 3.0]
    desk = Desk()
    desk.learn(pace.SEEN, uneven)
    model = desk.world.scheduler.models["m"]
    while desk.ask(deadline_s=30.0) is None:
        pass
    longest = len(model.queue)
    desk.work_until(desk.world.now + 4.0, uneven)
    assert len(model.queue) < longest
    assert desk.ask(deadline_s=30.0), "a little shorter is not enough"
    desk.work_until(desk.world.now + 60.0, uneven)
    assert desk.ask(deadline_s=30.0) is None


def test_those_who_leave_before_their_turn_are_not_counted() -> None:
    desk = Desk()
    desk.learn(pace.ENOUGH - 1, [10.0])
    for _ in range(30):
        desk.ask(deadline_s=11.0)
    desk.work_until(desk.world.now + 10.0, [10.0])
    assert desk.ask(deadline_s=15.0) is None


@settings(deadline=None)
@given(
    slots=st.integers(1, 4),
    takes_s=st.floats(0.1, 60.0),
    arrivals=st.lists(
        st.tuples(st.floats(0.0, 30.0), st.floats(0.5, 200.0)), min_size=20, max_size=120
    ),
)
def test_nobody_is_refused_who_would_have_begun_an_answer_before_its_deadline(
    slots: int, takes_s: float, arrivals: list[tuple[float, float]]
) -> None:
    """One answer is the error where others leave the queue shortly before their turn."""
    desk = Desk(slots)
    for pause_s, deadline_s in arrivals:
        desk.work_until(desk.world.now + pause_s, [takes_s])
        start = desk.next_start(takes_s) if "m" in desk.world.scheduler.models else 0.0
        if desk.ask(deadline_s) is not None:
            assert desk.served >= pace.ENOUGH
            assert start > desk.world.now + deadline_s - takes_s - 1e-6
        desk.begin([takes_s])


@settings(deadline=None)
@given(
    slots=st.integers(1, 4),
    takes_s=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=9),
    arrivals=st.lists(
        st.tuples(st.floats(0.0, 30.0), st.floats(0.5, 200.0)), min_size=1, max_size=120
    ),
)
def test_whoever_is_not_refused_is_answered_or_told_at_its_deadline(
    slots: int, takes_s: list[float], arrivals: list[tuple[float, float]]
) -> None:
    desk = Desk(slots)
    for pause_s, deadline_s in arrivals:
        desk.work_until(desk.world.now + pause_s, takes_s)
        desk.ask(deadline_s)
    desk.work_until(desk.world.now + 1e5, takes_s)
    assert not desk.world.waiting
    assert not desk.world.running
    assert len(desk.world.ended) == len(arrivals)
