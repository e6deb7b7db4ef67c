# SPDX-License-Identifier: Apache-2.0
"""Joins, cuts, padding, resizing, reductions and two activations that meet, against onnxruntime."""

import itertools

import numpy as np
import pytest
from operation_checks import body, check, node, quantised

from flow.errors import UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.model import Permute, Reshape, Slice, Unary, Upsample

RNG = np.random.default_rng(2)
IMAGE = (1, 4, 5, 6)
INT = np.int64


def ints(*values):
    return np.array(values, INT)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat(axis):
    check([node("Relu", "q", "r"), node("Concat", "q r q", axis=axis)], IMAGE)


def test_concat_with_a_constant():
    check(node("Concat", "c q", axis=1), IMAGE, c=RNG.normal(size=(1, 2, 5, 6)))


@pytest.mark.parametrize(
    ("opset", "attributes", "inputs", "arrays"),
    [
        (11, {"axis": 1, "split": [1, 3]}, "q", {}),
        (11, {"axis": -3}, "q", {}),
        (13, {"axis": 1}, "q sizes", {"sizes": ints(3, 1)}),
        (18, {"axis": 1, "num_outputs": 2}, "q", {}),
        (18, {"axis": 2, "num_outputs": 2}, "q", {}),
    ],
)
def test_split(opset, attributes, inputs, arrays):
    nodes = [node("Split", inputs, "a b", **attributes), node("Relu", "b", "c"), node("Concat", "c a", axis=2)]
    if attributes["axis"] == 1:
        nodes[-1] = node("Concat", "c a", axis=1)
    check(nodes, IMAGE, opset=opset, **arrays)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [1], [1]),
        ([0, 1], [9, -1], [3, 2], [2, 3]),
        ([-3], [2**62], [-1], [1]),
        ([0, 0], [1, 2], [0, 1], [1, 1]),
        ([0], [4], [1], [1]),
    ],
)
def test_slice(starts, ends, axes, steps):
    arrays = {"a": ints(*starts), "b": ints(*ends), "c": ints(*axes), "d": ints(*steps)}
    graph = check(node("Slice", "q a b c d"), IMAGE, **arrays)
    assert any(isinstance(n, Slice) for n in graph.nodes) or starts == [0]
    if set(steps) == {1}:
        check(node("Slice", "q", starts=starts, ends=[min(e, 99) for e in ends], axes=axes), IMAGE, opset=9)
        check(node("Slice", "q a b c"), IMAGE, **arrays)


@pytest.mark.parametrize(
    ("indices", "axis", "kind"),
    [
        (ints(2, 0, 3, 1), 1, Permute),
        (ints(-1, -2, -3, -4), -3, Permute),
        (ints(1, 3), 1, Slice),
        (ints(2), 2, Slice),
        (np.array(-1), 3, Reshape),
        (ints(0, 1, 2, 3), 1, Unary),
    ],
)
def test_gather(indices, axis, kind):
    arrays = {"i": np.array(indices, np.int64).reshape(indices.shape)}
    nodes = [node("Gather", "q i", "t", axis=axis), node("Relu", "t")]
    if indices.ndim == 0:  # a number without axes is written as a constant
        nodes.insert(0, node("Constant", "", "i", value_int=int(indices)))
        arrays = {}
    assert isinstance(check(nodes, IMAGE, **arrays)["t"], kind)


def test_slices_of_known_arrays_may_go_backwards():
    nodes = [
        node("Shape", "q", "whole"),
        node("Slice", "whole a b c d", "turned"),
        node("Slice", "turned e f", "two"),
        node("Concat", "one two rest", "target", axis=0),
        node("Reshape", "q target"),
    ]
    arrays = {"a": ints(-1), "b": ints(-99), "c": ints(0), "d": ints(-1), "e": ints(0), "f": ints(2)}
    graph = check(nodes, IMAGE, one=ints(1), rest=ints(4), **arrays)
    assert graph["y"].shape == (6, 5, 4)


@pytest.mark.parametrize("value", [None, 0.0, 1.5])
def test_pad(value):
    pads = [0, 1, 0, 2, 0, 0, 3, 1]
    more = {} if value is None else {"value": value}
    check(node("Pad", "q", pads=pads, mode="constant", **more), IMAGE, opset=10)
    arrays = {} if value is None else {"v": np.array(value)}
    inputs = "q p" if value is None else "q p v"
    check(node("Pad", inputs), IMAGE, p=ints(*pads), **arrays)
    check(node("Pad", "q p _ a"), IMAGE, opset=18, p=ints(1, 0, 2, 3), a=ints(-1, 1))
    check(node("Pad", "q p"), IMAGE, p=ints(*[0] * 8))


COORDINATES = ["asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@pytest.mark.parametrize(("coordinates", "rounding"), list(itertools.product(COORDINATES, NEAREST)))
def test_resize_is_a_repeat_or_refused(coordinates, rounding):
    """Whatever is not refused is what onnxruntime does; the usual forms are not refused."""
    repeats = set()
    for factor in (2, 3, 4):
        nodes = node(
            "Resize", "q _ s", mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=rounding
        )
        arrays = {"s": np.array([1, 1, factor, 1], np.float32)}
        try:
            graph = check(nodes, IMAGE, opset=19, **arrays)
        except UnsupportedModelError as error:
            (problem,) = error.problems
            assert problem.why == (
                f"with coordinate_transformation_mode '{coordinates}' and nearest_mode '{rounding}' it does not "
                "repeat every pixel equally often"
            )
        else:
            assert graph["y"].factors == (1, factor, 1)
            repeats.add(factor)
    if (coordinates, rounding) in {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")}:
        assert repeats == {2, 3, 4}
    if (coordinates, rounding) in {("half_pixel", "floor"), ("align_corners", "floor"), ("asymmetric", "ceil")}:
        assert not repeats


def test_resize_by_sizes_by_axes_and_of_old_operator_sets():
    check(node("Resize", "q _ _ t", mode="nearest"), IMAGE, t=ints(1, 4, 10, 18))
    check(node("Resize", "q _ s", mode="nearest", axes=[3, 2]), IMAGE, opset=18, s=np.array([2.0, 3.0]))
    check(node("Resize", "q _ _ t", mode="nearest", axes=[2]), IMAGE, opset=18, t=ints(15))
    check(node("Resize", "q s", mode="nearest"), IMAGE, opset=10, s=np.array([1.0, 1, 2, 2]))
    check(node("Upsample", "q s", mode="nearest"), IMAGE, opset=9, s=np.array([1.0, 1, 3, 2]))
    check(node("Upsample", "q", mode="nearest", scales=[1.0, 1, 3, 2]), IMAGE, opset=7)
    graph = check(node("Resize", "q _ s", mode="nearest"), IMAGE, s=np.ones(4))
    assert isinstance(graph["y"], Unary)
    assert not any(isinstance(n, Upsample) for n in graph.nodes)


@pytest.mark.parametrize("block", [2, 3])
def test_channels_and_pixels(block):
    for mode in ("DCR", "CRD"):
        check(node("DepthToSpace", "q", blocksize=block, mode=mode), (1, 36, 2, 3))
    graph = check(node("SpaceToDepth", "q", blocksize=block), (1, 2, 6, 12))
    assert graph["y:channels"].block == (block, block)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[1], [2, 3], [-1, -2], [1, 2, 3]])
def test_reductions(op, keep, axes):
    check(node(op, "q a", keepdims=keep), IMAGE, opset=18, a=ints(*axes))
    check(node(op, "q", keepdims=keep, axes=axes), IMAGE, opset=11)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [IMAGE, (1, 3, 7), (1, 2, 3, 4, 5)])
def test_global_pools(op, shape):
    check(node(op, "q"), shape)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_two_activations(op):
    check([node("Tanh", "q", "t"), node(op, "q t")], IMAGE)
    check([node("GlobalAveragePool", "q", "g"), node("Sigmoid", "g", "s"), node(op, "q s")], IMAGE)
    check([node("GlobalAveragePool", "q", "g"), node("Sigmoid", "g", "s"), node(op, "s q")], IMAGE)
    check(node(op, "q q"), IMAGE)


@pytest.mark.parametrize("keep", [0, 1])
def test_the_place_of_the_greatest(keep):
    check(node("ArgMax", "q", axis=1, keepdims=keep), (1, 7), size=0.3, frames=40)
    check(node("ArgMax", "q", axis=-1, keepdims=keep), IMAGE, size=0.1)
    check(node("TopK", "q k", "v y", axis=1), (1, 7), frames=40, size=0.1, k=ints(3))
    check(node("TopK", "q k", "v y"), IMAGE, size=0.1, k=ints(6))


REFUSED = [
    (node("Concat", "q q", axis=0), "it works along axis 0, which mixes frames of a batch"),
    (node("Concat", "q q", axis=5), "axis 5 is not an axis of [1, 4, 5, 6]"),
    (node("Concat", "q c", axis=1), "its constant of shape [2, 4, 5, 6] mixes frames"),
    (node("Concat", "q d", axis=1), "its operands of shapes [[1, 4, 5, 6], [1, 4, 5, 5]] do not fit"),
    (node("Split", "q three", "y z", axis=1), "it makes parts [3] of 4"),
    (node("Slice", "q one two one minus"), "its steps are [-1]: it reverses an axis"),
    (node("Slice", "q one two zero one"), "it cuts the batch axis"),
    (node("Slice", "q two one one one"), "it leaves nothing of [1, 4, 5, 6]"),
    (node("Pad", "q p", mode="reflect"), "its mode is 'reflect'"),
    (node("Pad", "q n"), "its pads [0, 0, -1, 0, 0, 0, 0, 0] are negative: it crops"),
    (node("Pad", "q b"), "it pads the batch axis"),
    (node("Pad", "q one"), "it has 1 pads for 4 axes"),
    (node("Resize", "q _ s", mode="linear"), "its mode is 'linear'"),
    (node("Resize", "q _ s15", mode="nearest"), "its factors are 1, 1, 1.5, 1"),
    (node("Resize", "q _ s05", mode="nearest"), "its factors are 1, 1, 0.5, 1"),
    (node("Resize", "q _ sb", mode="nearest"), "it resizes the batch axis"),
    (node("Resize", "q", mode="nearest"), "it has neither scales nor sizes"),
    (
        node("Resize", "q _ s", mode="nearest", coordinate_transformation_mode="tf_crop_and_resize"),
        "with coordinate_transformation_mode 'tf_crop_and_resize' and nearest_mode 'round_prefer_floor' it does not "
        "repeat every pixel equally often",
    ),
    (node("DepthToSpace", "q", blocksize=3), "4 channels do not make blocks of 3 x 3"),
    (node("Gather", "q i", axis=1), "its indices [0, 1, 1] are neither equally far apart nor all in another order"),
    (node("Gather", "q j", axis=1), "its indices of shape [1] are no places of 4"),
    (node("SpaceToDepth", "q", blocksize=3), "5 x 6 pixels do not fall into blocks of 3"),
    (node("ReduceMean", "q"), "it reduces all axes, the batch axis among them"),
    (node("ReduceMax", "q", axes=[0, 1]), "it works along axis 0, which mixes frames of a batch"),
    (node("ArgMax", "q", axis=1, select_last_index=1), "of equal values it takes the last (select_last_index=1)"),
    (node("TopK", "q two", "v y", largest=0), "it looks for the least values (largest=0)"),
    (node("TopK", "q nine", "v y"), "it takes 9 of 6 values"),
    (node("TopK", "q two", "y"), "its first output, the values, is read"),
    (node("Div", "q q"), "both its operands are activations"),
    (node("Pow", "q q"), "both its operands are activations"),
]
ARRAYS = {
    "i": ints(0, 1, 1),
    "j": ints(4),
    "c": np.zeros((2, 4, 5, 6)),
    "d": np.zeros((1, 4, 5, 5)),
    "three": ints(3),
    "zero": ints(0),
    "one": ints(1),
    "two": ints(2),
    "nine": ints(9),
    "minus": ints(-1),
    "p": ints(*[0, 0, 1, 1] * 2),
    "n": ints(0, 0, -1, 0, 0, 0, 0, 0),
    "b": ints(1, 0, 0, 0, 0, 0, 0, 0),
    "s": np.array([1.0, 1, 2, 1]),
    "s15": np.array([1.0, 1, 1.5, 1]),
    "s05": np.array([1.0, 1, 0.5, 1]),
    "sb": np.array([2.0, 1, 1, 1]),
}


@pytest.mark.parametrize(("refused", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refused(refused, why):
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(quantised(body([refused], IMAGE, ARRAYS)))
    (problem,) = caught.value.problems
    assert (problem.op, problem.nodes, problem.why) == (refused.op_type, (refused.name,), why)
    assert problem.remedy


def test_activations_that_do_not_fit():
    nodes = [node("ReduceMean", "q", "m", axes=[2, 3], keepdims=0), node("Add", "q m")]
    with pytest.raises(UnsupportedModelError, match=r"its activations of shapes \[1, 4, 5, 6\] and \[1, 4\] do not"):
        import_proto(quantised(body(nodes, IMAGE, {})))
