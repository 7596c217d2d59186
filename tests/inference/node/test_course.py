"""A model's last hour: what ended within each half minute, and how long it took."""

from inference import wire
from inference.node.course import MODELS, SAMPLES, STEP_S, STEPS, Courses

NOON = 1_800_000_000.0


def note(
    courses: Courses, at: float, first_s: float = 0.1, tokens: int = 11, name: str = "m"
) -> None:
    timing = wire.Timing(queue_s=0.5, first_s=first_s, total_s=first_s + 2.0)
    courses.note(name, timing, wire.Usage(prompt_tokens=3, completion_tokens=tokens), at)


def test_it_tells_counts_and_times_of_each_step() -> None:
    courses = Courses()
    for n in range(20):
        note(courses, NOON, first_s=0.1 * (n + 1))
    courses.note("m", None, wire.Usage(), NOON + 1)
    note(courses, NOON + STEP_S)
    course = courses.of("m", NOON + STEP_S)
    first, second = course.steps
    assert (first.requests, first.failures, second.requests) == (21, 1, 1)
    assert (first.prompt_tokens, first.completion_tokens) == (60, 220)
    assert first.first_p50_s is not None
    assert first.first_p95_s is not None
    assert round(first.first_p50_s, 3) == 1.5, "the tenth of twenty, with half a second of queue"
    assert round(first.first_p95_s, 3) == 2.4
    assert first.tokens_per_s == 5.0, "ten after the first, in two seconds"
    assert (course.whole.requests, course.whole.failures) == (22, 1)
    assert second.at - first.at == STEP_S


def test_an_hour_later_it_is_forgotten() -> None:
    courses = Courses()
    note(courses, NOON)
    last = NOON + STEP_S * (STEPS - 1)
    assert courses.of("m", last).whole.requests == 1
    after = courses.of("m", last + STEP_S)
    assert (after.steps, after.whole.requests, after.whole.first_p50_s) == ([], 0, None)
    assert courses.of("nobody", NOON).steps == []


def test_it_holds_no_more_than_it_may() -> None:
    courses = Courses()
    for n in range(SAMPLES * 4):
        note(courses, NOON, first_s=float(n))
    (step,) = courses.of("m", NOON).steps
    assert step.requests == SAMPLES * 4
    assert step.first_p50_s is not None
    assert step.first_p50_s > SAMPLES * 3, "the newest count"
    for n in range(MODELS):
        note(courses, NOON, name=f"m{n}")
    assert courses.of("m", NOON).steps == []
    assert courses.of(f"m{MODELS - 1}", NOON).whole.requests == 1


def test_a_single_token_has_no_rate() -> None:
    courses = Courses()
    note(courses, NOON, tokens=1)
    assert courses.of("m", NOON).whole.tokens_per_s is None
