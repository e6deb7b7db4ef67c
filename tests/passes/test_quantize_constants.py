# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
from pass_helpers import assert_model_becomes, bipolar, ints, model, quant

from flow.ir.model import Binary, BipolarQuant, Constant, Input, MatMul, QuantizedConstant, Unary
from flow.ir.reference import Evaluation
from flow.ir.rounding import Rounding
from flow.passes.quantize_constants import quantize_constants

X = Input("x", (2,))


def test_weights_become_levels_with_ties_and_clipping_decided_exactly():
    w = Constant("w", np.array([[0.5, 1.5, -0.5], [2.5, 100.0, -100.0]]))
    before = model(X, w, quant("q", "w", bits=4), quant("a", "x"), MatMul("y", "a", "q"))
    levels = QuantizedConstant("q", ints(0, 2, 0, 2, 7, -8).reshape(2, 3), np.array(1.0))
    assert_model_becomes(quantize_constants, before, model(X, w, levels, quant("a", "x"), MatMul("y", "a", "q")))
    after = quantize_constants(before)
    assert quantize_constants(after) is after


def test_a_zero_point_is_taken_off():
    w = Constant("w", np.array([-3.0, 0.0, 1.25]))
    node = quant("q", "w", scale=0.5, zero=3.0, bits=3, signed=False, rounding=Rounding.FLOOR)
    # positions -3, 3, 5.5: levels 0 (clipped), 3, 5
    expected = QuantizedConstant("q", ints(-3, 0, 2), np.array(0.5))
    assert_model_becomes(quantize_constants, model(w, node), model(w, expected))


def test_a_scale_for_each_channel_is_kept_and_zero_points_broadcast():
    w = Constant("w", np.array([[1.0, 1.0], [-2.0, 3.0]]))
    node = quant("q", "w", scale=[0.5, 2.0], zero=[[1.0], [0.0]], bits=8)
    # positions [[3, 1.5], [-4, 1.5]], levels [[3, 2], [-4, 2]]
    expected = QuantizedConstant("q", ints(2, 1, -4, 2).reshape(2, 2), np.array([0.5, 2.0]))
    assert_model_becomes(quantize_constants, model(w, node), model(w, expected))


def test_bipolar_weights_and_one_computed_on_the_way():
    w = Constant("w", np.array([0.0, -1e-30, 2.0]))
    before = model(w, Unary("n", "neg", "w"), bipolar("q", "n", 0.25), bipolar("p", "w"), outputs=("q", "p"))
    after = model(
        w,
        Unary("n", "neg", "w"),
        QuantizedConstant("q", ints(1, 1, -1), np.array(0.25)),
        QuantizedConstant("p", ints(1, -1, 1), np.array(1.0)),
        outputs=("q", "p"),
    )
    assert_model_becomes(quantize_constants, before, after)


def test_a_bipolar_zero_point_is_taken_off():
    w = Constant("w", np.array([-1.0, -3.0]))
    node = BipolarQuant("q", "w", np.array(1.0), np.array(2.0))
    assert_model_becomes(
        quantize_constants, model(w, node), model(w, QuantizedConstant("q", ints(-1, -3), np.array(1.0)))
    )


def test_a_weight_that_float64_would_round_the_other_way():
    # 0.1 in float64 times 5 is 0.5 rounded; the true quotient by 0.2 (float64) decides
    value, scale = 0.3, 0.2
    exact = round(Fraction(value) / Fraction(scale))
    assert value / scale == 1.4999999999999998 or exact in (1, 2)
    w = Constant("w", np.array([value, 0.1 + 0.2, 0.7]))
    expected = [round(Fraction(float(v)) / Fraction(scale)) for v in w.value]
    found = quantize_constants(model(w, quant("q", "w", scale=scale)))["q"]
    assert found.levels.tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_random_weights_keep_every_value(seed):
    rng = np.random.default_rng(seed)
    w = Constant("w", rng.normal(size=(3, 4)) * 4)
    c = Constant("c", rng.normal(size=4))
    mode = list(Rounding)[seed % len(Rounding)]
    q = quant("q", "s", rng.uniform(0.1, 1, 4), float(rng.integers(-2, 3)), 5, rounding=mode)
    before = model(w, c, Binary("s", "add", "w", "c"), q)
    after = quantize_constants(before)
    assert isinstance(after["q"], QuantizedConstant)
    a, b = Evaluation(before, {}), Evaluation(after, {})
    assert all(a.number("q", at) == b.number("q", at) for at in np.ndindex(3, 4))


def test_activations_are_left_alone():
    graph = model(X, quant("a", "x"), bipolar("y", "a"))
    assert quantize_constants(graph) is graph
