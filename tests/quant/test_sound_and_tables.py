# SPDX-License-Identifier: Apache-2.0
"""Spoken digits and NSL-KDD, on small files in their formats."""

import gzip

import numpy as np
import pytest
from scipy.io import wavfile

from flow.errors import DataError
from flow.quant.data import load, speech
from flow.quant.models import build

RNG = np.random.default_rng(0)


def tone(hertz, rate, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("hertz", [200.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_its_own_band(hertz, rate):
    """Band b (from 0) peaks where the mel scale is (b + 1) steps of 42 above its lower end."""
    energies = speech.log_mel(tone(hertz, rate), rate)
    assert energies.shape == (49, speech.MELS)
    low, high, there = (2595 * np.log10(1 + f / 700) for f in (speech.LOWEST, rate / 2, hertz))
    expected = (there - low) / (high - low) * (speech.MELS + 1) - 1
    assert np.abs(energies.argmax(1) - expected).max() <= 1  # a spectrum of 25 Hz a line is coarser than a low band


def test_bands_share_the_spectrum_between_them():
    """Half overlapping triangles add up to 1 from the first peak to the last."""
    rate, window = 16000, 640
    bands = speech.mel_bands(rate, window)
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    inner = slice(bands[0].argmax() + 1, bands[-1].argmax())
    np.testing.assert_allclose(bands.sum(0)[inner], 1, rtol=1e-12)  # floating point sums of two terms
    assert frequencies[bands[20].argmax()] > frequencies[bands[19].argmax()]


def test_coefficients_are_a_cosine_transform():
    samples = RNG.normal(size=5000)
    energies, found = speech.log_mel(samples, 8000), speech.mfcc(samples, 8000)
    assert found.shape == (49, 10)
    for k in range(10):
        wave = np.cos(np.pi * k * (np.arange(speech.MELS) + 0.5) / speech.MELS)
        wave /= np.linalg.norm(wave)
        np.testing.assert_allclose(found[:, k], energies @ wave, atol=1e-9)  # float64
    silence = speech.log_mel(np.zeros(10), 8000)
    np.testing.assert_allclose(silence, np.log(1e-6))


def recordings(path, takes=range(4, 7), rate=8000, kind=np.int16):
    for digit in (0, 1, 2):
        for take in takes:
            samples = tone(300 * (digit + 1), rate, 0.4 + 0.1 * take) * 0.5
            if kind == np.uint8:
                samples = samples * 127 + 128
            elif kind != np.float32:
                samples = samples * np.iinfo(kind).max
            wavfile.write(path / f"{digit}_ada_{take}.wav", rate, samples.astype(kind))


def test_spoken_digits(tmp_path):
    recordings(tmp_path)
    (tmp_path / "notes.wav").write_bytes(b"no recording")
    data = load("spoken_digits", tmp_path)
    assert (tuple(data.train_x.shape), tuple(data.test_x.shape)) == ((6, 1, 49, 10), (3, 1, 49, 10))
    assert (data.train_y.tolist(), data.test_y.tolist()) == ([0, 0, 1, 1, 2, 2], [0, 1, 2])
    np.testing.assert_allclose(data.train_x.mean((0, 1, 2)), 0, atol=1e-5)  # float32
    for name in ("ds_cnn", "kws_mlp"):
        assert build(name, data.shape, 10, width=0.1).train()(data.train_x).shape == (6, 10)


def test_formats_of_wav_hold_the_same_sound(tmp_path):
    sounds = []
    for kind in (np.int16, np.int32, np.uint8, np.float32):
        recordings(tmp_path, kind=kind)
        sounds.append(speech.read_wav(tmp_path / "1_ada_5.wav")[0])
    stereo = np.stack([tone(600, 8000, 0.9)] * 2, axis=1) * 0.5
    wavfile.write(tmp_path / "1_ada_5.wav", 8000, stereo.astype(np.float32))
    sounds.append(speech.read_wav(tmp_path / "1_ada_5.wav")[0])
    for other in sounds[1:]:
        np.testing.assert_allclose(other, sounds[0], atol=1 / 64)  # the coarsest has 8 bits


def test_wrong_recordings(tmp_path):
    with pytest.raises(DataError, match=r"holds no file such as 7_jackson_32\.wav"):
        load("spoken_digits", tmp_path)
    recordings(tmp_path, takes=[5])
    with pytest.raises(DataError, match=r"no recordings for test \(takes 0 to 4\)"):
        load("spoken_digits", tmp_path)
    (tmp_path / "3_ada_1.wav").write_bytes(b"RIFFRAFF")
    with pytest.raises(DataError, match=r"cannot be read as a \.wav file"):
        load("spoken_digits", tmp_path)


def connection(protocol="tcp", service="http", flag="SF", size="0", label="normal", difficulty="20"):
    numbers = ["0"] * 36
    return ",".join(["0", protocol, service, flag, size, *numbers, label, *([difficulty] if difficulty else [])])


TRAIN = [
    connection(),
    connection("udp", "domain", "SF", "1000", "neptune"),
    connection("tcp", "smtp", "REJ", "50", "guess_passwd"),
]
TEST = [connection("icmp", "http", "SF", "1000", "normal"), connection(size="100000", label="smurf", difficulty="")]


@pytest.mark.parametrize("names", [("KDDTrain+.txt", "KDDTest+.txt"), ("nslkdd_train20.csv.gz", "nslkdd_test.csv.gz")])
def test_nsl_kdd(tmp_path, names):
    for name, rows in zip(names, (TRAIN, TEST), strict=True):
        text = ("\n".join(rows) + "\n").encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    data = load("nsl_kdd", tmp_path)
    assert data.shape == (38 + 2 + 3 + 2,)
    assert (data.train_y.tolist(), data.test_y.tolist()) == ([0, 1, 1], [0, 1])
    size = data.train_x[:, 1].tolist()
    assert size == pytest.approx([0, 1, np.log1p(50) / np.log1p(1000)])  # float32
    assert data.test_x[1, 1] > 1
    protocols, services, flags = data.test_x[:, 38:40], data.test_x[:, 40:43], data.test_x[:, 43:]
    assert protocols.tolist() == [[0, 0], [1, 0]]  # tcp, udp; icmp was not met before
    assert services.tolist() == [[0, 1, 0], [0, 1, 0]]  # domain, http, smtp
    assert flags.tolist() == [[0, 1], [0, 1]]  # REJ, SF
    assert float(data.train_x[:, :38].abs().sum(0)[2:].sum()) == 0  # constant columns


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (["0,tcp"], "row 1, has 2 columns"),
        ([], "is empty"),
        ([connection(size="large")], "a feature is no number"),
        (None, r"KDDTrain\+\.txt: there is no such file"),
    ],
)
def test_wrong_tables(tmp_path, train, message):
    (tmp_path / "KDDTest+.txt").write_text("\n".join(TEST))
    if train is not None:
        (tmp_path / "KDDTrain+.txt").write_text("\n".join(train))
    with pytest.raises(DataError, match=message):
        load("nsl_kdd", tmp_path)
