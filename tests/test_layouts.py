# SPDX-License-Identifier: Apache-2.0
"""Files whose values are moved about, from ONNX to C++.

Integers against the exact reference, the reference against qonnx's float32 execution, the C++ of the whole
design and of every layer against the integers.
"""

import numpy as np
import pytest
from fuzz import Outcome, compiled_proto, frames_of, try_cpp
from fuzz_graphs import Recipe
from operation_checks import QONNX, body, node, quantised

from flow.api.checks import check_float32, check_integers
from flow.backend import tools
from flow.ir.dataflow import Source

RNG = np.random.default_rng(4)
NUMBERS = {"half": np.array(0.5), "step": np.array(0.3), "zero": np.array(0.0), "bits": np.array(4.0)}


def ints(*values):
    return np.array(values, np.int64)


def quant(x, output, scale="step"):
    return node("Quant", f"{x} {scale} zero bits", output, QONNX, signed=1, narrow=0, rounding_mode="ROUND")


def moved(x, order):
    """``b``: ``x`` in the shape ``s``, its axes in another order, in the shape ``u``."""
    return node("Reshape", f"{x} s", "r"), node("Transpose", "r", "t", perm=order), node("Reshape", "t u", "b")


def weights(*shape):
    return RNG.integers(-3, 4, shape) * 0.5


CASES = {
    # shape, nodes from q to y, arrays, the hardware
    "pad": ((3, 4, 5), [node("Pad", "q p", "t"), quant("t", "y")], {"p": ints(0, 0, 1, 2, 0, 0, 0, 1)}, "Padding Step"),
    "resize": (
        (3, 2, 4),
        [node("Resize", "q _ s", "t", mode="nearest"), quant("t", "y")],
        {"s": np.array([1.0, 1, 3, 2])},
        "Repeat Step",
    ),
    "joined channels": (
        (3, 2, 4),
        [quant("q", "a", "half"), node("Concat", "a q", "c", axis=1), quant("c", "y")],
        {},
        "Step Concatenation Step",
    ),
    "mean of a sequence": (
        (3, 7),
        [node("GlobalAveragePool", "q", "t"), quant("t", "y")],
        {},
        "Flatten Pooling Step",
    ),
    "means as a gate": (
        (3, 2, 5),
        [
            node("GlobalAveragePool", "q", "m"),
            quant("m", "g", "half"),
            node("Mul", "q g", "t"),
            quant("t", "y"),
        ],
        {},
        "Pooling Step Gate Step",
    ),
    "a factor for each channel": (
        (3, 2, 5),
        [node("Mul", "q f", "m"), node("Add", "m b", "t"), quant("t", "y")],
        {"f": RNG.normal(size=(1, 3, 1, 1)), "b": RNG.normal(size=(3, 1, 1))},
        "Step",
    ),
    "a scale for each channel": (
        (3, 2, 5),
        [quant("q", "y", "scales")],
        {"scales": np.array([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1)},
        "Step",
    ),
    "padded, then flattened": (
        (2, 3, 2),
        [node("Pad", "q p", "t"), node("Flatten", "t", "f"), node("MatMul", "f w", "m"), quant("m", "y")],
        {"p": ints(0, 0, 1, 0, 0, 0, 0, 1), "w": weights(24, 5)},
        "Padding Flatten Dense Step",
    ),
    "channel shuffle": (
        (6, 2, 3),
        [
            node("Conv", "q w", "c", group=2),
            quant("c", "a"),
            *(
                node("Reshape", "a s", "r"),
                node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
                node("Reshape", "t u", "b"),
            ),
            node("Conv", "b v", "d", group=6, pads=[1, 1, 1, 1]),
            quant("d", "y"),
        ],
        {"w": weights(6, 3, 1, 1), "v": weights(6, 1, 3, 3), "s": ints(1, 2, 3, 2, 3), "u": ints(1, 6, 2, 3)},
        "Convolution Step ChannelShuffle Convolution Step",
    ),
    "channel shuffle without a convolution": (
        (6, 2, 3),
        [
            *(
                node("Reshape", "q s", "r"),
                node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
                node("Reshape", "t u", "b"),
            ),
            node("Add", "b c", "m"),
            quant("m", "y"),
        ],
        {"s": ints(0, 3, 2, -1, 3), "u": ints(1, 6, 2, 3), "c": np.linspace(0, 1, 6).reshape(6, 1, 1)},
        "ChannelShuffle Step",
    ),
    "pixel unshuffle": (
        (2, 4, 6),
        [
            *moved("q", [0, 1, 3, 5, 2, 4]),
            node("Conv", "b w", "d"),
            quant("d", "y"),
        ],
        {"w": weights(3, 12, 1, 1), "s": ints(1, 2, 2, 2, 2, 3), "u": ints(1, 12, 2, 2)},
        "PixelUnshuffle Dense Step",
    ),
    "pixel shuffle written out": (
        (12, 2, 3),
        [
            *moved("q", [0, 1, 4, 2, 5, 3]),
            quant("b", "y"),
        ],
        {"s": ints(1, 2, 2, 3, 2, 3), "u": ints(1, 2, 4, 9)},
        "PixelShuffle Step",
    ),
    "pixels of a sequence": (
        (6, 4),
        [
            *moved("q", [0, 1, 3, 2]),
            node("Conv", "b w", "d"),
            quant("d", "y"),
        ],
        {"w": weights(3, 2, 3), "s": ints(1, 2, 3, 4), "u": ints(1, 2, 12)},
        "ChannelShuffle Flatten Flatten Convolution Step",
    ),
    "space to depth": (
        (3, 4, 6),
        [
            quant("q", "a", "scales"),
            node("SpaceToDepth", "a", "b", blocksize=2),
            node("Conv", "b w", "d"),
            quant("d", "y"),
        ],
        {"w": weights(3, 12, 1, 1), "scales": np.array([0.25, 0.5, 0.125]).reshape(1, 3, 1, 1)},
        "Step PixelUnshuffle Dense Step",
    ),
    "gather of channels": (
        (3, 2, 5),
        [node("Gather", "q i", "t", axis=1), node("Conv", "t w", "d"), quant("d", "y")],
        {"i": ints(2, 0, 1), "w": weights(2, 3, 2, 2)},
        "Convolution Step",
    ),
    "positions as inputs": (  # an MLP-Mixer mixes tokens so
        (3, 8),
        [
            node("MatMul", "q w", "a"),
            quant("a", "b"),
            node("Conv", "b v", "d", pads=[1, 1]),
            quant("d", "y"),
        ],
        {"w": weights(8, 5), "v": weights(4, 3, 3)},
        "Dense Step Flatten ChannelShuffle Flatten Flatten Convolution Step",
    ),
    "positions as inputs behind a convolution": (
        (3, 8),
        [
            node("Conv", "q v", "d"),
            quant("d", "b"),
            node("MatMul", "b w", "a"),
            quant("a", "y"),
        ],
        {"w": weights(6, 5), "v": weights(4, 3, 3)},
        "Flatten Convolution Step Flatten ChannelShuffle Flatten Dense Step",
    ),
    "weights on the left": (
        (3, 8),
        [node("Conv", "q v", "d"), quant("d", "b"), node("MatMul", "w b", "a"), quant("a", "y")],
        {"w": weights(5, 4), "v": weights(4, 3, 3)},
        "Flatten Convolution Step Dense Step",
    ),
    "a flat image in two parts": (
        (2, 3, 4),
        [
            node("Conv", "q v", "d"),
            quant("d", "a"),
            node("Flatten", "a", "f"),
            node("Split", "f s", "left right", axis=1),
            node("MatMul", "left w", "l"),
            node("MatMul", "right u", "r"),
            quant("l", "l4"),
            quant("r", "r4"),
            node("Concat", "l4 r4", "y", axis=1),
        ],
        {"v": weights(3, 2, 1, 1), "s": ints(10, 26), "w": weights(10, 3), "u": weights(26, 2)},
        "Dense Step Flatten ChannelShuffle Flatten "
        "Flatten Selection Flatten Selection Dense Dense Step Step Concatenation",
    ),
    "height and width change places": (
        (4, 2, 3),
        [
            node("Conv", "q v", "d"),
            quant("d", "a", "scales"),
            node("Transpose", "a", "t", perm=[0, 1, 3, 2]),
            node("Conv", "t w", "e"),
            quant("e", "y"),
        ],
        {"v": weights(3, 4, 1, 1), "w": weights(2, 3, 2, 1), "scales": np.array([0.25, 0.5, 1]).reshape(1, 3, 1, 1)},
        "Dense Step Flatten ChannelShuffle Flatten Convolution Step",
    ),
    "rows in another order": (
        (2, 4, 3),
        [node("Gather", "q i", "t", axis=2), node("Conv", "t w", "d"), quant("d", "y")],
        {"i": ints(2, 0, 3, 1), "w": weights(2, 2, 2, 2)},
        "Flatten ChannelShuffle Flatten Convolution Step",
    ),
    "rows joined": (
        (2, 4, 3),
        [
            node("Conv", "q v", "c", pads=[0, 0, 0, 0]),
            quant("c", "a", "eighth"),
            node("Concat", "a q", "t", axis=2),
            node("Conv", "t w", "d"),
            quant("d", "y"),
        ],
        {"v": weights(2, 2, 2, 1), "w": weights(2, 2, 2, 2), "eighth": np.array(0.125)},
        "Convolution Step Flatten Flatten Concatenation Flatten Convolution Step",
    ),
    "a zero point in a transposed convolution": (
        (2, 3, 4),
        [
            node("Quant", "q step three bits", "a", QONNX, signed=0, narrow=0, rounding_mode="ROUND"),
            node("ConvTranspose", "a w", "t", strides=[2, 2], pads=[1, 0, 0, 0]),
            quant("t", "y"),
        ],
        {"w": weights(2, 3, 3, 3), "three": np.array(3.0)},
        "Step Convolution PixelShuffle Selection Step",
    ),
    "padding by a zero point of each channel": (
        (2, 3, 4),
        [
            node("Quant", "q step threes bits", "a", QONNX, signed=0, narrow=0, rounding_mode="ROUND"),
            node("Conv", "a w", "t", pads=[1, 1, 1, 1]),
            quant("t", "y"),
        ],
        {"w": weights(2, 2, 3, 3), "threes": np.array([3.0, 7.0]).reshape(1, 2, 1, 1)},
        "Step Convolution Step",
    ),
    "transposed between a sum and its quantiser": (
        (4, 2, 3),
        [
            node("Conv", "q v", "d"),
            node("Transpose", "d", "t", perm=[0, 3, 1, 2]),
            node("Reshape", "t r", "u"),
            quant("u", "y", "scales"),
        ],
        {"v": weights(3, 4, 1, 1), "scales": np.array([0.25, 0.5, 0.125]).reshape(1, 1, 3), "r": ints(1, 6, 3)},
        "Dense Flatten ChannelShuffle Flatten Flatten Step",
    ),
    "means of columns": (
        (3, 4, 5),
        [
            node("Conv", "q v", "d"),
            quant("d", "a"),
            node("ReduceMean", "a", "m", axes=[2], keepdims=0),
            node("ReduceMax", "a", "n", axes=[2], keepdims=0),
            quant("m", "b"),
            node("Conv", "b w", "e"),
            quant("e", "f"),
            node("Concat", "f n", "y", axis=2),
        ],
        {"v": weights(3, 3, 1, 1), "w": weights(3, 3, 2)},
        "Dense Step Pooling Pooling Step Convolution Step Flatten Flatten Concatenation Flatten",
    ),
    "sums over an axis of an image alone": (
        (3, 4, 5),
        [node("ReduceSum", "q a", "s"), quant("s", "y")],
        {"a": ints(1)},
        "Pooling Step",
    ),
    "a vector as a sequence of one": (
        (2,),
        [
            node("Unsqueeze", "q two", "u"),
            node("Conv", "u w", "c", group=2),
            node("Split", "c", "l r", axis=1),
            node("Concat", "r l", "j", axis=1),
            quant("j", "y"),
        ],
        {"two": ints(2), "w": weights(2, 1, 1)},
        "Flatten Flatten Convolution Step Selection Step Selection Concatenation",
    ),
    "strides that differ": (
        (2, 3, 4),
        [node("ConvTranspose", "q w", "t", strides=[3, 2], pads=[1, 0, 0, 0]), quant("t", "y")],
        {"w": weights(2, 3, 4, 3)},
        "Convolution PixelShuffle Selection Step",
    ),
}


def compiled(case):
    shape, nodes, arrays, _ = CASES[case]
    proto = quantised(body(nodes, (1, *shape), arrays | NUMBERS), bits=5, scale=0.125)
    return compiled_proto(proto, None)


@pytest.mark.parametrize("case", CASES)
def test_integers(case):
    found = compiled(case)
    kinds = [type(n).__name__ for n in found.graph.nodes if not isinstance(n, Source)]
    assert kinds == CASES[case][3].split()
    frames = frames_of(found)
    for check in (check_integers(found, [frames]), check_float32(found, [frames])):
        assert check.compared > 0
        assert check.differences == 0, check.detail


@pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
def test_cpp():
    outcomes = {case: Outcome(Recipe(0), compiled=compiled(case)) for case in CASES}
    try_cpp(list(outcomes.values()))
    for case, outcome in outcomes.items():
        assert (outcome.finding, outcome.refused, outcome.cpp) == ("", "", True), f"{case}: {outcome.detail}"
