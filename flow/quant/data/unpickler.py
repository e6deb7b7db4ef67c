# SPDX-License-Identifier: Apache-2.0
"""Reads pickled numpy arrays and nothing else: a pickle from outside could run any program."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        if module == "numpy.core.multiarray":  # where it was before numpy 2
            module = "numpy._core.multiarray"
        return super().find_class(module, name)


def load_arrays(path: Path) -> Any:
    """The arrays, texts and containers in a pickle, gzipped or not; texts of Python 2 as bytes.

    Raises:
        UnpicklingError: It holds anything else.
    """
    import gzip

    file: BinaryIO
    with path.open("rb") as head:
        zipped = head.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as file:  # type: ignore[assignment]
        return _Arrays(file, encoding="bytes").load()
