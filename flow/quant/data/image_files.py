# SPDX-License-Identifier: Apache-2.0
"""Images in the files in which their authors publish them."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.errors import DataError
from flow.quant.data.dataset import Arrays, Dataset, dataset, folder, images, opened
from flow.quant.data.unpickler import load_arrays

_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an idx file, gzipped or not (the format is described at the end of LeCun's page on MNIST)."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise DataError(f"{path} is no idx file", "fetch it again")
    axes = data[3]
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    values = np.frombuffer(data, _IDX_TYPES[data[2]], offset=4 + 4 * axes)
    if values.size != int(np.prod(shape)):
        raise DataError(f"{path} holds {values.size} numbers, its head says {list(shape)}", "fetch it again")
    return values.reshape(shape)


def idx(path: Path | None) -> Dataset:
    """MNIST, Fashion-MNIST or any other data in the four files of MNIST, gzipped or not."""
    where = folder(
        path,
        "idx",
        "fetch train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k (.gz will do; Debian has those of "
        "Fashion-MNIST in the package dataset-fashion-mnist)",
    )
    parts: list[Arrays] = []
    for part in ("train", "t10k"):
        x, y = (opened(_idx_file(where, f"{part}-{kind}"), read_idx, "an idx file") for kind in _IDX_KINDS)
        parts.append((images(x), y))
    return dataset("idx", *parts)


_IDX_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def _idx_file(where: Path, name: str) -> Path:
    """``train-images-idx3-ubyte``, or as it is called where dots replace dashes, gzipped or not."""
    dotted = name.replace("-idx", ".idx")
    found = [where / f"{n}{end}" for n in (name, dotted) for end in ("", ".gz") if (where / f"{n}{end}").is_file()]
    return found[0] if found else where / name


def cifar10(path: Path | None) -> Dataset:
    """CIFAR-10, from the folder of its Python or its binary version."""
    where = folder(path, "cifar10", "fetch cifar-10-python.tar.gz or cifar-10-binary.tar.gz and unpack it")
    binary = any(where.glob("data_batch_*.bin"))
    read, end = (_cifar_binary, ".bin") if binary else (_cifar_python, "")
    batches = sorted(p for p in where.glob("data_batch_*") if p.suffix == end)
    if not batches:
        raise DataError(f"{where} holds no data_batch_1", "name the folder cifar-10-batches-py or cifar-10-batches-bin")
    found = [opened(p, read, "a batch of CIFAR-10") for p in (*batches, where / f"test_batch{end}")]
    x, y = (np.concatenate(part) for part in zip(*found[:-1], strict=True))
    return dataset("cifar10", (x, y), found[-1])


def _cifar_python(path: Path) -> Arrays:
    batch = load_arrays(path)
    return images(np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32)), np.asarray(batch[b"labels"])


def _cifar_binary(path: Path) -> Arrays:
    rows = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return images(rows[:, 1:].reshape(-1, 3, 32, 32)), rows[:, 0]


def svhn(path: Path | None) -> Dataset:
    """House numbers, from train_32x32.mat and test_32x32.mat; the class 10 of those files is the digit 0."""
    where = folder(path, "svhn", "fetch train_32x32.mat and test_32x32.mat")
    train, test = (opened(where / f"{part}_32x32.mat", _svhn_file, "a file of SVHN") for part in ("train", "test"))
    return dataset("svhn", train, test)


def _svhn_file(path: Path) -> Arrays:
    from scipy.io import loadmat

    found = loadmat(str(path), variable_names=("X", "y"))
    return images(np.transpose(found["X"], (3, 2, 0, 1))), found["y"].reshape(-1) % 10
