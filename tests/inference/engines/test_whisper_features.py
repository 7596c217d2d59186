"""Long audio, piece by piece: the same spectrogram as the library's, and nothing held that is done with."""

import gc
import weakref

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]

from inference.engines import whisper_job
from inference.engines.whisper_features import AT_ONCE_FRAMES, Spectrogram
from inference.media import SAMPLE_RATE, Samples


def noise(length: int) -> Samples:
    loud = np.linspace(0.001, 0.5, length)  # the loudest part is last: all of it sets the floor
    return (np.random.default_rng(1).normal(size=length) * loud).astype(np.float32)


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize(
    "length", [400, 16_000, 160 * AT_ONCE_FRAMES, 160 * AT_ONCE_FRAMES + 1, 71 * 16_000 + 7]
)
def test_the_spectrogram_is_the_librarys(length: int, bands: int) -> None:
    usual = FeatureExtractor(feature_size=bands)
    found, expected = Spectrogram(usual)(noise(length)), usual(noise(length))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


def test_a_piece_is_held_by_nobody_but_whoever_works_on_it() -> None:
    size = int(whisper_job.PIECE_S * SAMPLE_RATE)
    pieces = (noise(length) for length in (size, size, 40_000))
    cut = whisper_job.cut_at_silence(pieces)
    seen = []
    for _start, samples in cut:
        base = samples if samples.base is None else samples.base
        seen.append(weakref.ref(base))
        del samples, base
        gc.collect()
        assert seen[-1]() is None
    assert len(seen) == 3


def test_pieces_follow_each_other_without_a_gap() -> None:
    size = int(whisper_job.PIECE_S * SAMPLE_RATE)
    whole = noise(2 * size + 40_000)
    pieces = (whole[at : at + size] for at in range(0, len(whole), size))
    found = [*whisper_job.cut_at_silence(pieces)]
    assert np.array_equal(np.concatenate([samples for _, samples in found]), whole)
    starts = np.cumsum([0, *(len(samples) for _, samples in found)])[:-1] / SAMPLE_RATE
    assert [start for start, _ in found] == pytest.approx(starts)
