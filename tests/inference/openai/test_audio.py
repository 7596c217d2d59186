"""Audio: forms as they arrive, every field, every format of a transcript."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.errors import HubError
from inference.openai import audio, audio_reply
from inference.openai.form import Form
from tests.inference.openai.refusals import refusal

FILE = ("a.wav", b"RIFF....", "audio/wav")
Fields = list[tuple[str, Any]]


def body_of(fields: Fields, file: Any = FILE) -> tuple[bytes, bytes]:
    """Let a real client write the form."""
    files: Fields = [(name, (None, value)) for name, value in fields]
    files += [("file", file)] if file is not None else []
    request = httpx.Request("POST", "http://x", files=files)
    return request.read(), request.headers["content-type"].encode()


def read(data: bytes, content_type: bytes, step: int = 7) -> Form:
    form = Form(content_type, "file", max_file_bytes=100_000)
    for at in range(0, len(data), step):
        form.feed(data[at : at + step])
    form.finish()
    return form


def parse(*fields: tuple[str, Any], file: Any = FILE, task: audio.Task = "transcribe") -> Any:
    return audio.parse(read(*body_of([("model", "m"), *fields], file)), task)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_it_reads_a_file_however_it_is_cut(content: bytes, step: int) -> None:
    data, content_type = body_of([("model", "m")], ("f", content, "audio/wav"))
    form = read(data, content_type, step)
    assert (form.file, form.fields) == (content, {"model": ["m"]})


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    error = refusal(lambda: read(b"--b\r\n" + data, b"multipart/form-data; boundary=b"))
    assert error is None or error.status in {400, 413}


@pytest.mark.parametrize("content_type", [b"", b"multipart/form-data", b"x; boundary="])
def test_it_needs_a_boundary(content_type: bytes) -> None:
    with pytest.raises(HubError):
        Form(content_type, "file", 1)


def test_it_bounds_files_fields_and_parts() -> None:
    for fields, file in (
        ([("prompt", "x" * 70_000)], FILE),
        ([], ("f", b"x" * 100_001, "audio/wav")),
        ([("include[]", "x")] * 65, FILE),
    ):
        with pytest.raises(HubError) as caught:
            read(*body_of(fields, file), step=65_536)
        assert caught.value.status in {400, 413}


def test_a_cut_form_is_refused() -> None:
    data, content_type = body_of([("model", "m")])
    with pytest.raises(HubError):
        read(data[:-10], content_type)


def test_it_reads_every_field() -> None:
    parsed = parse(
        ("language", "EN"),
        ("prompt", "names"),
        ("temperature", "0.5"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("chunking_strategy", "auto"),
        ("stream", "false"),
    )
    assert parsed.body == wire.Transcribe(
        audio=FILE[1], language="en", prompt="names", temperature=0.5, words=True
    )
    assert (parsed.format, parsed.words, parsed.segments) == ("verbose_json", True, True)
    assert parse(("prompt", "x"), task="translate").body.task == "translate"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", "mp3"),
        ("response_format", "diarized_json"),
        ("temperature", "2"),
        ("temperature", "nan"),
        ("temperature", "x"),
        ("temperature", "\uff11"),  # a digit one, but not ASCII's
        ("temperature", "0_1"),
        ("language", "english!"),
        ("language", "eng"),
        ("language", "xx"),
        ("stream", "maybe"),
        ("include[]", "logprobs"),
        ("chunking_strategy", '{"type": "server_vad"}'),
        ("known_speaker_names[]", "Ann"),
        ("known_speaker_references[]", "data:"),
        ("keywords[]", "x"),
        ("languages[]", "en"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "minute"),
        ("prompt", "x" * 5000),
        ("model", "again"),
        ("language[]", "en"),
        ("foo", "1"),
        ("", "1"),
    ],
)
def test_it_names_what_it_refuses(name: str, value: str) -> None:
    with pytest.raises(HubError) as caught:
        parse((name, value))
    assert caught.value.status == 400
    if name:
        assert (caught.value.param or "").removesuffix("[]") == name.removesuffix("[]")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("stream", "true"), ("response_format", "srt")], "response_format"),
        ([("stream", "true"), ("response_format", "verbose_json")], "response_format"),
    ],
)
def test_a_stream_is_json(fields: Fields, param: str) -> None:
    with pytest.raises(HubError) as caught:
        parse(*fields)
    assert caught.value.param == param


def test_it_says_what_is_missing() -> None:
    with pytest.raises(HubError) as caught:
        parse(file=None)
    assert (caught.value.code, caught.value.param) == ("missing_required_parameter", "file")
    with pytest.raises(HubError) as caught:
        audio.parse(read(*body_of([])), "transcribe")
    assert caught.value.param == "model"


SEGMENTS = [
    wire.Segment(id=0, start_s=0, end_s=1.5, text=" Hello", words=[wire.Word(" Hello", 0, 1.5, 1)]),
    wire.Segment(id=1, start_s=3661.25, end_s=3662, text=" big\n--> world. "),
]
DONE = [wire.Done(language="en", duration_s=3662.2)]


def plain(*fields: tuple[str, str]) -> bytes:
    encoder = audio_reply.PlainEncoder(parse(*fields))
    for segment in SEGMENTS:
        encoder.add(segment, 0)
    return encoder.finish(DONE)


def test_json_and_text() -> None:
    usage = {"type": "duration", "seconds": 3663}
    assert json.loads(plain()) == {"text": "Hello big\n--> world.", "usage": usage}
    assert plain(("response_format", "text")) == b"Hello big\n--> world.\n"


def test_subtitles() -> None:
    assert plain(("response_format", "srt")).decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello\n\n"
        "2\n01:01:01,250 --> 01:01:02,000\nbig -> world.\n\n"
    )
    assert plain(("response_format", "vtt")).decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello\n\n"
        "01:01:01.250 --> 01:01:02.000\nbig -> world.\n\n"
    )


def test_verbose_json() -> None:
    both = json.loads(plain(("response_format", "verbose_json")))
    assert (both["language"], both["duration"], both["task"]) == ("english", 3662.2, "transcribe")
    assert [s["id"] for s in both["segments"]] == [0, 1]
    assert "words" not in both
    granularity = ("timestamp_granularities[]", "word")
    words = json.loads(plain(("response_format", "verbose_json"), granularity))
    assert words["words"] == [{"word": "Hello", "start": 0.0, "end": 1.5}]
    assert "segments" not in words


@given(st.lists(st.text(" a\n\u4e16", max_size=4), max_size=6))
def test_a_stream_holds_the_plain_text(texts: list[str]) -> None:
    parsed = parse()
    whole, stream = audio_reply.PlainEncoder(parsed), audio_reply.StreamEncoder()
    sent = stream.start()
    for at, text in enumerate(texts):
        segment = wire.Segment(id=at, start_s=0, end_s=0, text=text)
        whole.add(segment, 0)
        sent += stream.add(segment, 0)
    sent += stream.finish(DONE)
    *deltas, done, last = [part[6:] for part in sent.decode().split("\n\n")[:-1]]
    text = json.loads(whole.finish(DONE))["text"]
    assert "".join(json.loads(delta)["delta"] for delta in deltas) == text
    assert json.loads(done)["text"] == text == text.strip()
    assert last == "[DONE]"
