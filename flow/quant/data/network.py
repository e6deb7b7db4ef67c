# SPDX-License-Identifier: Apache-2.0
"""NSL-KDD: connections of a network, normal ones and attacks."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.errors import DataError
from flow.quant.data.dataset import Dataset, dataset, folder, opened

_COLUMNS = 41  # features of a connection; the label follows, then, in most files, how hard it was to tell
_CATEGORIES = (1, 2, 3)  # protocol, service, flag: words
_NORMAL = "normal"
_TRAIN = ("KDDTrain+", "KDDTrain+_20Percent", "nslkdd_train", "nslkdd_train20")
_TEST = ("KDDTest+", "nslkdd_test")
_ENDS = (".txt", ".csv", ".txt.gz", ".csv.gz")
Rows = list[list[str]]


def nsl_kdd(path: Path | None) -> Dataset:
    """Class 0 is normal, 1 an attack. From a folder with KDDTrain+.txt and KDDTest+.txt; .csv and .gz will do, too.

    Words become one-hot, in the order of the alphabet, by those of the training data: a word that is met first in the
    test data has no 1. Numbers become log(1 + x), then from 0 to 1 over the training data. Test data may exceed that.
    """
    where = folder(path, "nsl_kdd", "fetch KDDTrain+.txt and KDDTest+.txt of NSL-KDD")
    train, test = (opened(_file(where, names), _read, "a table of NSL-KDD") for names in (_TRAIN, _TEST))
    words = [sorted({row[column] for row in train}) for column in _CATEGORIES]
    train_x, test_x = _numbers(train), _numbers(test)
    low, high = train_x.min(0), train_x.max(0)
    room = np.where(high > low, high - low, 1)
    parts = []
    for rows, x in ((train, train_x), (test, test_x)):
        one_hot = [
            np.array([row[column] for row in rows])[:, None] == np.array(known)
            for column, known in zip(_CATEGORIES, words, strict=True)
        ]
        labels = np.array([row[_COLUMNS] != _NORMAL for row in rows]).astype(np.int64)
        parts.append((np.concatenate([(x - low) / room, *one_hot], axis=1), labels))
    return dataset("nsl_kdd", *parts)


def _file(where: Path, names: Sequence[str]) -> Path:
    found = [where / f"{name}{end}" for name in names for end in _ENDS if (where / f"{name}{end}").is_file()]
    return found[0] if found else where / f"{names[0]}.txt"


def _read(path: Path) -> Rows:
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("ascii")
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    for number, row in enumerate(rows, 1):
        if len(row) not in (_COLUMNS + 1, _COLUMNS + 2):
            raise DataError(
                f"{path}, row {number}, has {len(row)} columns", "each row has 41 features, a label and a difficulty"
            )
    if not rows:
        raise DataError(f"{path} is empty", "fetch it again")
    return rows


def _numbers(rows: Rows) -> NDArray[Any]:
    kept = [column for column in range(_COLUMNS) if column not in _CATEGORIES]
    try:
        return np.log1p(np.array([[float(row[column]) for column in kept] for row in rows]))
    except ValueError as error:
        raise DataError(f"NSL-KDD: a feature is no number ({error})", "fetch the files again") from error
