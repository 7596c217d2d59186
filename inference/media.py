"""Safe decoding of what a stranger uploads: audio to 16 kHz mono, piece by piece. Pure, no Django.

The container's format is chosen from a short list, so that a playlist can never name another file.
"""

import io
from collections.abc import Iterator
from contextlib import closing

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from inference.errors import InvalidMedia

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
FORMATS = "wav,mp3,mov,ogg,flac,matroska,aac,mpeg"  # libavformat's demuxers
FORMAT_NAMES = "flac, m4a, mp3, mp4, mpeg, mpga, ogg, wav or webm"
RATES = range(1_000, 768_001)  # Hz; outside of it a few bytes would become hours
MAX_CHANNELS = 64
MAX_BAD_PACKETS = 100


class Audio:
    """The audio of one uploaded file; `pieces` decodes it, `decoded_s` says how far."""

    def __init__(self, data: bytes, max_s: float) -> None:
        """Look at the headers and the packets, but decode nothing yet.

        Raises: InvalidMedia when it is no audio file, or longer than `max_s`.
        """
        self._data = data
        self._max_samples = int(max_s * SAMPLE_RATE)
        self._samples = 0
        if not data:
            raise InvalidMedia("the audio file is empty", param="file")
        with closing(_open(data)) as container:
            self._check(_length_s(container, _stream(container)))

    @property
    def decoded_s(self) -> float:
        return self._samples / SAMPLE_RATE

    def _check(self, length_s: float) -> None:
        limit_s = self._max_samples / SAMPLE_RATE
        if length_s > limit_s:
            raise InvalidMedia(
                f"the audio is longer than the limit of {limit_s:g} s; please split it",
                param="file",
            )

    def pieces(self, piece_s: float) -> Iterator[Samples]:
        """Yield float32 samples in [-1, 1] at 16 kHz, each piece `piece_s` long but the last.

        What was yielded is not held here.

        Raises: InvalidMedia when nothing can be decoded, or it turns out longer than it said.
        """
        size = int(piece_s * SAMPLE_RATE)
        held: list[Samples] = []
        count = 0
        for chunk in self._decode():
            self._samples += len(chunk)
            self._check(self.decoded_s)
            held.append(chunk)
            count += len(chunk)
            while count >= size:
                ready = [np.concatenate(held)]
                held, count = [ready[0][size:].copy()], count - size
                ready[0] = ready[0][:size]
                yield ready.pop()
        if count:
            held = [np.concatenate(held)]
            yield held.pop()

    def _decode(self) -> Iterator[Samples]:
        with closing(_open(self._data)) as container:
            resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            stream = _stream(container)
            for frame in _frames(container, stream):
                yield from _resampled(resampler, frame)
            if not self._samples:  # a resampler that saw nothing cannot be flushed
                raise InvalidMedia("the audio is too short: it has no samples", param="file")
            yield from _resampled(resampler, None)


def _open(data: bytes) -> InputContainer:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        return av.open(io.BytesIO(data), mode="r", options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, EOFError) as error:
        raise InvalidMedia(
            f"the file is not audio that can be read; use {FORMAT_NAMES}", param="file"
        ) from error


def _stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise InvalidMedia("the file has no audio track", param="file")
    stream = container.streams.audio[0]
    codec: AudioCodecContext | None = stream.codec_context  # None where the codec is not known
    if codec is None:
        raise InvalidMedia("the audio's codec is not known", param="file")
    rate, channels = codec.sample_rate, codec.channels
    if rate not in RATES or not 1 <= channels <= MAX_CHANNELS:
        raise InvalidMedia(
            f"the audio has {channels} channels at {rate} Hz, which cannot be read", param="file"
        )
    return stream


def _length_s(container: InputContainer, stream: AudioStream) -> float:
    """Sum what the packets say, or believe the header where it says more; nothing is decoded."""
    header_s = (container.duration or 0) / av.time_base
    base = float(stream.time_base or 0)
    try:
        packets_s = sum((packet.duration or 0) * base for packet in container.demux(stream))
    except (av.error.FFmpegError, EOFError):
        packets_s = 0.0  # decoding will find out how much is good
    return max(header_s, packets_s)


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Skip damaged packets, within reason.

    Raises: InvalidMedia.
    """
    good = bad = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except (av.error.FFmpegError, EOFError) as error:
            bad += 1
            if bad > MAX_BAD_PACKETS + good:
                raise InvalidMedia("the audio is damaged", param="file") from error
            continue
        if packet is None:
            break
        good += len(frames)
        yield from frames
    if not good and bad:
        raise InvalidMedia("the audio cannot be decoded: it is damaged", param="file")


def _resampled(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[Samples]:
    if frame is not None:
        frame.pts = None  # broken time stamps do not matter here
    try:
        for out in resampler.resample(frame):
            yield np.divide(out.to_ndarray().reshape(-1), 32_768, dtype=np.float32)
    except (av.error.FFmpegError, ValueError) as error:
        raise InvalidMedia("the audio changes its format midway", param="file") from error
