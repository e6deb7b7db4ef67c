# SPDX-License-Identifier: Apache-2.0
"""Any data in an .npz file."""

from pathlib import Path
from typing import Any

import numpy as np

from flow.errors import DataError
from flow.quant.data.dataset import Arrays, Dataset, dataset, folder, images, opened, split

_FORMS = (("x_train", "y_train", "x_test", "y_test"), ("train_x", "train_y", "test_x", "test_y"))


def npz(path: Path | None) -> Dataset:
    """``x_train``, ``y_train``, ``x_test``, ``y_test``; or ``x`` and ``y``, of which a quarter is held out.

    Bytes become numbers from 0 to 1, and (frames, height, width, 1 or 3) of bytes becomes channels first.
    """
    file = folder(
        path, "npz", "write the file with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
    )
    arrays: dict[str, Any] = opened(file, _read, "an .npz file of plain numbers")
    for names in _FORMS:
        if all(name in arrays for name in names):
            a, b, c, d = (arrays[name] for name in names)
            return dataset("npz", (_frames(a), _labels(b)), (_frames(c), _labels(d)))
    if "x" in arrays and "y" in arrays:
        parts: tuple[Arrays, Arrays] = split(_frames(arrays["x"]), _labels(arrays["y"]), 0.25)
        return dataset("npz", *parts)
    raise DataError(
        f"{file} holds {', '.join(arrays) or 'nothing'}",
        "store x_train, y_train, x_test and y_test, or x and y",
    )


def _read(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _frames(x: Any) -> Any:
    if x.dtype != np.uint8:
        return x
    if x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = np.moveaxis(x, -1, 1)
    return images(x) if x.ndim > 2 else x.astype(np.float32) / np.float32(255)


def _labels(y: Any) -> Any:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
