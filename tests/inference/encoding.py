"""Make audio files in every format, from samples, for tests."""

import io
import wave

import av
import numpy as np
from av.audio.stream import AudioStream

CODECS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "mp3": "libmp3lame",
    "mp4": "aac",
    "ogg": "libopus",
    "webm": "libopus",
}


def encode(samples: np.ndarray, kind: str, rate: int = 16_000) -> bytes:
    """Encode int16 mono samples."""
    target = io.BytesIO()
    with av.open(target, mode="w", format=kind) as container:
        own_rate = 48_000 if CODECS.get(kind) == "libopus" else rate
        stream = container.add_stream(CODECS.get(kind, "pcm_s16be"), rate=own_rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return target.getvalue()


def empty_wav() -> bytes:
    """Make a good file without a single sample."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    return target.getvalue()


def tone(seconds: float, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (8_000 * np.sin(2 * np.pi * hz * time)).astype(np.int16)
