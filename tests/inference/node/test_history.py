"""What the node remembers of its last minutes, and to whom it tells it."""

from inference import wire
from inference.node.history import MOMENTS, STEP_S, History
from tests.inference.node.nodes import Node, ask, fake, generate, watching


def state(at: float, requests: int = 0, running: int = 0) -> wire.Snapshot:
    model = wire.ModelStatus(
        name="m",
        version="",
        state="ready",
        kind="llm",
        engine="fake",
        requests_total=requests,
        running=running,
    )
    return wire.Snapshot(at=at, models=[model])


def test_rates_come_from_totals_and_peaks_are_kept() -> None:
    history = History()
    history.note(state(100.0, requests=3), tokens_total=40)
    history.see_running(2)
    history.note(state(104.0, requests=8), tokens_total=60)
    history.note(state(106.0, requests=8), tokens_total=60)
    rows = [(m.tokens_per_s, m.requests, m.running) for m in history.after(0.0)]
    assert rows == [(40 / STEP_S, 3, 0), (5.0, 5, 2), (0.0, 0, 0)]


def test_it_keeps_five_minutes() -> None:
    history = History()
    for number in range(MOMENTS + 7):
        history.note(state(1.0 + number * STEP_S), tokens_total=0)
    assert len(history.after(0.0)) == MOMENTS
    assert [m.at for m in history.after(1.0 + STEP_S * (MOMENTS + 5))] == [
        1.0 + STEP_S * (MOMENTS + 6)
    ]


async def test_a_late_watcher_sees_short_answers_that_are_over(node: Node) -> None:
    for number in range(5):
        await ask(node, generate(fake("brief"), f"a b {number}", 20))
    seen: list[wire.Moment] = []
    async with watching(node) as first:
        while sum(m.requests for m in seen) < 5 or sum(m.tokens_per_s for m in seen) * STEP_S < 90:
            seen += (await anext(first)).history
    assert max(m.running for m in seen) == 1
    async with watching(node) as late:
        told = (await anext(late)).history
        assert told[: len(seen)] == seen
        assert all(m.at > told[-1].at for m in (await anext(late)).history)


async def test_a_single_question_is_not_told_the_past(node: Node) -> None:
    async with node.talk() as talk:
        talk.send(wire.Watch())
        assert (await talk.until(wire.Snapshot)).history == []
