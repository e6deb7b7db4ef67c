# SPDX-License-Identifier: Apache-2.0
"""The random models run, and qonnx's float32 executor agrees with the exact oracle on them.

Twice: node by node (every node on the executor's own inputs, so that no error adds up: there every Quant must
give an integer that the float32 rounding of x / scale + zero_point explains, in every frame), and end to end
(every tensor of a frame, as long as no Quant of that frame has fallen on the other side of a boundary).
"""

import collections
import time
from fractions import Fraction

import numpy as np
import onnx
import oracle
import pytest
import random_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

BATCH = 8
SEEDS, BLOCK = 200, 50
EPS = 2.0**-24


def execute(model, feeds):
    """Every tensor by name, from qonnx's executor."""
    batch = next(iter(feeds.values())).shape[0]
    return execute_onnx(ModelWrapper(random_models.set_batch(model, batch)), feeds, True)


def magnitude(node, inputs):
    """A float64 bound of the numbers that meet in one node, element by element of its output."""
    a = [np.abs(oracle.to_float(i)) if i is not None else np.zeros(()) for i in inputs]
    attributes = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
    if node.op_type in ("MatMul", "Gemm"):
        b = a[1].T if attributes.get("transB") else a[1]
        bias = a[2] * abs(attributes.get("beta", 1.0)) if len(a) > 2 else 0.0
        return (a[0] @ b * abs(attributes.get("alpha", 1.0)) + bias) * (a[0].shape[-1] + 2)
    if node.op_type in ("Add", "Sub"):
        return a[0] + a[1]
    if node.op_type == "BatchNormalization":
        factor = a[1] / np.sqrt(a[4] + attributes.get("epsilon", 1e-5))
        return ((a[0] + a[3]) * factor + a[2]) * 4
    if node.op_type in ("Sigmoid", "Tanh", "Softmax"):
        return np.full((), 2.0**5)
    return None  # of the size of the result


def check_quant(node, inputs, got):
    """Each executed value is the Quant of some t within the float32 error of x / scale + zero_point."""
    x, scale = inputs[:2]
    got = got.astype(np.float64)
    if node.op_type == "BipolarQuant":
        expected = oracle.evaluate_node(node, inputs)[0]
        assert np.array_equal(got, oracle.to_float(expected)), node.name
        return
    zero_point, bits = inputs[2:4]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    signed, narrow = attributes["signed"], attributes["narrow"]
    mode = attributes["rounding_mode"].decode()
    shaped = np.broadcast_arrays(x, scale, zero_point, bits, got)
    for v, s, z, b, y in zip(*(a.ravel() for a in shaped), strict=True):
        t = v / s + z
        error = (abs(v / s) + abs(t)) * Fraction(2) ** -23 + Fraction(2) ** -140
        least, greatest = (
            oracle.quant_integer(p, int(b), bool(signed), bool(narrow), mode) for p in (t - error, t + error)
        )
        q = float(y) / float(s) + float(z)
        assert least <= round(q) <= greatest, f"{node.name}: {q} of t = {float(t)!r}"
        assert abs(q - round(q)) < 1e-3 + 1e-6 * abs(q)


def check_nodes(model, context):
    """Every node by itself, on the executor's inputs."""
    for node in model.graph.node:
        inputs = [oracle.exact(context[name]) if name else None for name in node.input]
        got = context[node.output[0]]
        if oracle.is_quant(node):
            check_quant(node, inputs, got)
            continue
        expected = oracle.to_float(oracle.evaluate_node(node, inputs)[0])
        assert got.shape == expected.shape, node.name
        size = magnitude(node, inputs)
        size = np.abs(expected) if size is None else size
        assert (np.abs(got - expected) <= 4 * EPS * size + 1e-37).all(), node.name


def check_end_to_end(model, exact, context):
    """Every tensor of the frames in which no Quant has flipped so far; the number of flipped frames."""
    integers = oracle.quant_integers(model, exact)
    carried = {model.graph.input[0].name}
    clean = np.ones(BATCH, dtype=bool)
    sizes = collections.defaultdict(float)  # about the largest number that float32 has rounded since a Quant
    for node in model.graph.node:
        out = node.output[0]
        if node.op_type == "Shape" or oracle.is_integer_tensor(exact[out]):
            continue
        if carried.intersection(node.input):
            carried.add(out)
        elif oracle.is_quant(node) and not np.allclose(oracle.to_float(exact[out]), context[out], rtol=1e-5):
            return BATCH  # a weight flipped: nothing is comparable
        if out not in carried:
            continue
        want, got = oracle.to_float(exact[out]), context[out].astype(np.float64)
        assert want.shape == got.shape
        if not oracle.is_quant(node):
            sizes[out] = max(float(np.abs(want).max()), *(sizes[name] / 100 for name in node.input))
            error = np.abs(want - got)[clean]
            assert (error <= 1e-4 * sizes[out]).all(), f"{node.name}: {error.max()} of {sizes[out]}"
            continue
        scale = oracle.to_float(exact[node.input[1]])
        same = np.abs(got - want) < 0.1 * np.abs(scale)
        assert integers[out].shape == got.shape
        clean &= same.reshape(BATCH, -1).all(axis=1)
    return int((~clean).sum())


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_two_hundred_models_agree_with_qonnx(first):
    flipped = 0
    for seed in range(first, first + BLOCK):
        model = random_models.random_model(seed)
        onnx.checker.check_model(model, full_check=True)
        feeds = random_models.random_feeds(model, seed, BATCH)
        exact, context = oracle.evaluate(model, feeds), execute(model, feeds)
        try:
            check_nodes(model, context)
            flipped += check_end_to_end(model, exact, context)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert flipped < 0.15 * BLOCK * BATCH  # the comparison end to end is worth its name


def test_models_without_an_input_quant_agree_with_qonnx():
    for seed in range(40):
        model = random_models.random_model(seed, input_quant=False)
        feeds = random_models.random_feeds(model, seed, BATCH)
        exact, context = oracle.evaluate(model, feeds), execute(model, feeds)
        check_nodes(model, context)
        check_end_to_end(model, exact, context)
        assert np.array_equal(feeds["x"] * 2**10, np.round(feeds["x"] * 2**10))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_hypothesis_models_run_in_both(data):
    model = data.draw(random_models.models())
    feeds = data.draw(random_models.feeds(model))
    exact, context = oracle.evaluate(model, feeds), execute(model, feeds)
    check_nodes(model, context)
    assert exact["y"].shape == context["y"].shape


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_hypothesis_models_without_an_input_quant_run_in_both(data):
    model = data.draw(random_models.models_without_input_quant())
    feeds = data.draw(random_models.feeds(model))
    exact, context = oracle.evaluate(model, feeds), execute(model, feeds)
    check_nodes(model, context)
    assert exact["y"].shape == context["y"].shape


def test_the_same_seed_gives_the_same_model():
    assert random_models.random_model(5) == random_models.random_model(5)
    assert random_models.random_model(5) != random_models.random_model(6)


def test_round_to_zero_is_drawn_on_request():
    modes = set()
    for seed in range(30):
        model = random_models.random_model(seed, modes=("ROUND_TO_ZERO",))
        modes |= {a.s for n in model.graph.node for a in n.attribute if a.name == "rounding_mode"}
    assert modes == {b"ROUND", b"ROUND_TO_ZERO"}


def statistics(seeds, batch=4):
    """How often what occurs, over all activation Quants of many models."""
    seen = collections.Counter()
    for seed in seeds:
        model = random_models.random_model(seed)
        constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        values = oracle.evaluate(model, random_models.random_feeds(model, seed, batch))
        integers = oracle.quant_integers(model, values)
        seen["models"] += 1
        model_ties = 0
        for node in model.graph.node:
            seen[node.op_type] += 1
            if node.op_type != "Quant" or node.input[0] in constants:
                continue
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            bits = int(constants[node.input[3]])
            seen[attributes["rounding_mode"].decode()] += 1
            seen[f"bits {bits}"] += 1
            x, scale, zero_point = (values[name] for name in node.input[:3])
            t = oracle.each(lambda x, s, z: x / s + z, x, scale, zero_point).ravel()
            q = integers[node.output[0]].ravel()
            low, high = oracle.integer_range(bits, attributes["signed"], attributes["narrow"])
            seen["elements"] += t.size
            ties = sum(isinstance(v, Fraction) and v.denominator == 2 and low <= v <= high for v in t)
            model_ties += ties
            seen["ties"] += ties
            seen["saturated"] += sum(bool(v > high or v < low) for v in t if not isinstance(v, oracle.Interval))
            seen["inner"] += sum(low < v < high for v in q)
        seen["models with ties"] += bool(model_ties)
    return seen


def test_ties_and_saturation_are_frequent():
    seen = statistics(range(300))
    assert seen["models with ties"] > 0.5 * seen["models"]
    assert seen["ties"] > 0.03 * seen["elements"]
    assert 0.1 < seen["saturated"] / seen["elements"] < 0.6
    assert seen["inner"] > 0.2 * seen["elements"]
    assert all(seen[mode] for mode in random_models.MODES)
    assert all(seen[f"bits {bits}"] for bits in range(1, 13))
    operators = ("BatchNormalization", "Gemm", "MatMul", "Transpose", "Sigmoid", "Tanh", "Softmax", "Clip")
    operators += ("LeakyRelu", "Relu", "Identity", "Flatten", "Reshape", "Shape", "Squeeze", "BipolarQuant")
    assert all(seen[op] for op in (*operators, "Mul", "Div", "Add", "Sub"))


def test_construction_is_fast():
    random_models.random_model(0)
    start = time.process_time()
    for seed in range(200):
        random_models.random_model(seed)
    assert (time.process_time() - start) / 200 < 0.005


def test_an_input_that_meets_no_quant_has_no_steps():
    assert random_models.input_steps(random_models.random_model(1, input_quant=False)) is None
    assert random_models.input_steps(random_models.random_model(1)) is not None


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_size_is_declared(batch):
    model = random_models.set_batch(random_models.random_model(3), batch)
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_value == batch
    onnx.checker.check_model(model, full_check=True)
