# SPDX-License-Identifier: Apache-2.0
"""A quantiser goes where its input provably lies on its levels: what stands behind it decides as before."""

from dataclasses import replace

import numpy as np
import pytest
from pass_helpers import model, quant

from flow.ir.dataflow import execute
from flow.ir.model import Binary, Constant, Input, Pad, Pool, Reduce, Reshape, Unary
from flow.ir.reference import Evaluation
from flow.ir.rounding import Rounding
from flow.ir.window import Window
from flow.passes.drop_idle_quantizers import drop_idle_quantizers
from flow.passes.integerize import integerize

X = Input("x", (4, 4, 2))
FOUR = Constant("four", np.full((1, 1, 1), 4.0))
PAIRS = Window.of((2, 2), (2, 2))
FIRST = quant("q", "x", 0.1, bits=6, signed=False)
AGAIN = quant("t", "s", 0.8, bits=5, signed=False, rounding=Rounding.FLOOR)


def levels(x, scale=0.1, **options):
    return quant("l", x, scale, bits=32, **options)


def truncated(*between, last="m"):
    """A Trunc, as the importer makes it, behind some nodes that read ``q`` and end with ``last``."""
    return model(X, FOUR, FIRST, *between, levels(last), replace(AGAIN, x="l"))


MEAN = (Pool("p", "q", "mean", PAIRS, False), Binary("m", "mul", "p", "four"))
IDLE = {
    "a mean times its taps": MEAN,
    "a padded mean": (Pool("p", "q", "mean", Window((2, 2), (1, 1), (1, 1), (1, 0), (0, 1)), True), MEAN[1]),
    "a mean of all": (
        Reduce("p", "q", "mean", (0, 1), True),
        Constant("n", np.array(16.0)),
        Binary("m", "mul", "n", "p"),
    ),
    "a sum": (Reduce("m", "q", "sum", (0, 1), True),),
    "the greatest": (Pool("m", "q", "max", PAIRS, False),),
    "moved": (Reshape("m", "q", (4, 2, 4)),),
    "divided": (Constant("n", np.array(0.5)), Binary("m", "div", "q", "n")),
}


@pytest.mark.parametrize("between", IDLE.values(), ids=IDLE)
def test_an_idle_quantiser_goes_and_every_level_stays(between):
    before = truncated(*between)
    after = drop_idle_quantizers(before)
    assert "l" not in after.by_name
    assert len(after.nodes) == len(before.nodes) - 1
    frames = np.random.default_rng(0).normal(size=(10, *X.shape)) * 4
    expected = Evaluation(before, {"x": frames}).decisions["t"].levels
    assert len(np.unique(expected)) > 3
    assert np.array_equal(Evaluation(after, {"x": frames}).decisions["t"].levels, expected)
    for graph in (before, after):
        integers = integerize(graph)
        found = execute(integers.graph, {integers.source.name: integers.encode(frames)})
        assert np.array_equal(found[integers.output], expected)


STAYS = {
    "levels of another scale": truncated(*MEAN[:1], last="p"),
    "levels between": model(X, FOUR, FIRST, *MEAN, levels("m", 0.2), replace(AGAIN, x="l")),
    "a scale nearly the same": model(X, FOUR, FIRST, *MEAN, levels("m", np.nextafter(0.1, 1)), replace(AGAIN, x="l")),
    "clipped above": model(X, FIRST, quant("l", "q", 0.1, bits=5, signed=False), replace(AGAIN, x="l")),
    "clipped above by one": model(
        X, FIRST, quant("l", "q", 0.1, bits=6, signed=False, narrow=True), replace(AGAIN, x="l")
    ),
    "sums clipped": model(X, FOUR, FIRST, *MEAN, quant("l", "m", 0.1, bits=8), replace(AGAIN, x="l")),
    "a sum clipped": model(
        X, FIRST, Reduce("m", "q", "sum", (0, 1), True), quant("l", "m", 0.1, bits=10), replace(AGAIN, x="l")
    ),
    "clipped below": model(X, quant("q", "x", 0.1), quant("l", "q", 0.1, bits=6, signed=False), replace(AGAIN, x="l")),
    "moved out of range": model(X, FIRST, quant("l", "q", 0.1, zero=1.0, bits=6, signed=False), replace(AGAIN, x="l")),
    "a scale for each channel": model(
        X, replace(FIRST, scale=np.array([0.1, 0.2])), levels("q"), replace(AGAIN, x="l")
    ),
    "not quantised before": model(X, levels("x"), replace(AGAIN, x="l")),
    "shifted": model(X, FOUR, FIRST, Binary("m", "add", "q", "four"), levels("m"), replace(AGAIN, x="l")),
    "a function": model(X, FIRST, Unary("m", "sigmoid", "q"), levels("m"), replace(AGAIN, x="l")),
    "a border": model(X, FIRST, Pad("m", "q", (1, 1, 0), (0, 0, 0), 0.05), levels("m"), replace(AGAIN, x="l")),
    "means of unlike numbers": truncated(
        Pool("p", "q", "mean", Window((2, 2), (1, 1), (1, 1), (1, 0), (0, 1)), False), MEAN[1]
    ),
    "the output": model(X, FIRST, levels("q")),
    "two readers": model(X, FIRST, levels("q"), replace(AGAIN, x="l"), Unary("u", "relu", "l"), outputs=("t", "u")),
    "a function behind": model(X, FIRST, levels("q"), Unary("u", "sigmoid", "l"), replace(AGAIN, x="u")),
}


@pytest.mark.parametrize("graph", STAYS.values(), ids=STAYS)
def test_a_quantiser_that_may_round_or_is_needed_stays(graph):
    assert drop_idle_quantizers(graph) is graph


def test_a_zero_point_that_the_range_takes():
    signed = quant("q", "x", 0.1, zero=3.0, bits=4, signed=False)  # -3 to 12
    fits = model(X, signed, quant("l", "q", 0.1, zero=3.0, bits=4, signed=False), replace(AGAIN, x="l"))
    assert "l" not in drop_idle_quantizers(fits).by_name
