"""Text generation with the real SmolLM2 in a GGUF file."""

import math
from collections.abc import Iterator

import pytest

from inference import wire
from inference.engines.llm_gguf import LlmGguf
from inference.errors import LoadFailed, OutOfMemory
from tests import models
from tests.inference.engines.driving import Driver
from tests.inference.engines.gguf_asking import (
    COUNTING,
    EOS,
    GREEDY,
    NEWLINE,
    SPACE,
    chat,
    complete,
    finish,
    logprobs,
    sampling,
    spec,
    text,
)

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver(LlmGguf(), spec(context_tokens=2_048))
    yield driver
    driver.engine.close()


# --- loading --------------------------------------------------------------------------------------


def test_it_says_what_it_loaded(driver: Driver) -> None:
    loaded = driver.loaded
    assert (loaded.dtype, loaded.device, loaded.context_tokens) == ("Q4_1", "cpu", 2_048)
    assert loaded.weights_bytes == models.smollm2_gguf().stat().st_size
    slots, tokens = 17, 2_048 + 256
    assert loaded.kv_bytes == slots * tokens * 23_040  # 2 x 30 layers x 3 heads x 64 x 2 bytes
    assert loaded.memory_bytes > loaded.weights_bytes
    assert "chat" in loaded.capabilities


def test_it_refuses_a_file_that_is_no_gguf(tmp_path: object) -> None:
    wrong = wire.ModelSpec(name="x", kind="llm", engine="llm_gguf", path=__file__)
    with pytest.raises(LoadFailed, match="GGUF"):
        Driver(LlmGguf(), wrong)


def test_it_refuses_memory_that_is_too_small() -> None:
    with pytest.raises(OutOfMemory):
        Driver(LlmGguf(), spec(), memory_bytes=200 * 1024**2)


# --- sampling -------------------------------------------------------------------------------------


def test_it_answers_a_chat(driver: Driver) -> None:
    answer = driver.ask(chat("What is the capital of France? Answer in one word."))
    assert "Paris" in text(answer)


def test_it_ends_at_the_end_of_the_answer(driver: Driver) -> None:
    answer = driver.ask(
        chat("What is the capital of France? Answer in one word.", sampling(max_tokens=200))
    )
    assert finish(answer) == ["stop"]
    assert "<|im_end|>" not in text(answer)


def test_greedy_repeats(driver: Driver) -> None:
    answers = [text(driver.ask(complete("Once upon a time"))) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(answers[0]) > 20


def test_a_seed_repeats_and_another_differs(driver: Driver) -> None:
    def story(seed: int) -> str:
        return text(driver.ask(complete("Once upon a time", sampling(temperature=1.0, seed=seed))))

    assert story(7) == story(7)
    assert len({story(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_a_narrow_sampler_is_greedy(driver: Driver, narrow: dict[str, float]) -> None:
    sampled = driver.ask(complete("The sky is", sampling(temperature=1.5, seed=1, **narrow)))
    assert text(sampled) == text(driver.ask(complete("The sky is")))


def test_a_high_temperature_changes_the_answer(driver: Driver) -> None:
    hot = driver.ask(complete("The sky is", sampling(temperature=2.0, seed=1)))
    assert text(hot) != text(driver.ask(complete("The sky is")))


def test_an_open_answer_ends_where_limits_leave_no_more(driver: Driver) -> None:
    rules = sampling(max_tokens=None, ignore_eos=True)
    answer = driver.ask(complete("Once upon a time", rules, n=2, budget=14))
    assert finish(answer) == finish(answer, 1) == ["length"]
    usage = answer.wait().usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (4, 10)


def test_a_prompt_that_limits_leave_no_answer_to_is_refused(driver: Driver) -> None:
    refused = driver.ask(complete("Once upon a time", budget=4)).wait()
    assert (refused.code, refused.prompt_tokens) == ("token_budget_exceeded", 4)


def test_max_tokens_ends_with_length_and_is_counted(driver: Driver) -> None:
    answer = driver.ask(complete("Once upon a time", sampling(max_tokens=5)))
    assert finish(answer) == ["length"]
    assert answer.wait().usage.completion_tokens == 5
    assert sum(delta.tokens for delta in answer.of(wire.Delta)) == 5


def test_ignore_eos_goes_on(driver: Driver) -> None:
    bias = {EOS: 100.0}
    assert finish(driver.ask(complete("Hi", sampling(logit_bias=bias)))) == ["stop"]
    answer = driver.ask(chat("Say hi.", sampling(max_tokens=60, ignore_eos=True)))
    assert finish(answer) == ["length"]
    assert answer.wait().usage.completion_tokens == 60


def test_a_bias_bans_and_forces(driver: Driver) -> None:
    assert text(driver.ask(complete(COUNTING))).startswith(" 4")
    banned = text(driver.ask(complete(COUNTING, sampling(logit_bias={SPACE: -100.0}))))
    assert not banned.startswith(" 4")
    forced = driver.ask(complete(COUNTING, sampling(logit_bias={NEWLINE: 100.0}, max_tokens=4)))
    assert text(forced) == "\n\n\n\n"


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_openais_penalties_count_what_was_generated_and_not_the_prompt(
    driver: Driver, penalty: str
) -> None:
    plain = text(driver.ask(complete(COUNTING, sampling(max_tokens=24))))
    body = complete(COUNTING, sampling(max_tokens=24, **{penalty: 2.0}))
    punished = text(driver.ask(body))
    assert punished.startswith(" 4")  # the prompt has " " and "4" many times
    assert plain.count("4") > punished.count("4")


def test_a_repetition_penalty_changes_the_answer(driver: Driver) -> None:
    answer = driver.ask(complete(COUNTING, sampling(repetition_penalty=1.8)))
    assert not text(answer).startswith(" 4")


# --- stop strings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [None, 0])
def test_a_stop_string_never_leaks(driver: Driver, exact: int | None) -> None:
    whole = text(driver.ask(complete(COUNTING, sampling(max_tokens=20))))
    assert " 4 1 2 3" in whole
    body = complete(COUNTING, sampling(max_tokens=20, stop=["1 2 3", "zz"]), logprobs=exact)
    answer = driver.ask(body)
    assert text(answer) == " 4 "
    assert finish(answer) == ["stop"]
    assert answer.wait().usage.completion_tokens < 20


def test_a_prefix_of_a_stop_string_comes_at_the_end(driver: Driver) -> None:
    answer = driver.ask(complete(COUNTING, sampling(max_tokens=4, stop=["1 but not this"])))
    assert text(answer) == " 4 1"
    assert finish(answer) == ["length"]


# --- logprobs -------------------------------------------------------------------------------------


def test_logprobs_are_probabilities_of_what_was_chosen(driver: Driver) -> None:
    answer = driver.ask(complete("The sky is", sampling(max_tokens=8), logprobs=5))
    entries = logprobs(answer)
    assert "".join(entry.token for entry in entries) == text(answer)
    for entry in entries:
        assert entry.logprob == entry.top[0].logprob  # greedy takes the best
        assert [item.logprob for item in entry.top] == sorted(
            (item.logprob for item in entry.top), reverse=True
        )
        assert 0 < sum(math.exp(item.logprob) for item in entry.top) <= 1 + 1e-4


def test_logprobs_of_many_alternatives_sum_to_one(driver: Driver) -> None:
    answer = driver.ask(complete(COUNTING, sampling(max_tokens=4), logprobs=100))
    for entry in logprobs(answer):
        assert sum(math.exp(item.logprob) for item in entry.top) == pytest.approx(1, abs=0.05)


def test_sampled_logprobs_do_not_depend_on_the_temperature(driver: Driver) -> None:
    bias = {NEWLINE: 100.0}
    cold, hot = (
        logprobs(
            driver.ask(
                complete(
                    "The sky is", sampling(temperature=t, logit_bias=bias, max_tokens=1), logprobs=0
                )
            )
        )[0]
        for t in (0.5, 1.5)
    )
    assert cold.logprob == pytest.approx(hot.logprob, abs=1e-3)
    assert cold.logprob is not None
    assert cold.logprob < -1  # the model's own opinion, not the bias
    assert cold.top == []


def test_every_token_of_a_character_has_its_logprob(driver: Driver) -> None:
    body = complete("Emojis: 😀 🦧 🌋 🦥", sampling(max_tokens=9), logprobs=2)
    answer = driver.ask(body)
    entries = logprobs(answer)
    assert b"".join(entry.raw for entry in entries).decode(errors="replace") == text(answer)
    assert len(entries) == 9
    assert any("\ufffd" in entry.token for entry in entries)
    assert all(entry.logprob == pytest.approx(entry.top[0].logprob) for entry in entries)


def test_the_exact_way_and_the_fast_way_agree(driver: Driver) -> None:
    fast = driver.ask(complete("Once upon a time", sampling(max_tokens=24)))
    exact = driver.ask(complete("Once upon a time", sampling(max_tokens=24), logprobs=0))
    assert text(fast) == text(exact)
    assert fast.wait().usage.completion_tokens == exact.wait().usage.completion_tokens


def test_echo_with_logprobs_is_refused(driver: Driver) -> None:
    failure = driver.failure(complete("Hi", logprobs=0, echo=True))
    assert (failure.code, failure.param) == ("unsupported_parameter", "echo")


# --- prompts --------------------------------------------------------------------------------------


def test_echo_shows_the_prompt_first(driver: Driver) -> None:
    plain = driver.ask(complete("The sky is", sampling(max_tokens=3)))
    echoed = driver.ask(complete("The sky is", sampling(max_tokens=3), echo=True))
    assert text(echoed) == "The sky is" + text(plain)
    nothing = driver.ask(complete("The sky is", sampling(max_tokens=0), echo=True))
    assert (text(nothing), finish(nothing)) == ("The sky is", ["length"])


def test_special_tokens_in_user_text_are_text(driver: Driver) -> None:
    plain = driver.ask(chat("A B")).wait().usage.prompt_tokens
    injected = driver.ask(chat("A <|im_end|> B")).wait().usage.prompt_tokens
    assert injected - plain >= 5  # < | im _ end | >
    raw = driver.ask(complete("<|im_end|>", sampling(max_tokens=1))).wait()
    assert raw.usage.prompt_tokens >= 5


def test_token_prompts_are_the_models_own_ids(driver: Driver) -> None:
    as_text = driver.ask(complete("The sky is"))
    ids = driver.engine._encoder.encode(wire.TextPrompt(text="The sky is"))  # type: ignore[attr-defined]
    as_ids = driver.ask(wire.Generate(prompt=wire.TokenPrompt(tokens=ids), sampling=GREEDY))
    assert text(as_ids) == text(as_text)
    failure = driver.failure(wire.Generate(prompt=wire.TokenPrompt(tokens=[49_152])))
    assert (failure.code, failure.param) == ("invalid_value", "prompt")


def test_characters_are_never_split(driver: Driver) -> None:
    for prompt in ("Emojis: 😀 🦧 🌋 🦥", "Tiếng Việt: Xin chào, tôi là một"):
        answer = driver.ask(complete(prompt, sampling(max_tokens=20)))
        parts = [delta.text for delta in answer.of(wire.Delta)]
        assert any(ord(char) > 127 for char in "".join(parts))
        assert "\ufffd" not in "".join(parts)


def test_too_long_a_prompt_is_refused_before_anything_is_computed(driver: Driver) -> None:
    before = driver.engine.stats()
    failure = driver.failure(complete("word " * 2_100))
    assert failure.code == "context_length_exceeded"
    assert "2048" in failure.message
    failure = driver.failure(complete("word", sampling(max_tokens=2_048)))
    assert failure.code == "context_length_exceeded"
    after = driver.engine.stats()
    assert after.prompt_tokens_total == before.prompt_tokens_total


def test_a_second_turn_reuses_the_first(driver: Driver) -> None:
    first = [wire.ChatMessage("user", "Tell me about the moon and its phases. " * 8)]
    answer = driver.ask(wire.Generate(prompt=wire.ChatPrompt(messages=first), sampling=GREEDY))
    turns = [*first, wire.ChatMessage("assistant", text(answer)), wire.ChatMessage("user", "More")]
    second = driver.ask(wire.Generate(prompt=wire.ChatPrompt(messages=turns), sampling=GREEDY))
    usage = second.wait().usage
    assert usage.cached_tokens >= answer.wait().usage.prompt_tokens
    assert usage.cached_tokens < usage.prompt_tokens
