"""Many requests at once on the real SmolLM2 in a GGUF file: none crossed, none lost."""

import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import wire
from inference.engines import llama_choice
from inference.engines.llm_gguf import CPU_BATCH_TOKENS, LlmGguf
from inference.errors import LoadFailed
from tests.inference.engines.driving import Driver
from tests.inference.engines.gguf_asking import COUNTING, complete, finish, sampling, spec, text

COMPUTED_S = 0.2  # of a core: a batch takes several times that, the whole prompt eight batches

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver(LlmGguf(), spec(context_tokens=2_048))
    yield driver
    driver.engine.close()


def test_choices_with_a_seed_come_one_after_the_other(driver: Driver) -> None:
    """What is computed together rounds together, and may choose another word."""
    body = complete("Once upon a time", sampling(temperature=1.2, seed=3, max_tokens=12), n=3)
    first, again = driver.ask(body), driver.ask(body)
    order = [delta.index for delta in first.of(wire.Delta)]
    assert order == sorted(order)
    assert {*order} == {0, 1, 2}
    assert [text(first, index) for index in range(3)] == [text(again, index) for index in range(3)]


def test_n_choices_are_separate_and_all_counted(driver: Driver) -> None:
    body = complete("Once upon a time", sampling(temperature=1.2, seed=3, max_tokens=12), n=4)
    answer = driver.ask(body)
    assert len({text(answer, index) for index in range(4)}) > 1
    assert [finish(answer, index) for index in range(4)] == [["length"]] * 4
    assert answer.wait().usage.completion_tokens == 48


def test_forty_requests_at_once_are_not_crossed(driver: Driver) -> None:
    bodies = [
        complete(f"{i} {i} {i} {i} {i} {i} {i} {i}", sampling(max_tokens=6)) for i in range(40)
    ]
    answers = [driver.start(body) for body in bodies]
    for number, answer in enumerate(answers):
        answer.wait()
        assert set(re.findall(r"\d+", text(answer))) <= {str(number), str(number)[:1]}
        assert finish(answer) == ["length"]
    assert driver.engine.stats().running == 0


def test_a_cancel_stops_the_tokens(driver: Driver) -> None:
    before = driver.engine.stats()
    answer = driver.start(complete("Once upon a time", sampling(max_tokens=1_500, ignore_eos=True)))
    answer.wait_for(lambda: len(answer.of(wire.Delta)) >= 3)
    driver.engine.cancel(answer.stream)
    done = answer.wait()
    assert isinstance(done, wire.Done)
    assert 3 <= done.usage.completion_tokens < 200
    driver.ask(complete("Hi", sampling(max_tokens=1)))
    after = driver.engine.stats()
    assert after.cancelled_total == before.cancelled_total + 1
    made = after.completion_tokens_total - before.completion_tokens_total
    assert made == done.usage.completion_tokens + 1
    assert (after.running, after.kv_bytes) == (0, 0)


@pytest.mark.parametrize("logprobs", [None, 1])
def test_a_cancel_stops_the_prompt_within_a_batch(driver: Driver, logprobs: int | None) -> None:
    """Whoever left while the prompt was computed: the rest of it is not, and waits for nobody."""
    words = [100 + (number * 7 + (logprobs or 0)) % 40_000 for number in range(1_900)]
    asked = wire.Generate(prompt=wire.TokenPrompt(tokens=words), logprobs=logprobs)
    answer = driver.start(asked)
    began_s = time.process_time()
    while time.process_time() < began_s + COMPUTED_S:
        threading.Event().wait(0.01)
    driver.engine.cancel(answer.stream)
    assert answer.wait().usage.completion_tokens == 0
    beginning = wire.TokenPrompt(tokens=words[: 4 * CPU_BATCH_TOKENS])
    again = driver.ask(wire.Generate(prompt=beginning, sampling=sampling(max_tokens=1)))
    assert again.wait().usage.cached_tokens < 3 * CPU_BATCH_TOKENS  # else all of them


def test_a_cancel_of_a_waiting_request_answers_at_once(driver: Driver) -> None:
    long = sampling(max_tokens=1_000, ignore_eos=True)
    answers = [driver.start(complete(f"Story {i}", long)) for i in range(20)]
    for answer in answers:
        driver.engine.cancel(answer.stream)
    assert all(isinstance(answer.wait(), wire.Done) for answer in answers)
    assert driver.engine.stats().waiting == 0


def test_the_probe_is_one_real_token(driver: Driver) -> None:
    before = driver.engine.stats().completion_tokens_total
    answer = driver.ask(wire.Probe())
    assert [type(frame) for frame in answer.frames] == [wire.Done]
    assert driver.engine.stats().completion_tokens_total == before + 1


def test_it_refuses_other_work(driver: Driver) -> None:
    assert driver.failure(wire.Embed(inputs=["x"])).code == "unsupported_model"
    assert driver.failure(complete("x", sampling(logit_bias={99_999: 1.0}))).param == "logit_bias"
    assert driver.failure(complete("x", logprobs=101)).param == "logprobs"


@pytest.fixture
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open-ended answers grow in small steps, so that short ones show what long ones would."""
    monkeypatch.setattr(llama_choice, "OPEN_TOKENS", 16)


@pytest.mark.usefixtures("small_shares")
def test_a_full_cache_makes_requests_wait_and_none_fail() -> None:
    """Open-ended answers of one context each share a cache of two: they pause and go on."""
    driver = Driver(LlmGguf(), spec(context_tokens=96, kv_tokens=512))
    assert [road.lane.kv_tokens for road in driver.engine._tools.roads] == [192]  # type: ignore[attr-defined]
    open_ended = wire.Sampling(temperature=0, ignore_eos=True)
    answers = [driver.start(complete(f"Story {i}", open_ended)) for i in range(4)]
    for answer in answers:
        assert isinstance(answer.wait(), wire.Done)
        usage = answer.wait().usage
        assert finish(answer) == ["length"]
        assert usage.prompt_tokens + usage.completion_tokens == 96
    driver.engine.close()


@pytest.mark.usefixtures("small_shares")
def test_keys_and_values_in_8_bits_take_half_and_say_the_same(driver: Driver) -> None:
    packed = Driver(LlmGguf(), spec(context_tokens=2_048, kv_type="q8_0"))
    try:
        assert packed.loaded.kv_bytes == driver.loaded.kv_bytes * 17 // 32
        assert text(packed.ask(complete(COUNTING))) == text(driver.ask(complete(COUNTING)))
    finally:
        packed.engine.close()


def test_it_refuses_a_type_of_keys_and_values_that_changes_answers() -> None:
    with pytest.raises(LoadFailed, match="f16, q8_0"):
        Driver(LlmGguf(), spec(kv_type="q4_0"))


def test_an_answer_that_outgrows_its_slot_goes_on_in_the_shared_cache() -> None:
    driver = Driver(LlmGguf(), spec(context_tokens=1_024, kv_tokens=4_096, concurrency=8))
    assert [road.lane.room_tokens for road in driver.engine._tools.roads] == [255, 1_024]  # type: ignore[attr-defined]
    prompt = ("1 2 3 4 " * 28).strip()
    grown = driver.start(complete(prompt, wire.Sampling(temperature=0, ignore_eos=True)))
    grown.wait_for(lambda: sum(delta.tokens for delta in grown.of(wire.Delta)) > 60)
    driver.engine.cancel(grown.stream)
    usage = grown.wait().usage
    assert usage.prompt_tokens < 255 < usage.prompt_tokens + 60
    assert text(grown).strip() in "1 2 3 4 " * 28  # nothing lost or doubled at the seam
    driver.engine.close()


def test_it_fails_what_is_left_when_it_closes() -> None:
    driver = Driver(LlmGguf(), spec(context_tokens=512))
    long = sampling(max_tokens=400, ignore_eos=True)
    answers = [driver.start(complete(f"Story {i}", long)) for i in range(20)]
    driver.engine.close()
    assert {answer.wait().code for answer in answers} == {"engine_failed"}
    assert driver.failure(complete("late")).code == "engine_failed"


def test_a_load_cleans_up_after_an_engine_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "hub-llama-killed"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(str(folder / "s.sock"))
    driver = Driver(LlmGguf(), spec(context_tokens=256, concurrency=1))
    alive = list(tmp_path.iterdir())
    driver.engine.close()
    assert len(alive) == 1
    assert folder not in alive
    assert list(tmp_path.iterdir()) == []
