# SPDX-License-Identifier: Apache-2.0
"""Weights of a product as integers, where its inputs are integers with scales and offsets."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from flow.errors import Unsupported, UnsupportedModelError
from flow.ir.model import Binary, Constant, ModelGraph, ModelOp, QuantizedConstant, Unary
from flow.ir.reference import lsb_of
from flow.ir.types import Ints, Reals
from flow.passes.integers.encoding import Encoding, common_step

MAX_WEIGHT_BITS = 32
_NO_COMMON_STEP = "its inputs have unlike scales without a common step, so that its sums are not integers"
_ONE_SCALE = "use one scale for the whole tensor in front of it, or scales that are powers of two"
MAX_UNQUANTIZED_BITS = 16
"""A float parameter without a quantiser is taken as integers if it is a multiple of one step, this wide."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a product.

    Attributes:
        levels: (inputs, outputs).
        steps: What one level is worth, broadcast to ``levels``.
        by_row: Whether that depends on the input.
    """

    levels: Ints
    steps: Reals
    by_row: bool

    def step(self, row: int, column: int) -> Fraction:
        """What one level of a weight is worth."""
        return Fraction(float(self.steps[row, column]))


def weights_of(graph: ModelGraph, node: ModelOp, name: str) -> Weights:
    """The tensor ``name`` as a matrix: its last axis are the outputs, all others the inputs."""
    weight = graph[name]
    if isinstance(weight, QuantizedConstant):
        levels, scale = weight.levels, weight.scale
    elif isinstance(weight, Constant):
        levels, scale = _integers_of(node, weight)
    else:
        raise refused(
            node,
            f"its weights are computed ('{weight.name}', {title(weight)}), not constant",
            "quantise the weights as the last step before the product",
        )
    outputs = levels.shape[-1]
    by_row = scale.ndim > 0 and scale.size > scale.shape[-1]
    return Weights(levels.reshape(-1, outputs), np.broadcast_to(scale, levels.shape).reshape(-1, outputs), by_row)


def integer_product(node: ModelOp, weights: Weights, inputs: Encoding, channel: Ints) -> tuple[Ints, Encoding]:
    """Integer weights, and what the sums of their products with the integers of the input stand for.

    With inputs ``slope[k] * x[k] + offset[k]`` and weights ``steps[k, c] * levels[k, c]`` a sum is
    ``sum_k slope[k] steps[k, c] levels[k, c] x[k] + sum_k offset[k] steps[k, c] levels[k, c]``.

    Args:
        node: Named where that cannot be done.
        weights: (rows, outputs).
        inputs: What the integers of the input stand for.
        channel: (rows, outputs) or (rows, 1): the channel of the input that each row reads.
    """
    levels = weights.levels
    outputs = levels.shape[1]
    if weights.by_row or len(inputs.scale) > 1:
        integers, sums = _in_common_steps(node, weights, inputs.scale, np.broadcast_to(channel, levels.shape))
    else:
        integers, sums = levels, [inputs.scale[0] * weights.step(0, c) for c in range(outputs)]
    offsets = [Fraction(0)] * outputs
    if any(inputs.offset):
        if weights.by_row or len(inputs.offset) > 1:
            count = int(channel.max()) + 1
            offset = inputs.offset * count if len(inputs.offset) == 1 else inputs.offset
            rows = np.broadcast_to(channel, levels.shape)
            offsets = [
                sum(
                    (offset[rows[k, c]] * weights.step(k, c) * int(levels[k, c]) for k in range(len(levels))),
                    Fraction(0),
                )
                for c in range(outputs)
            ]
        else:
            offsets = [inputs.offset[0] * weights.step(0, c) * int(levels[:, c].sum()) for c in range(outputs)]
    return integers, Encoding.of(sums, offsets)


def in_common_phases(node: ModelOp, integers: Ints, encoding: Encoding, phases: int) -> tuple[Ints, Encoding]:
    """Weights (rows, phases * outputs) whose sums have one scale for each output, whatever the phase.

    Phases have scales of their own where the rows have: each takes the common step of its rows.
    """
    outputs = integers.shape[1] // phases
    scale, offset = encoding.channels(integers.shape[1])
    steps = []
    scaled = integers.reshape(-1, phases, outputs).copy()
    for c in range(outputs):
        used = [phase for phase in range(phases) if scaled[:, phase, c].any()]
        step = common_step(scale[phase * outputs + c] for phase in used) or Fraction(1)
        for phase in used:
            factor = int(scale[phase * outputs + c] / step)
            if abs(factor) * int(np.abs(scaled[:, phase, c]).max()) >= 1 << (MAX_WEIGHT_BITS - 1):
                raise refused(node, _NO_COMMON_STEP, _ONE_SCALE)
            scaled[:, phase, c] *= factor
        steps.append(step)
    return scaled.reshape(integers.shape), Encoding.of(steps * phases, offset)


def _in_common_steps(
    node: ModelOp, weights: Weights, scale: tuple[Fraction, ...], channel: Ints
) -> tuple[Ints, list[Fraction]]:
    """Where inputs, or rows, have unlike scales: all products of an output as multiples of a common step.

    The step is the greatest that is exact, found for each output of its own. Two float32 scales have a ratio of
    up to 24 bits over 24, so that weights of 4 bits become some 28 bits wide. Fewer bits would move some sums: that
    the thresholds behind them still tell all inputs apart, as ``narrow_sums`` shows of two operands by trying all
    pairs, cannot be tried of whole windows.
    """
    levels = weights.levels
    integers, sums = np.zeros_like(levels), []
    for c in range(levels.shape[1]):
        worth = [
            (scale[0] if len(scale) == 1 else scale[channel[k, c]]) * weights.step(k, c) for k in range(len(levels))
        ]
        step = common_step(w for k, w in enumerate(worth) if levels[k, c]) or Fraction(1)
        column = [int(w / step) * int(level) if level else 0 for w, level in zip(worth, levels[:, c], strict=True)]
        if max(abs(v) for v in column).bit_length() >= MAX_WEIGHT_BITS:
            raise refused(node, _NO_COMMON_STEP, _ONE_SCALE)
        integers[:, c] = column
        sums.append(step)
    return integers, sums


def _integers_of(node: ModelOp, weight: Constant) -> tuple[Ints, Reals]:
    """Unquantised weights as multiples of a power of two, where they are few bits wide."""
    lsb = lsb_of(weight.value)
    if lsb is not None:
        levels = weight.value * 2.0**-lsb
        if float(np.abs(levels).max(initial=0)) < 2 ** (MAX_UNQUANTIZED_BITS - 1):
            return levels.astype(np.int64), np.array(2.0**lsb)
    raise refused(
        node,
        f"its weights '{weight.name}' are float32 and not quantised",
        "quantise them (brevitas.nn.QuantLinear), so that a Quant node stands behind them",
    )


def refused(node: ModelOp, why: str, remedy: str) -> UnsupportedModelError:
    """That a node cannot be had in integers."""
    return UnsupportedModelError([Unsupported((node.name,), type(node).__name__, why, remedy)])


def title(node: ModelOp) -> str:
    """What a node is called in messages."""
    return node.kind if isinstance(node, Unary | Binary) else type(node).__name__
