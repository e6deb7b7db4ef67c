# SPDX-License-Identifier: Apache-2.0
"""The C++ of products that share DSP slices, bit for bit against integers, at the ends of every operand."""

import numpy as np
import pytest
from random_designs import Case, compiled_library

from flow.backend import tools
from flow.emit.hls import HlsOptions, emit_hls, names_of
from flow.ir.dataflow import Convolution, Dense, Source, execute, infer_types
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan.board import Dsp
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.packing import packing_of
from flow.plan.plan import LayerPlan, Plan

pytestmark = pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
ONE = np.ones(1, np.int64)

# weights, inputs, slice, inputs of an output, outputs, PE, SIMD, products in a slice
CASES = {
    "int8 on E1": (IntType(8, True), IntType(8, True), Dsp.DSP48E1, 20, 6, 6, 10, 2),
    "a chain that does not divide SIMD": (IntType(7, True), IntType(8, True), Dsp.DSP48E1, 20, 6, 6, 10, 2),
    "int8 on E2": (IntType(8, True), IntType(8, True), Dsp.DSP48E2, 32, 4, 2, 16, 2),
    "unsigned inputs": (IntType(8, True), IntType(8, False), Dsp.DSP48E1, 12, 4, 4, 3, 2),
    "both unsigned": (IntType(5, False), IntType(6, False), Dsp.DSP48E1, 12, 4, 2, 12, 2),
    "three of four bits": (IntType(4, True), IntType(4, False), Dsp.DSP48E1, 15, 6, 3, 15, 3),
    "six of two bits": (IntType(2, True), IntType(2, False), Dsp.DSP48E1, 9, 12, 12, 3, 6),
    "several chunks of weights": (IntType(7, True), IntType(7, True), Dsp.DSP48E2, 40, 4, 4, 20, 2),
}


def dense(w, x, inputs, outputs, seed):
    """A product whose first outputs have all weights at one end, in turn."""
    weights = np.random.default_rng(seed).integers(w.min, w.max + 1, (inputs, outputs))
    weights[:, 0], weights[:, 1] = w.min, w.max
    weights[:, 2] = np.where(np.arange(inputs) % 2, w.min, w.max)
    source = Source("x", (inputs,), x, x.min * ONE, x.max * ONE)
    reach = inputs * max(-w.min, w.max) * max(-x.min, x.max)
    return Graph((source, Dense("d", "x", weights, IntType.holding(-reach, reach))), ("d",))


def convolution():
    i4 = IntType(4, True)
    weight = np.random.default_rng(5).integers(-8, 8, (2, 2, 3, 8))
    source = Source("x", (5, 4, 6), i4, -8 * ONE, 7 * ONE)
    window = Window((2, 2), (1, 1), (1, 1), (1, 0), (0, 1))
    return Graph((source, Convolution("c", "x", weight, window, 2, -1, IntType(12, True))), ("c",))


def case(number, graph, dsp, pe, simd, count):
    layers = layers_of(graph)
    plan = LayerPlan(layers[0].name, pe, simd, "lut", "packed", "none")
    packing = packing_of(layers[0], plan, dsp)
    assert packing.count == count
    design = build_design(layers, Plan("pynq-z2", 100.0, (plan,)), 32)
    options = HlsOptions("test", "network", ("vitis", "vivado")[number % 2], {}, {}, {}, 1, dsp)
    files = {str(path): text for path, text in emit_hls(design, options).files.items()}
    return Case(f"d{number}", graph, design, names_of(design, {}), files)


@pytest.fixture(scope="module")
def cases():
    found = [
        case(number, dense(w, x, inputs, outputs, number), dsp, pe, simd, count)
        for number, (w, x, dsp, inputs, outputs, pe, simd, count) in enumerate(CASES.values())
    ]
    return [*found, case(len(found), convolution(), Dsp.DSP48E1, 2, 3, 2)]


@pytest.fixture(scope="module")
def library(cases, tmp_path_factory):
    return compiled_library(cases, tmp_path_factory.mktemp("packed"))


def frames(source, count=60):
    """Random ones, and such with every input at one end."""
    rng = np.random.default_rng(0)
    x = source.element
    random = rng.integers(x.min, x.max + 1, (count, *source.shape))
    ends = rng.choice([x.min, x.max], (count, *source.shape))
    alike = np.stack([np.full(source.shape, end) for end in (x.min, x.max)])
    return np.concatenate([random, ends, alike])


@pytest.mark.parametrize("number", range(len(CASES) + 1), ids=[*CASES, "grouped convolution"])
def test_cxx_equals_integers(cases, library, number):
    found = cases[number]
    x = frames(found.graph.nodes[0])
    expected = execute(found.graph, {"x": x})[found.graph.outputs[0]].reshape(len(x), -1)
    types = infer_types(found.graph)
    source, sink = types["x"].element, types[found.graph.outputs[0]].element
    got = library.run(f"{found.name}_flow_csim", [x], [source], sink, expected.shape[1])
    assert np.array_equal(got, expected)


def test_text(cases):
    """One multiplication for all outputs of a slice, bound to a DSP, with the proof at the head of the file."""
    text = cases[0].files["hls/layers/01_d.hpp"]
    assert "// packing: 2 products in each DSP48E1, 16 bits apart: proved by bounds" in text
    assert text.count(" * x[") == 2  # nine weights in a word of 64 bits, and the tenth
    assert "ap_int<25> weights = 0;" in text
    assert "#pragma HLS bind_op variable=product op=mul impl=dsp" in text
    assert "#pragma HLS resource variable=product core=DSP48" in cases[1].files["hls/layers/01_d.hpp"]
