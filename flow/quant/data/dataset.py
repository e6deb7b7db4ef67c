# SPDX-License-Identifier: Apache-2.0
"""Frames and labels, as every loader gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flow.errors import DataError

Arrays = tuple[NDArray[Any], NDArray[Any]]
"""Frames and labels."""


@dataclass(frozen=True)
class Dataset:
    """What is trained on, and what is held out.

    Attributes:
        name: Of the source.
        train_x: (frames, *shape), float32; images as (channels, height, width), pixels from 0 to 1.
        train_y: (frames,), class numbers from 0, int64.
        test_x: Like ``train_x``; plays no part in training.
        test_y: Like ``train_y``.
        classes: How many there are.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame."""
        return tuple(self.train_x.shape[1:])


def dataset(name: str, train: Arrays, test: Arrays) -> Dataset:
    """Checks arrays, and makes tensors of them.

    Raises:
        DataError: Shapes or types do not fit.
    """
    tensors = []
    for part, (x, y) in (("training", train), ("test", test)):
        where = f"the {part} data of {name}"
        if x.ndim < 2 or len(x) == 0 or x.dtype.kind not in "fiub":
            raise DataError(
                f"{where} has frames of shape {list(x.shape)} ({x.dtype})", "store numbers as [frames, ...]"
            )
        if y.shape != (len(x),) or y.dtype.kind not in "iufb":
            raise DataError(
                f"{where} has labels of shape {list(y.shape)} ({y.dtype}) for {len(x)} frames",
                "store one class number for each frame",
            )
        whole = y.astype(np.int64)
        if bool((whole != y).any()) or int(whole.min()) < 0:
            raise DataError(f"{where} has labels that are no class numbers", "store whole numbers from 0")
        frames = np.ascontiguousarray(x, np.float32)
        if not bool(np.isfinite(frames).all()):
            raise DataError(f"{where} holds NaN or infinite numbers", "clean the data")
        tensors += [torch.from_numpy(frames), torch.from_numpy(whole)]
    if tensors[0].shape[1:] != tensors[2].shape[1:]:
        raise DataError(
            f"{name} trains on frames of shape {list(tensors[0].shape[1:])} and is tested on "
            f"{list(tensors[2].shape[1:])}",
            "store both alike",
        )
    train_x, train_y, test_x, test_y = tensors
    return Dataset(name, train_x, train_y, test_x, test_y, int(max(train_y.max(), test_y.max())) + 1)


def split(x: NDArray[Any], y: NDArray[Any], share: float) -> tuple[Arrays, Arrays]:
    """Holds out a share of every class, the same one each time."""
    from sklearn.model_selection import train_test_split

    try:
        train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=share, stratify=y, random_state=0)
    except ValueError as error:
        raise DataError(f"the data cannot be split: {error}", "give more frames of each class") from error
    return (train_x, train_y), (test_x, test_y)


def images(x: NDArray[Any]) -> NDArray[np.float32]:
    """(frames, height, width) or (frames, channels, height, width) of bytes as channels first, from 0 to 1."""
    channels_first = x[:, None] if x.ndim == 3 else x
    return channels_first.astype(np.float32) / np.float32(255)


def folder(path: Path | None, name: str, remedy: str) -> Path:
    """The folder that a loader needs.

    Raises:
        DataError: None is named, or it is not there.
    """
    if path is None:
        raise DataError(f"{name} is read from files, and the recipe names none", f"{remedy}, and set path in [data]")
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder", remedy)
    return path


def opened(path: Path, read: Callable[[Path], Any], what: str) -> Any:
    """What ``read`` makes of a file.

    Raises:
        DataError: It is not there, or not what it should be.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file", f"it should be {what}")
    try:
        return read(path)
    except DataError:
        raise
    except Exception as error:  # numpy, gzip, pickle and scipy raise all kinds for a file that is not theirs
        raise DataError(f"{path} cannot be read as {what} ({error})", "fetch or write it again") from error
