# SPDX-License-Identifier: Apache-2.0
"""The user's data: an .npz file with ``x``, and ``y`` where there are labels."""

import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from flow.errors import DataError
from flow.ir.types import Ints, Reals


@dataclass(frozen=True)
class UserData:
    """Frames and labels.

    Attributes:
        x: (frames, *shape), as float64 (the numbers of the file, unchanged).
        y: (frames,) class numbers, or (frames, outputs); None without labels.
    """

    x: Reals
    y: Ints | None


def load_data(path: Path, shape: tuple[int, ...]) -> UserData:
    """Reads ``x`` and, if there is one, ``y``.

    Raises:
        DataError: The file cannot be read, or does not fit the model.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file", "check the path")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ("x", "y")}
            names = archive.files
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(
            f"{path} is not an .npz file of plain numbers", "write it with numpy.savez(path, x=frames, y=labels)"
        ) from error
    if "x" not in arrays:
        raise DataError(
            f"{path} holds {', '.join(names) or 'nothing'}, but no array 'x'",
            "write it with numpy.savez(path, x=frames, y=labels)",
        )
    return check_data(arrays["x"], arrays.get("y"), shape, str(path))


def check_data(
    x: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
    y: "np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None",
    shape: tuple[int, ...],
    label: str,
) -> UserData:
    """The arrays as data for a model whose frames have that shape."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{label}: x holds {x.dtype}, not numbers", "store numbers")
    if x.ndim < 2 or len(x) == 0 or prod(x.shape[1:]) != prod(shape):
        raise DataError(
            f"{label}: x has shape {list(x.shape)}; expected frames of shape {list(shape)}, as "
            f"[frames, {', '.join(map(str, shape))}]",
            "reshape it, first axis the frames",
        )
    frames = x.astype(np.float64).reshape(len(x), *shape)
    if not bool(np.isfinite(frames).all()):
        raise DataError(f"{label}: x holds NaN or infinite numbers", "clean the data")
    if y is None:
        return UserData(frames, None)
    if y.ndim == 0 or len(y) != len(x) or y.size == 0 or y.dtype.kind not in "fiub":
        raise DataError(
            f"{label}: y has shape {list(y.shape)} ({y.dtype}) for {len(x)} frames", "store one label for each frame"
        )
    labels = y.astype(np.float64)
    if not bool((np.isfinite(labels) & (labels == np.rint(labels))).all()):
        raise DataError(f"{label}: y holds labels that are not whole numbers", "store class numbers")
    whole = labels.astype(np.int64).reshape(len(y), -1)
    return UserData(frames, whole[:, 0] if whole.shape[1] == 1 else whole)


def accuracy(y: Ints, output: Reals) -> float:
    """The share of frames whose label the network gives.

    The greatest output counts where there are several; a single output is compared with the label itself, or
    where labels are 0 and 1, by its sign.
    """
    flat = output.reshape(len(output), -1)
    labels = y.reshape(len(y), -1)
    if flat.shape[1] > 1:
        answer = flat.argmax(1)
        right = answer == (labels[:, 0] if labels.shape[1] == 1 else labels.argmax(1))
    elif set(np.unique(labels).tolist()) <= {0, 1}:
        right = (flat[:, 0] > 0) == (labels[:, 0] == 1)
    else:
        right = flat[:, 0] == labels[:, 0]
    return float(right.mean())
