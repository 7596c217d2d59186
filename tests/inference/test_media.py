"""Decoding what strangers upload."""

import struct
from pathlib import Path

import numpy as np
import pytest

from inference.errors import InvalidMedia
from inference.media import SAMPLE_RATE, Audio
from tests.inference.encoding import empty_wav, encode, tone


def decode(data: bytes, max_s: float = 60.0, piece_s: float = 30.0) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *Audio(data, max_s).pieces(piece_s)])


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()])


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "mp4", "ogg", "webm"])
def test_it_reads_every_format(kind: str) -> None:
    samples = decode(encode(tone(2.0, rate=44_100), kind, rate=44_100))
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)
    assert loudest_hz(samples) == pytest.approx(440, abs=2)


def test_pieces_join_to_the_whole() -> None:
    data = encode(tone(2.5), "wav")
    audio = Audio(data, 60)
    pieces = list(audio.pieces(1.0))
    assert [len(piece) for piece in pieces] == [16_000, 16_000, 8_000]
    assert audio.decoded_s == 2.5
    np.testing.assert_allclose(np.concatenate(pieces) * 32_768, tone(2.5))


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 5_000, b"RIFF\xff\xff\xff\xffWAVEfmt "])
def test_it_refuses_what_is_no_audio(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        decode(data)


def test_it_refuses_a_format_that_is_not_on_the_list() -> None:
    with pytest.raises(InvalidMedia, match="flac, m4a"):
        decode(encode(tone(1.0), "aiff"))


def test_a_playlist_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(encode(tone(1.0), "wav"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n"
    for text in (
        playlist + "#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav",
    ):
        with pytest.raises(InvalidMedia):
            decode(text.encode())


def test_it_refuses_long_audio_before_decoding() -> None:
    data = encode(np.zeros(16_000 * 61, np.int16), "flac")
    assert len(data) < 20_000  # small on the wire
    with pytest.raises(InvalidMedia, match="limit of 60 s"):
        Audio(data, 60)


def test_it_stops_where_the_header_lied() -> None:
    data = bytearray(encode(np.zeros(16_000 * 61, np.int16), "flac"))
    at = data.index(b"fLaC") + 8 + 10  # STREAMINFO: sample rate, then the count of samples
    data[at + 3] &= 0xF0
    data[at + 4 : at + 8] = struct.pack(">I", 16_000)
    audio = Audio(bytes(data), 65)
    audio._max_samples = 60 * SAMPLE_RATE
    with pytest.raises(InvalidMedia, match="limit of 60 s"):
        list(audio.pieces(10))


def test_it_reads_what_is_there_of_a_cut_file() -> None:
    data = encode(tone(4.0), "mp3")
    assert 1.5 < len(decode(data[: len(data) // 2])) / SAMPLE_RATE < 2.5


def test_it_refuses_an_absurd_sample_rate() -> None:
    data = bytearray(encode(tone(0.1), "wav"))
    data[24:28] = struct.pack("<I", 1)
    with pytest.raises(InvalidMedia, match="1 Hz"):
        decode(bytes(data))


def test_it_refuses_a_file_without_a_single_sample() -> None:
    with pytest.raises(InvalidMedia, match="too short"):
        decode(empty_wav())


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(seed: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(encode(tone(1.0), ["wav", "mp3", "mp4", "ogg", "flac", "webm"][seed % 6]))
    for at in random.integers(0, len(data), 40):
        data[at] = random.integers(0, 256)
    try:
        samples = decode(bytes(data))
    except InvalidMedia:
        return
    assert len(samples) <= 60 * SAMPLE_RATE
