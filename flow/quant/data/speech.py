# SPDX-License-Identifier: Apache-2.0
"""Spoken digits as features of sound: 49 spectra a second, 10 coefficients each.

The features are mel-frequency cepstral coefficients in the shape that the keyword networks of MLPerf Tiny take (Banbury
et al., arXiv:2106.07597: 40 ms windows every 20 ms, 10 coefficients). Coefficients rather than the log-mel energies
themselves, as the cosine transform leaves little in all but the first ones: 10 numbers a window instead of 40, and so
a quarter of the first layer's weights and of the data that a board must take in.
"""

import re
from math import log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.errors import DataError
from flow.quant.data.dataset import Dataset, dataset, folder, opened

SECONDS = 1.0
"""Of a recording: longer ones are cut, shorter ones end in silence."""
WINDOW, STRIDE = 0.040, 0.020  # seconds
MELS, COEFFICIENTS = 40, 10
LOWEST = 20.0  # Hz, the lower end of the first band
_TEST_TAKES = 5  # of each speaker and digit, the first ones: the split of the data's authors
_NAME = re.compile(r"(\d)_(.+)_(\d+)\.wav")
_FLOOR = 1e-6  # energy of silence, relative to a tone at full scale: -60 dB


def spoken_digits(path: Path | None) -> Dataset:
    """The Free Spoken Digit Dataset: a folder of ``<digit>_<speaker>_<take>.wav``; takes 0 to 4 are held out."""
    where = folder(
        path, "spoken_digits", "fetch the recordings of the Free Spoken Digit Dataset (its folder 'recordings')"
    )
    files = [(found, file) for file in sorted(where.glob("*.wav")) if (found := _NAME.fullmatch(file.name))]
    if not files:
        raise DataError(f"{where} holds no file such as 7_jackson_32.wav", "name the folder with the recordings")
    x = np.stack([mfcc(*opened(file, read_wav, "a .wav file")) for _, file in files])[:, None]
    y = np.array([int(found[1]) for found, _ in files])
    held_out = np.array([int(found[3]) < _TEST_TAKES for found, _ in files])
    for part, chosen in (("training (takes from 5 on)", ~held_out), ("test (takes 0 to 4)", held_out)):
        if not bool(chosen.any()):
            raise DataError(f"{where} holds no recordings for {part}", "name the folder with all recordings")
    mean, spread = x[~held_out].mean((0, 1, 2)), x[~held_out].std((0, 1, 2)) + 1e-6
    x = (x - mean) / spread
    return dataset("spoken_digits", (x[~held_out], y[~held_out]), (x[held_out], y[held_out]))


def read_wav(path: Path) -> tuple[NDArray[np.float64], int]:
    """(samples,): one channel, from -1 to 1; and the samples of a second."""
    from scipy.io import wavfile

    rate, samples = wavfile.read(path)
    if samples.ndim > 1:
        samples = samples.mean(1).astype(samples.dtype)
    if samples.dtype == np.uint8:  # the one format of .wav without a sign
        return (samples.astype(np.float64) - 128) / 128, rate
    full = -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    return samples.astype(np.float64) / full, rate


def mfcc(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """(windows, coefficients): the cosine transform (orthonormal DCT-II) of the logarithms of mel energies."""
    from scipy.fft import dct

    return dct(log_mel(samples, rate), type=2, norm="ortho", axis=-1)[:, :COEFFICIENTS]


def log_mel(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """(windows, bands): natural logarithms of energies in mel bands, over a second, under Hann windows."""
    length = int(SECONDS * rate)
    padded = np.zeros(length)
    padded[: min(length, len(samples))] = samples[:length]
    window, stride = int(WINDOW * rate), int(STRIDE * rate)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::stride]
    hann = np.hanning(window + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * hann)) ** 2 / hann.sum() ** 2
    return np.log(power @ mel_bands(rate, window).T + _FLOOR)


def mel_bands(rate: int, window: int) -> NDArray[np.float64]:
    """(bands, frequencies): triangles, evenly spaced and half overlapping on the mel scale 2595 log10(1 + f / 700)."""
    mels = np.linspace(_mel(LOWEST), _mel(rate / 2), MELS + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    left, centre, right = (corners[i : i + MELS, None] for i in range(3))
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return np.clip(np.minimum(rising, falling), 0, None)


def _mel(hertz: float) -> float:
    return 2595 * log10(1 + hertz / 700)
