"""Whisper's spectrogram, computed half a minute at a time; used by `asr_whisper`.

The library computes all of a recording at once: 217 MB while it does so for five minutes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]

from inference.media import Samples

AT_ONCE_FRAMES = 3_000
FLOOR, RANGE = 1e-10, 8.0  # Source: `FeatureExtractor.__call__` of faster-whisper 1.2

Features = npt.NDArray[np.float32]


class Spectrogram(FeatureExtractor):  # type: ignore[misc]
    """Invariant: it gives what the library's own gives."""

    n_fft: int
    hop_length: int
    mel_filters: Features

    def __init__(self, usual: FeatureExtractor) -> None:
        self.__dict__.update(vars(usual))
        self._window = np.hanning(self.n_fft + 1)[:-1].astype(np.float32)

    def __call__(self, waveform: Samples, padding: int = 160, **_: Any) -> Features:
        """Give (bands, frames)."""
        padded = np.pad(np.pad(waveform, (0, padding)), self.n_fft // 2, mode="reflect")
        frames = (len(padded) - self.n_fft) // self.hop_length
        found = np.empty((len(self.mel_filters), frames), np.float32)
        for start in range(0, frames, AT_ONCE_FRAMES):
            end = min(start + AT_ONCE_FRAMES, frames)
            last = (end - 1) * self.hop_length + self.n_fft
            found[:, start:end] = self._bands(padded[start * self.hop_length : last])
        np.maximum(found, found.max() - RANGE, out=found)
        found += 4.0
        found /= 4.0
        return found

    def _bands(self, samples: Samples) -> Features:
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft)
        waves = np.fft.rfft(windows[:: self.hop_length] * self._window).astype(np.complex64)
        bands = self.mel_filters @ (np.abs(waves.T) ** 2)
        found: Features = np.log10(np.clip(bands, FLOOR, None))
        return found
