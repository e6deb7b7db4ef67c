# SPDX-License-Identifier: Apache-2.0
"""The oracle's further operators against ONNX's test vectors, and the reference against the oracle, exactly."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import oracle
import oracle_operators
import pytest
from onnx import numpy_helper
from operation_checks import QONNX, body, node, quantised

from flow.frontend.importer import import_proto
from flow.ir.numbers import to_float
from flow.ir.reference import DOUBLE, SINGLE, Evaluation

VECTORS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
MOST = 2000  # elements of a result: the oracle is slow


def test_the_oracle_meets_the_vectors_of_onnx():
    folders = sorted(VECTORS.glob("test_*"))
    if not folders:
        pytest.skip("this onnx has no test vectors")
    met = Counter()
    for folder in folders:
        proto = onnx.load(folder / "model.onnx")
        ops = [n.op_type for n in proto.graph.node]
        if len(ops) != 1 or ops[0] not in oracle_operators.OPERATORS:
            continue
        data = folder / "test_data_set_0"
        inputs = [numpy_helper.to_array(onnx.load_tensor(path)) for path in sorted(data.glob("input_*.pb"))]
        expected = [numpy_helper.to_array(onnx.load_tensor(path)) for path in sorted(data.glob("output_*.pb"))]
        if sum(v.size for v in (*inputs, *expected)) > MOST or any(
            v.size == 0 or v.dtype.kind not in "fiu" for v in inputs
        ):
            continue
        if not all(np.isfinite(v).all() for v in inputs if v.dtype.kind == "f"):
            continue
        present = iter(inputs)
        given = [oracle.exact(next(present)) if name else None for name in proto.graph.node[0].input]
        try:
            found = oracle.evaluate_node(proto.graph.node[0], given, oracle.opset_of(proto), 200)
        except (NotImplementedError, KeyError):  # interpolation, coordinates, storage orders
            continue
        for ours, theirs in zip(found, expected, strict=False):
            assert ours.shape == theirs.shape, folder.name
            assert np.allclose(oracle.to_float(ours), theirs.astype(np.float64), rtol=1e-5, atol=1e-4), folder.name
        met[ops[0]] += 1
    assert sum(met.values()) > 100, met
    assert set(met) >= {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "Pad", "Slice", "Split", "Resize", "TopK"}, (
        met
    )


RNG = np.random.default_rng(4)
IMAGE = (1, 4, 5, 4)


def reals(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


CASES = {
    "conv": (
        [node("Conv", "q w b", pads=[1, 0, 1, 1], strides=[2, 1], group=2)],
        {"w": reals(6, 2, 3, 2), "b": reals(6)},
    ),
    "depthwise": ([node("Conv", "q w", dilations=[2, 1], group=4)], {"w": reals(8, 1, 2, 2)}),
    "same": ([node("Conv", "q w", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": reals(3, 4, 2, 2)}),
    "transposed": (
        [node("ConvTranspose", "q w b", strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0], group=2)],
        {"w": reals(4, 2, 2, 3), "b": reals(4)},
    ),
    "max": ([node("MaxPool", "q", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], ceil_mode=1)], {}),
    "average": ([node("AveragePool", "q", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "whole average": (
        [
            node(
                "AveragePool",
                "q",
                kernel_shape=[3, 2],
                strides=[2, 3],
                count_include_pad=1,
                ceil_mode=1,
                pads=[1, 0, 0, 0],
            )
        ],
        {},
    ),
    "global": ([node("GlobalAveragePool", "q", "g"), node("Mul", "q g")], {}),
    "global max": ([node("GlobalMaxPool", "q", "g"), node("Sub", "g q")], {}),
    "mean": ([node("ReduceMean", "q", axes=[2, 3], keepdims=0)], {}),
    "sum": ([node("ReduceSum", "q a", keepdims=1)], {"a": ints(1)}),
    "greatest": ([node("ReduceMax", "q", axes=[-1], keepdims=0)], {}),
    "split": ([node("Split", "q n", "l r", axis=1), node("Sigmoid", "r", "s"), node("Mul", "l s")], {"n": ints(2, 2)}),
    "slice": ([node("Slice", "q s e a t")], {"s": ints(1, -1), "e": ints(9, 9), "a": ints(2, 1), "t": ints(2, 1)}),
    "pad": ([node("Pad", "q p v")], {"p": ints(0, 0, 1, 2, 0, 0, 0, 1), "v": np.float32(0.3)}),
    "resize": ([node("Resize", "q _ f", mode="nearest")], {"f": np.array([1, 1, 2, 3], np.float32)}),
    "pixels": ([node("DepthToSpace", "q", blocksize=2, mode="CRD")], {}),
    "blocks": (
        [node("Slice", "q s e a", "c"), node("SpaceToDepth", "c", blocksize=2)],
        {"s": ints(0), "e": ints(4), "a": ints(2)},
    ),
    "residual": ([node("Relu", "q", "r"), node("Add", "q r", "t"), node("Concat", "t q", axis=1)], {}),
    "hard sigmoid": ([node("HardSigmoid", "q", alpha=0.3)], {}),
    "hard swish": ([node("HardSwish", "q")], {}),
    "prelu": ([node("PRelu", "q s")], {"s": np.abs(reals(4, 1, 1))}),
    "elu": ([node("Elu", "q")], {}),
    "softplus": ([node("Softplus", "q")], {}),
    "gelu": ([node("Gelu", "q")], {}),
    "gelu tanh": ([node("Gelu", "q", approximate="tanh")], {}),
    "silu": ([node("Sigmoid", "q", "s"), node("Mul", "q s")], {}),
    "sign": ([node("Sign", "q")], {}),
}


def model(name, mode):
    """The nodes of a case between two Quants; the second has few levels, so that ties are met."""
    nodes, arrays = CASES[name]
    more = {"out_scale": np.float32(0.125), "out_zero": np.float32(1), "out_bits": np.float32(5)}
    last = node("Quant", "y out_scale out_zero out_bits", "z", QONNX, signed=1, narrow=1, rounding_mode=mode)
    return quantised(body([*nodes, last], IMAGE, {**arrays, **more}, 20), bits=6, scale=0.25)


@pytest.mark.parametrize("name", CASES)
def test_the_reference_is_the_oracle(name):
    x = RNG.normal(size=(1, *IMAGE[1:])) * 3
    x = np.concatenate([x, np.round(x * 4) / 4 + 0.125]).astype(np.float32).astype(np.float64)
    for mode in ("ROUND", "CEIL"):
        proto = model(name, mode)
        exact = oracle.evaluate(proto, {"x": x})
        graph = import_proto(proto).graph
        for precision in (DOUBLE, SINGLE):
            run = Evaluation(graph, {"x": x}, precision=precision)
            levels = oracle.quant_integers(proto, exact)["z"]
            assert run.decisions["z"].levels.tolist() == levels.tolist()
            y, true = run.tensors["y"], exact["y"]
            error = np.broadcast_to(y.error, y.value.shape)
            for v, e, t in zip(y.value.ravel().tolist(), error.ravel().tolist(), true.ravel(), strict=True):
                low, high = (t.lo, t.hi) if isinstance(t, oracle.Interval) else (Fraction(t), Fraction(t))
                slack = high - low
                assert Fraction(v) - Fraction(e) - slack <= low <= high <= Fraction(v) + Fraction(e) + slack
        for flat in range(0, true.size, max(1, true.size // 9)):
            index = tuple(int(i) for i in np.unravel_index(flat, true.shape))
            number = run.number("y", index)
            if isinstance(number, Fraction) and not isinstance(true[index], oracle.Interval):
                assert number == true[index]
            else:
                assert to_float(number) == pytest.approx(float(true[index]), rel=1e-12, abs=1e-14)


def test_trunc_by_hand():
    values = np.array([0, 1, 3, 5, 7, -1, -3, -6, 100, -100]) / 4

    def trunc(mode, *rest, **attributes):
        made = node("Trunc", " ".join("xszbtc"[: 4 + len(rest)]), "y", QONNX, rounding_mode=mode, **attributes)
        inputs = [values, 0.25, 0.0, 8.0, *rest]
        (y,) = oracle.evaluate_node(made, [oracle.exact(np.float32(v)) for v in inputs])
        return [float(v) for v in y]

    assert trunc("FLOOR", 0.5, 4.0)[:8] == [0, 0, 0.5, 1, 1.5, -0.5, -1, -1.5]
    assert trunc("FLOOR", 0.5, 4.0)[8:] == [3.5, -4]
    assert trunc("FLOOR", 0.5, 4.0, signed=0, narrow=1)[8:] == [7, 0]
    assert trunc("FLOOR", 7.0)[:4] == [0, 0, 0.25, 0.5]
