# SPDX-License-Identifier: Apache-2.0
"""The integer graph against the exact reference, tensor by tensor, at tolerance zero."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flow.ir.types import Ints


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One number that differs.

    Attributes:
        tensor: Where.
        frame: In which frame.
        channel: Which element of the frame, in row-major order.
        expected: What it should be.
        found: What it is.
    """

    tensor: str
    frame: int
    channel: int
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"'{self.tensor}', frame {self.frame}, channel {self.channel}: expected {self.expected}, found {self.found}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tensors of the same names, compared.

    Attributes:
        compared: Numbers that were compared.
        differences: How many differ.
        first: The first of them, in the order of the tensors.
        frames: The frames in which something differs.
    """

    compared: int
    differences: int
    first: tuple[Mismatch, ...]
    frames: frozenset[int]

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
            self.compared + other.compared,
            self.differences + other.differences,
            (self.first + other.first)[:MAX_LISTED],
            self.frames | other.frames,
        )


MAX_LISTED = 20
NOTHING = Comparison(0, 0, (), frozenset())


def compare(expected: Mapping[str, Ints], found: Mapping[str, Ints], first_frame: int = 0) -> Comparison:
    """Compares the tensors that both hold, in the order of ``expected``.

    Args:
        expected: (frames, ...) by name.
        found: The same; shapes may differ as long as the elements of a frame are in the same order.
        first_frame: The number of the first frame of this batch.
    """
    total = NOTHING
    for name, right in expected.items():
        if name not in found:
            continue
        left = found[name].reshape(len(right), -1)
        flat = right.reshape(len(right), -1)
        differ = np.argwhere(left != flat)
        first = tuple(
            Mismatch(name, first_frame + int(n), int(c), int(flat[n, c]), int(left[n, c]))
            for n, c in differ[:MAX_LISTED]
        )
        frames = frozenset(first_frame + int(n) for n in np.unique(differ[:, 0]))
        total += Comparison(flat.size, len(differ), first, frames)
    return total
