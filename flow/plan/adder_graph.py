# SPDX-License-Identifier: Apache-2.0
"""A constant matrix as shifts and adders that its outputs share: ``y = x @ matrix`` without a multiplication.

Shifts by constants are wires. A graph is linear, so that it equals its matrix if it does on the unit vectors.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flow.errors import ExactnessError
from flow.ir.tensor_type import interval_products
from flow.ir.types import Ints, IntType


@dataclass(frozen=True, slots=True)
class Term:
    """``sign * (node << shift)``; nodes are numbered inputs first, then adders."""

    node: int
    shift: int
    sign: int


@dataclass(frozen=True, slots=True)
class Adder:
    """``(left << left_shift) + (right << right_shift)``, or their difference."""

    left: int
    left_shift: int
    right: int
    right_shift: int
    subtract: bool


@dataclass(frozen=True)
class AdderGraph:
    """Adders in an order in which they can be computed.

    Attributes:
        inputs: How many.
        adders: Adder ``i`` is node ``inputs + i``.
        outputs: What each output is; None for zero.
        solver: Who found it.
    """

    inputs: int
    adders: tuple[Adder, ...]
    outputs: tuple[Term | None, ...]
    solver: str

    def evaluate(self, x: Ints) -> Ints:
        """(frames, inputs) to (frames, outputs)."""
        nodes = self._nodes(x)
        zero = np.zeros(len(x), np.int64)
        return np.stack([zero if t is None else t.sign * (nodes[t.node] << t.shift) for t in self.outputs], axis=1)

    def _nodes(self, x: Ints) -> list[Ints]:
        nodes = list(x.T)
        for a in self.adders:
            left, right = nodes[a.left] << a.left_shift, nodes[a.right] << a.right_shift
            nodes.append(left - right if a.subtract else left + right)
        return nodes

    def prove(self, matrix: Ints) -> None:
        """Compares it with its matrix on every unit vector.

        Raises:
            ExactnessError: They differ.
        """
        if not np.array_equal(self.evaluate(np.eye(self.inputs, dtype=np.int64)), matrix):
            raise ExactnessError(
                f"the adder graph of {self.solver} is not the matrix that it was made for",
                "this is a defect; please report it with the model",
            )

    def types(self, lo: Ints, hi: Ints) -> list[IntType]:
        """The narrowest type of every adder, from the interval of each input."""
        units = np.eye(self.inputs, dtype=np.int64)
        forms = np.array(self._nodes(units)[self.inputs :], np.int64).reshape(-1, self.inputs)  # of each adder
        low, high = interval_products(forms, lo, hi)
        bounds = zip(low.sum(1).tolist(), high.sum(1).tolist(), strict=True)
        return [IntType.holding(min(least, 0), max(most, 0)) for least, most in bounds]

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """How many adders lie one behind the other up to each node; 0 for inputs."""
        levels = [0] * self.inputs
        for a in self.adders:
            levels.append(1 + max(levels[a.left], levels[a.right]))
        return tuple(levels)

    @property
    def depth(self) -> int:
        """The most adders behind each other on the way to an output."""
        return max((self.levels[t.node] for t in self.outputs if t is not None), default=0)

    def stages(self, levels_per_stage: int) -> int:
        """Cycles of a pipeline with so many levels of adders between registers."""
        return -(-self.depth // levels_per_stage)

    def bits(self, lo: Ints, hi: Ints) -> int:
        """Bits of all carry chains, a negation at the end included.

        The low bits of a sum that only one operand has are wires, unless they are subtracted.
        """
        types = self.types(lo, hi)
        total = 0
        for a, result in zip(self.adders, types, strict=True):
            wires = a.right_shift if a.subtract else max(a.left_shift, a.right_shift)
            total += max(result.bits - wires, 0)
        inputs = [
            IntType.holding(min(low, 0), max(high, 0)) for low, high in zip(lo.tolist(), hi.tolist(), strict=True)
        ]
        widths = [t.bits for t in (*inputs, *types)]
        return total + sum(widths[t.node] + 1 for t in self.outputs if t is not None and t.sign < 0)

    def register_bits(self, input_bits: list[int], lo: Ints, hi: Ints, levels_per_stage: int) -> int:
        """Bits that a pipeline keeps: each value at the end of every stage up to the last one before it is read."""
        widths = [*input_bits, *(t.bits for t in self.types(lo, hi))]
        stage = [-(-level // levels_per_stage) for level in self.levels]  # inputs are there before stage 1
        last = [0] * len(widths)  # the last stage at whose end a value must be kept
        for place, a in enumerate(self.adders):
            for node in (a.left, a.right):
                last[node] = max(last[node], stage[self.inputs + place] - 1)
        for term in self.outputs:
            if term is not None:
                last[term.node] = self.stages(levels_per_stage)
        ends = zip(widths, stage, last, strict=True)
        return sum(width * max(0, end - max(first, 1) + 1) for width, first, end in ends)


class GraphBuilder:
    """Adds terms; what was added before is shared."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.adders: list[Adder] = []
        self._known: dict[Adder, int] = {}

    def add(self, one: Term | None, other: Term | None) -> Term | None:
        """The sum of two terms; None stands for zero."""
        if one is None or other is None:
            return one or other
        if one.sign == other.sign:  # a sum has one order
            left, right = sorted((one, other), key=lambda t: (t.shift, t.node))
        else:
            left, right = (one, other) if one.sign > 0 else (other, one)
        base = min(left.shift, right.shift)
        subtract = one.sign != other.sign
        adder = Adder(left.node, left.shift - base, right.node, right.shift - base, subtract)
        if adder not in self._known:
            self._known[adder] = self.inputs + len(self.adders)
            self.adders.append(adder)
        return Term(self._known[adder], base, 1 if subtract else one.sign)

    def finish(self, outputs: list[Term | None], solver: str) -> AdderGraph:
        return AdderGraph(self.inputs, tuple(self.adders), tuple(outputs), solver)
