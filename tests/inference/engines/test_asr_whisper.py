"""Speech to text with the real Whisper tiny.en and real recordings."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference import wire
from inference.engines.asr_whisper import AsrWhisper
from inference.errors import LoadFailed
from inference.media import Audio
from tests import models
from tests.inference.encoding import encode, tone
from tests.inference.engines.driving import Answer, Driver

pytestmark = pytest.mark.models

SPEECH = Path(__file__).parents[2] / "data" / "speech"
CLIPS = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be "
    "prudently in his power to do for them",
    "0880": "he was not an ill disposed young man",
    "0930": "he might even have been made amiable himself",
}


def clip(name: str) -> bytes:
    return (SPEECH / f"sense_and_sensibility_{name}.flac").read_bytes()


def samples(name: str) -> np.ndarray:
    (whole,) = Audio(clip(name), 60).pieces(60)
    return (whole * 32_767).astype(np.int16)


def reading(times: int) -> bytes:
    """Join all clips with pauses, 28 s, several times: about one window each."""
    pause = np.zeros(5 * 16_000, np.int16)
    parts = [part for name in CLIPS for part in (samples(name), pause)]
    return encode(np.concatenate(parts * times), "flac")


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver(AsrWhisper(), spec(models.whisper_tiny_en()))
    yield driver
    driver.engine.close()


def spec(path: Path, **options: float) -> wire.ModelSpec:
    return wire.ModelSpec(
        name="whisper", kind="asr", engine="asr_whisper", path=str(path), options=dict(options)
    )


def text(answer: Answer) -> str:
    return "".join(segment.text for segment in answer.of(wire.Segment)).strip()


def words(sentence: str) -> list[str]:
    spelled = sentence.lower().replace("mr.", "mister").replace("-", " ")
    return re.sub(r"[^a-z' ]", "", spelled).split()


def errors(heard: list[str], said: list[str]) -> int:
    """Count edits: the word error rate's numerator."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(heard, 1):
        last, row[0] = row[0], i
        for j, true in enumerate(said, 1):
            change = last + (word != true)
            last, row[j] = row[j], min(change, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def test_it_says_what_it_loaded(driver: Driver) -> None:
    assert driver.loaded.memory_bytes > driver.loaded.weights_bytes > 20_000_000
    assert driver.loaded.dtype.startswith("int8")
    assert driver.loaded.capabilities == ["transcriptions"]
    assert driver.progress[-1] == (driver.progress[-1][1],) * 2


def test_it_hears_what_was_said(driver: Driver) -> None:
    wrong = total = 0
    for name, said in CLIPS.items():
        answer = driver.ask(wire.Transcribe(audio=clip(name)))
        wrong += errors(words(text(answer)), words(said))
        total += len(words(said))
    assert wrong / total < 0.2


def test_it_tells_language_length_and_usage(driver: Driver) -> None:
    answer = driver.ask(wire.Transcribe(audio=clip("0880")))
    done = answer.wait()
    assert (done.language, done.duration_s) == ("en", pytest.approx(2.99, abs=0.01))
    assert done.usage.audio_s == done.duration_s
    segments = answer.of(wire.Segment)
    assert done.usage.completion_tokens == sum(len(segment.tokens) for segment in segments) > 5
    assert 0 <= segments[0].start_s < segments[-1].end_s <= 3.5
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert -1 < segments[0].avg_logprob < 0
    assert segments[0].words is None


@pytest.mark.parametrize("kind", ["wav", "mp3", "mp4", "ogg", "webm"])
def test_it_hears_every_format(driver: Driver, kind: str) -> None:
    answer = driver.ask(wire.Transcribe(audio=encode(samples("0880"), kind)))
    assert errors(words(text(answer)), words(CLIPS["0880"])) <= 2


def test_it_times_every_word(driver: Driver) -> None:
    answer = driver.ask(wire.Transcribe(audio=clip("0930"), words=True))
    segments = answer.of(wire.Segment)
    assert b"".join(wire.encode(segment) for segment in segments)  # as it must travel
    timed = [word for segment in segments for word in segment.words]
    assert "".join(word.word for word in timed).strip() == text(answer)
    assert all(0 <= word.start_s <= word.end_s <= 3.5 for word in timed)
    assert [word.start_s for word in timed] == sorted(word.start_s for word in timed)
    assert all(0 < word.probability <= 1 for word in timed)


def test_a_prompt_changes_the_spelling(driver: Driver) -> None:
    plain = text(driver.ask(wire.Transcribe(audio=clip("0870"))))
    prompt = "Mister Jon Dashwould. Mister Jon Dashwould. <|endoftext|>"
    hinted = text(driver.ask(wire.Transcribe(audio=clip("0870"), prompt=prompt)))
    assert "Dashwould" not in plain
    assert "Dashwould" in hinted


@pytest.mark.parametrize("sound", ["silent", "hum"])
def test_it_invents_nothing_where_nobody_speaks(driver: Driver, sound: str) -> None:
    audio = {
        "silent": encode(np.zeros(48_000, np.int16), "flac"),
        "hum": encode(tone(4.0, hz=100), "flac"),
    }[sound]
    answer = driver.ask(wire.Transcribe(audio=audio))
    assert [type(frame) for frame in answer.frames] == [wire.Done]
    assert answer.wait().language == "en"


def test_segments_arrive_while_the_rest_is_computed(driver: Driver) -> None:
    answer = driver.start(wire.Transcribe(audio=reading(2)))  # 57 s: two windows
    answer.wait_for(lambda: answer.of(wire.Segment))
    assert not answer.ended
    answer.wait()
    ends = [segment.end_s for segment in answer.of(wire.Segment)]
    assert ends == sorted(ends)
    assert 45 < ends[-1] < 58


def test_a_cancel_stops_between_windows(driver: Driver) -> None:
    before = driver.engine.stats()
    answer = driver.start(wire.Transcribe(audio=reading(4)))
    answer.wait_for(lambda: answer.of(wire.Segment))
    driver.engine.cancel(answer.stream)
    assert isinstance(answer.wait(), wire.Done)
    assert answer.of(wire.Segment)[-1].end_s < 60
    after = driver.engine.stats()
    assert after.cancelled_total == before.cancelled_total + 1
    assert after.running == 0


def test_a_short_clip_does_not_wait_for_a_long_one(driver: Driver) -> None:
    long = driver.start(wire.Transcribe(audio=reading(4)))
    long.wait_for(lambda: long.of(wire.Segment))
    short = driver.ask(wire.Transcribe(audio=clip("0880")))
    assert not long.ended
    assert "young man" in text(short)
    driver.engine.cancel(long.stream)
    long.wait()


def test_requests_at_once_are_not_crossed(driver: Driver) -> None:
    names = [*CLIPS] * 2
    answers = [driver.start(wire.Transcribe(audio=clip(name))) for name in names]
    for name, answer in zip(names, answers, strict=True):
        answer.wait()
        assert errors(words(text(answer)), words(CLIPS[name])) <= 4


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (wire.Transcribe(audio=b"", language="vi"), "unsupported_parameter", "language"),
        (wire.Transcribe(audio=b"", task="translate"), "unsupported_parameter", "model"),
        (wire.Transcribe(audio=b"", temperature=1.5), "invalid_value", "temperature"),
        (wire.Transcribe(audio=b""), "invalid_media", "file"),
        (wire.Transcribe(audio=b"no audio"), "invalid_media", "file"),
        (wire.Embed(inputs=["hi"]), "unsupported_model", None),
    ],
)
def test_it_refuses_what_it_cannot_do(
    driver: Driver, body: wire.Body, code: str, param: str | None
) -> None:
    failure = driver.failure(body)
    assert (failure.code, failure.param) == (code, param)


def test_the_probe_computes_a_real_window(driver: Driver) -> None:
    before = driver.engine.stats().steps_total
    answer = driver.ask(wire.Probe())
    assert [type(frame) for frame in answer.frames] == [wire.Done]
    assert driver.engine.stats().steps_total == before + 1


def test_it_refuses_audio_over_its_limit_and_fails_the_rest_when_it_closes() -> None:
    driver = Driver(AsrWhisper(), spec(models.whisper_tiny_en(), max_audio_s=100))
    failure = driver.failure(wire.Transcribe(audio=encode(tone(101), "flac")))
    assert failure.code == "invalid_media"
    assert "100 s" in failure.message
    answers = [driver.start(wire.Transcribe(audio=reading(1))) for _ in range(12)]
    driver.engine.close()
    codes = [answer.wait().code for answer in answers]
    assert codes == ["engine_failed"] * 12


def test_it_refuses_a_folder_that_is_no_whisper(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"model\.bin"):
        Driver(AsrWhisper(), spec(tmp_path))


def test_a_text_of_more_tokens_than_limits_leave_is_not_told(driver: Driver) -> None:
    spent = driver.ask(wire.Transcribe(audio=reading(1), budget=224)).wait().usage.completion_tokens
    held = driver.ask(wire.Transcribe(audio=reading(1), budget=spent - 1))
    assert held.wait().code == "token_budget_exceeded"
    assert sum(len(segment.tokens) for segment in held.of(wire.Segment)) < spent
