"""What one request can ask of the transformers engine, and that it gets exactly that."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import AddedToken

from inference import wire
from inference.engines.base import Job
from inference.engines.vocabulary import Vocabulary

from . import small_tokenizers, tiny_models
from .driving import Driver
from .generating import (
    ask_tokens,
    deltas_of,
    drive,
    said,
    shown,
    some_tokens,
    text_of,
    usage_of,
)
from .tiny_models import VOCAB, Reference

VOCABULARY = Vocabulary(small_tokenizers.byte_level())
PROMPT = some_tokens(12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


@pytest.fixture(scope="module")
def driver(folder: Path) -> Iterator[Driver]:
    driver = drive(folder)
    yield driver
    driver.engine.close()


def finish_of(driver: Driver, body: wire.Generate) -> tuple[str, str | None]:
    answer = driver.ask(body)
    return text_of(answer), deltas_of(answer)[-1].finish_reason


# --- ends -------------------------------------------------------------------------------------------


def test_it_ends_at_the_asked_length(driver: Driver) -> None:
    answer = driver.ask(ask_tokens(PROMPT, 7))
    assert deltas_of(answer)[-1].finish_reason == "length"
    assert [d.finish_reason for d in deltas_of(answer)[:-1]].count(None) == len(
        deltas_of(answer)[:-1]
    )
    usage = usage_of(answer)
    assert (usage.prompt_tokens, usage.completion_tokens) == (12, 7)
    assert sum(delta.tokens for delta in deltas_of(answer)) == 7


def test_it_ends_at_the_context_limit(driver: Driver) -> None:
    answer = driver.ask(ask_tokens(some_tokens(500), None))
    assert usage_of(answer).completion_tokens == 12
    assert driver.failure(ask_tokens(some_tokens(500), 13)).code == "context_length_exceeded"
    assert driver.failure(ask_tokens(some_tokens(512), None)).code == "context_length_exceeded"


def test_it_ends_at_a_stop_string(driver: Driver, reference: Reference) -> None:
    full = shown(VOCABULARY, reference.greedy(PROMPT, 40))
    stop = full[20:23]
    text, reason = finish_of(driver, ask_tokens(PROMPT, 40, stop=["never", stop]))
    assert (text, reason) == (full[: full.index(stop)], "stop")


def test_it_ends_at_an_end_token_unless_told_to_ignore_it(
    tmp_path: Path, reference: Reference
) -> None:
    greedy = reference.greedy(PROMPT, 20)
    end = next(token for at, token in enumerate(greedy) if token not in greedy[:at] and at > 3)
    driver = drive(tiny_models.make(tmp_path, "llama", eos_token_id=end))
    try:
        stopped = driver.ask(ask_tokens(PROMPT, 20, ignore_eos=False))
        assert deltas_of(stopped)[-1].finish_reason == "stop"
        assert text_of(stopped) == shown(VOCABULARY, greedy[: greedy.index(end)])
        assert usage_of(stopped).completion_tokens == greedy.index(end) + 1
        ignored = driver.ask(ask_tokens(PROMPT, 20))
        assert text_of(ignored) == shown(VOCABULARY, greedy)
    finally:
        driver.engine.close()


# --- sampling ---------------------------------------------------------------------------------------


def test_it_repeats_a_seeded_answer_in_any_batch(driver: Driver) -> None:
    rules = {"temperature": 1.0, "top_p": 0.9, "seed": 11}
    alone = text_of(driver.ask(ask_tokens(PROMPT, 30, **rules)))
    others = [
        driver.start(ask_tokens(some_tokens(9 + at, seed=at), 25, temperature=1.2, seed=at))
        for at in range(6)
    ]
    beside = driver.start(ask_tokens(PROMPT, 30, **rules))
    for answer in [*others, beside]:
        answer.wait()
    assert text_of(beside) == alone
    other_seed = ask_tokens(PROMPT, 30, **{**rules, "seed": 12})
    assert text_of(driver.ask(other_seed)) != alone


def test_it_varies_without_a_seed(driver: Driver) -> None:
    answers = {text_of(driver.ask(ask_tokens(PROMPT, 20, temperature=1.5))) for _ in range(4)}
    assert len(answers) == 4


def test_it_gives_each_choice_its_own_answer_for_one_prompt(driver: Driver) -> None:
    body = ask_tokens(some_tokens(100, seed=77), 10, n=3, temperature=1.3, seed=5)
    answer = driver.ask(body)
    texts = [text_of(answer, index) for index in range(3)]
    assert len(set(texts)) == 3
    usage = usage_of(answer)
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, 30)
    assert (
        text_of(driver.ask(ask_tokens(some_tokens(100, seed=77), 10, temperature=1.3, seed=5)))
        == texts[0]
    )


def test_it_takes_only_the_likeliest_with_narrow_rules(
    driver: Driver, reference: Reference
) -> None:
    greedy = shown(VOCABULARY, reference.greedy(PROMPT, 20))
    for rules in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}):
        body = ask_tokens(PROMPT, 20, **{"temperature": 1.0, "seed": 1, **rules})
        assert text_of(driver.ask(body)) == greedy, rules


def test_it_obeys_bias_and_penalties(driver: Driver) -> None:
    forced = driver.ask(ask_tokens(PROMPT, 5, logprobs=0, logit_bias={9: 100.0}))
    assert {raw for _, raw in said(forced)} == {VOCABULARY.token_bytes(9)}
    banned = {said(driver.ask(ask_tokens(PROMPT, 1, logprobs=0)))[0][1]}
    first = next(t for t in range(VOCAB) if {VOCABULARY.token_bytes(t)} == banned)
    other = driver.ask(ask_tokens(PROMPT, 1, logprobs=0, logit_bias={first: -100.0}))
    assert {said(other)[0][1]} != banned
    held = driver.ask(
        ask_tokens(PROMPT, 30, logprobs=0, logit_bias={9: 30.0, 10: 29.0}, frequency_penalty=2.0)
    )
    raws = [raw for _, raw in said(held)]
    assert raws[:4] == [VOCABULARY.token_bytes(t) for t in (9, 10, 9, 10)]
    unrepeated = driver.ask(ask_tokens(PROMPT, 30, logprobs=0, repetition_penalty=1e6))
    raws = [raw for _, raw in said(unrepeated)]
    assert len(set(raws)) == len(raws)


def test_it_refuses_a_bias_on_a_token_that_is_not_there(driver: Driver) -> None:
    failure = driver.failure(ask_tokens(PROMPT, 5, logit_bias={VOCAB: 1.0}))
    assert (failure.code, failure.param) == ("invalid_value", "logit_bias")


# --- log probabilities ------------------------------------------------------------------------------


def test_it_tells_the_log_probabilities_of_the_model(driver: Driver, reference: Reference) -> None:
    tokens = reference.greedy(PROMPT, 8)
    table = reference.logprobs([*PROMPT, *tokens])[len(PROMPT) - 1 : -1]
    body = ask_tokens(PROMPT, 8, logprobs=4)
    told = [lp for delta in deltas_of(driver.ask(body)) for lp in delta.logprobs or []]
    best = table.topk(4, -1)
    for at, (logprob, token) in enumerate(zip(told, tokens, strict=True)):
        assert logprob.logprob == pytest.approx(float(table[at, token]), abs=1e-3)
        assert [top.logprob for top in logprob.top] == pytest.approx(
            best.values[at].tolist(), abs=1e-3
        )
        assert logprob.top[0].raw == logprob.raw


def test_it_echoes_the_prompt_with_its_log_probabilities(
    driver: Driver, reference: Reference
) -> None:
    tokens = reference.greedy(PROMPT, 3)
    answer = driver.ask(ask_tokens(PROMPT, 3, echo=True, logprobs=1))
    assert text_of(answer) == shown(VOCABULARY, PROMPT) + shown(VOCABULARY, tokens)
    told = [lp for delta in deltas_of(answer) for lp in delta.logprobs or []]
    assert told[0].logprob is None
    table = reference.logprobs(PROMPT)
    expected = [float(table[at, token]) for at, token in enumerate(PROMPT[1:])]
    found = [lp.logprob for lp in told[1 : len(PROMPT)]]
    assert found == pytest.approx(expected, abs=1e-3)
    assert sum(delta.tokens for delta in deltas_of(answer)) == 3
    only = driver.ask(ask_tokens(PROMPT, 0, echo=True, logprobs=1))
    assert text_of(only) == shown(VOCABULARY, PROMPT)
    assert deltas_of(only)[-1].finish_reason == "length"
    assert usage_of(only).completion_tokens == 0
    whole = driver.ask(ask_tokens(some_tokens(512), 0, echo=True, logprobs=0))
    assert usage_of(whole).prompt_tokens == 512


# --- manners ----------------------------------------------------------------------------------------


def test_it_stops_within_a_step_when_cancelled(driver: Driver) -> None:
    answer = driver.start(ask_tokens(PROMPT, 480))
    answer.wait_for(lambda: len(answer.frames) >= 3)
    before = driver.engine.stats().cancelled_total
    driver.engine.cancel(answer.stream)
    usage = usage_of(answer)
    assert 3 <= usage.completion_tokens < 480
    assert driver.engine.stats().cancelled_total == before + 1
    seen = len(answer.frames)
    driver.ask(ask_tokens(PROMPT, 5))
    assert len(answer.frames) == seen


def test_it_survives_a_listener_that_fails(driver: Driver) -> None:
    frames: list[wire.Any] = []

    def emit(frame: wire.Any) -> None:
        frames.append(frame)
        if isinstance(frame, wire.Delta):
            raise ConnectionResetError("gone")

    driver.engine.submit(Job(10**6, ask_tokens(PROMPT, 30), emit))
    assert usage_of(driver.ask(ask_tokens(PROMPT, 30))).completion_tokens == 30
    assert isinstance(frames[-1], wire.Failure)


def test_it_answers_a_probe_with_one_real_token(driver: Driver) -> None:
    answer = driver.ask(wire.Probe())
    assert [type(frame) for frame in answer.frames] == [wire.Done]
    assert usage_of(answer).completion_tokens == 1


def test_it_refuses_what_it_cannot_do(driver: Driver) -> None:
    assert driver.failure(wire.Embed(inputs=["x"])).code == "unsupported_model"
    assert driver.failure(ask_tokens([VOCAB], 1)).code == "invalid_value"
    assert driver.failure(ask_tokens(PROMPT, 1, n=100000)).code == "invalid_value"


def test_it_leaves_nothing_in_the_batch(driver: Driver) -> None:
    driver.ask(ask_tokens(PROMPT, 5))
    stats = driver.engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert not driver.engine._memory.tables  # type: ignore[attr-defined]


def test_it_fails_running_requests_when_it_closes(folder: Path) -> None:
    driver = drive(folder)
    answer = driver.start(ask_tokens(PROMPT, 490))
    answer.wait_for(lambda: bool(answer.frames))
    driver.engine.close()
    last = answer.wait()
    assert isinstance(last, wire.Failure)
    assert last.code == "engine_failed"
    assert driver.failure(ask_tokens(PROMPT, 1)).code == "engine_failed"


def test_it_computes_bfloat16_close_to_float32(folder: Path, reference: Reference) -> None:
    driver = drive(folder, dtype="bfloat16")
    try:
        answer = driver.ask(ask_tokens(PROMPT, 1, logprobs=5))
        table = reference.logprobs(PROMPT)[-1]
        told = deltas_of(answer)[-1].logprobs or []
        named = {VOCABULARY.token_text(t)[1]: float(table[t]) for t in range(VOCAB)}
        for top in told[0].top:
            assert top.logprob == pytest.approx(named[top.raw], abs=0.5)
        assert driver.loaded.dtype == "bfloat16"
    finally:
        driver.engine.close()


def test_an_open_answer_ends_where_limits_leave_no_more(driver: Driver) -> None:
    answer = driver.ask(ask_tokens(PROMPT, None, n=2, budget=len(PROMPT) + 15))
    assert deltas_of(answer)[-1].finish_reason == "length"
    assert usage_of(answer).completion_tokens == 2 * 7
    beyond = driver.ask(ask_tokens(PROMPT, None, budget=1_000_000))  # the context ends first
    assert deltas_of(beyond)[-1].finish_reason == "length"


def test_a_prompt_that_limits_leave_no_answer_to_is_refused(driver: Driver) -> None:
    refused = driver.ask(ask_tokens(PROMPT, 9, budget=len(PROMPT))).wait()
    assert (refused.code, refused.prompt_tokens) == ("token_budget_exceeded", len(PROMPT))


def test_a_token_without_a_vector_is_its_own_requests_fault(tmp_path: Path) -> None:
    """The step of others goes on: it was one request's token that ended all of them."""
    folder = tiny_models.make(tmp_path, "llama")
    tokenizer = small_tokenizers.byte_level.__wrapped__()
    tokenizer.add_tokens([AddedToken("<image>", special=True, normalized=False)])
    tokenizer.save_pretrained(folder)
    driver = drive(folder)
    try:
        good = driver.start(ask_tokens([1, 2, 3], 40))
        good.wait_for(lambda: good.frames)
        failure = driver.failure(ask_tokens([tiny_models.VOCAB], 4))
        assert (failure.code, failure.param) == ("invalid_value", "prompt")
        assert f"vectors for {tiny_models.VOCAB} tokens only" in failure.message
        assert isinstance(good.wait(), wire.Done)
    finally:
        driver.engine.close()
