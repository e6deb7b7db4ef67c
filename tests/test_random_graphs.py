# SPDX-License-Identifier: Apache-2.0
"""Random graphs through the whole chain: to integers against the exact oracle, and to C++ against the integers.

``FLOW_FUZZ_GRAPHS`` sets how many graphs are compared with the oracle.
"""

import collections
import math
import os

import numpy as np
import oracle
import pytest
import random_models
from random_designs import (
    compiled_library,
    layer_processes,
    random_case,
    random_inputs,
    random_step,
    random_weight,
    source_of,
)

from flow.api.boundaries import boundary_frames
from flow.api.compile import compile_graph
from flow.errors import OptionError, UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.dataflow import Dense, Flatten, Source, execute, infer_types, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.input_type import parse_input_type
from flow.ir.model_rules import verify_model
from flow.ir.near_ties import activation_quantizers
from flow.ir.reference import Evaluation
from flow.ir.types import Bipolar, IntType
from flow.passes.base import run_passes
from flow.passes.pipelines import MODEL_PASSES
from flow.plan.processes import Gearbox

GRAPHS = int(os.environ.get("FLOW_FUZZ_GRAPHS", "600"))
BLOCKS = 6
FRAMES = 8


# ------------------------------------------------------------------------------------- graphs against the oracle


def compiled(proto, feeds):
    """The model after its passes, and the integers of a model in memory; every pass is held to its contract."""
    imported = import_proto(proto)
    first = {name: frames[:2].astype(np.float64) for name, frames in feeds.items()}

    def probe(graph):
        run = Evaluation(graph, first)
        return {name: run.decisions[name].levels for name in activation_quantizers(graph)}

    graph = run_passes(imported.graph, MODEL_PASSES, verify=verify_model, probe=probe)
    given = None if random_models.input_steps(proto) is not None else parse_input_type("fixed<16,6>")
    return graph, compile_graph(graph, given)


def compare_with_oracle(seed, seen):
    proto = random_models.random_model(seed, input_quant=seed % 5 != 4, modes=random_models.ALL_MODES)
    feeds = random_models.random_feeds(proto, seed, FRAMES)
    try:
        graph, integers = compiled(proto, feeds)
    except (UnsupportedModelError, OptionError) as error:
        seen["unsupported"] += 1
        seen[f"unsupported: {error}"] += 1
        return
    values = oracle.evaluate(proto, feeds)
    expected = oracle.quant_integers(proto, values)
    (frames,) = feeds.values()
    entering = integers.encode(frames.astype(np.float64))
    found = execute(integers.graph, {integers.source.name: entering}, keep=True)
    reference = Evaluation(graph, {graph.nodes[0].name: frames.astype(np.float64)})
    for name in activation_quantizers(graph):
        levels = expected[name].astype(np.int64)
        assert np.array_equal(reference.decisions[name].levels, levels), f"reference at '{name}'"
        seen["levels of the reference"] += levels.size
        if name in found:  # a quantiser right behind a quantiser is fused with it
            assert np.array_equal(found[name].reshape(levels.shape), levels), f"integers at '{name}'"
            seen["levels"] += levels.size
            seen["quantisers"] += 1
    output = integers.decode(found[integers.output])
    exact = oracle.to_float(values["y"])
    assert output.shape == exact.shape
    # The host renders the output in float64, a few operations behind exact integers. The integers are compared
    # above, at tolerance zero; 1e-9 only covers that rendering, its cancellations and exponentials included.
    size = np.abs(exact).reshape(len(exact), -1).max(1).reshape(-1, *[1] * (exact.ndim - 1))
    assert (np.abs(output - exact) <= 1e-9 * np.maximum(np.abs(exact), size)).all(), "output"
    seen["graphs"] += 1


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_graphs_equal_the_oracle(block):
    seen = collections.Counter()
    for seed in range(block, GRAPHS, BLOCKS):
        try:
            compare_with_oracle(seed, seen)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    assert seen["unsupported"] < 0.03 * GRAPHS / BLOCKS, seen
    assert seen["levels"] > 50 * seen["graphs"]
    assert seen["quantisers"] > seen["graphs"]


# --------------------------------------------------------------------------------------- designs as compiled C++


def random_dataflow(seed):
    """A random chain in the dataflow language: what random models seldom or never hold, frames of rows too."""
    rng = np.random.default_rng(seed)
    positions = int(rng.choice([1, 1, 2, 3]))
    width = int(rng.choice([3, 4, 6, 8, 10, 12, 24]))
    shape = (positions, width) if positions > 1 else (width,)
    element = [Bipolar(), IntType(1, False), IntType(3, True), IntType(4, False), IntType(8, True)][seed % 5]
    nodes = [Source("x", shape, element, np.array([element.min]), np.array([element.max]))]

    def last():
        graph = Graph(tuple(nodes), (nodes[-1].name,))
        return nodes[-1].name, infer_types(graph)[nodes[-1].name]

    layers = int(rng.integers(1, 4))
    if rng.random() < 0.2:
        nodes.append(random_step(rng, "s", last(), "shift"))
    for number in range(layers):
        if len(shape) == 2 and rng.random() < 0.3:
            shape = (math.prod(shape),)
            nodes.append(Flatten(f"f{number}", nodes[-1].name, shape))
        name, tensor = last()
        width = int(rng.choice([1, 2, 3, 4, 6, 9, 12, 16]))
        weight = random_weight(rng, shape[-1], width)
        probe = Dense(f"d{number}", name, weight, IntType(40, True))
        lo, hi = probe.partial_range(tensor)
        nodes.append(Dense(f"d{number}", name, weight, IntType.holding(min(lo, -1), hi)))
        shape = (*shape[:-1], width)
        if number + 1 < layers or rng.random() < 0.7:
            kind = str(rng.choice(["shift", "half even", "affine", "root", "bipolar"]))
            nodes.append(random_step(rng, f"s{number}", last(), kind))
    graph = Graph(tuple(nodes), (nodes[-1].name,))
    verify_dataflow(graph)
    return graph


def model_dataflow(seed):
    """The integers of a random model; None where it is not supported."""
    proto = random_models.random_model(seed, modes=random_models.ALL_MODES)
    try:
        return compiled(proto, random_models.random_feeds(proto, seed, 2))[1].graph
    except (UnsupportedModelError, OptionError):
        return None


@pytest.fixture(scope="module")
def cases():
    """Designs of random models and of random chains, each with a random plan."""
    used = collections.Counter()
    graphs = [graph for seed in range(1000, 1036) if (graph := model_dataflow(seed)) is not None]
    graphs += [random_dataflow(seed) for seed in range(40)]
    return [random_case(number, graph, used) for number, graph in enumerate(graphs)]


def check_whole_designs(cases, library):
    """From AXI word to AXI word."""
    for number, case in enumerate(cases):
        source, design = source_of(case.graph), case.design
        x = random_inputs(source, number)
        (expected,) = execute(case.graph, {source.name: x}).values()
        expected = expected.reshape(len(x), -1)
        found = library.run(
            f"{case.name}_flow_csim", [x], [design.source.element], design.sink.element, expected.shape[1]
        )
        assert np.array_equal(found, expected), f"{case.name}: {design.plan}"


def check_layers(cases, library):
    """Each on the input that it should get."""
    for number, case in enumerate(cases):
        source = source_of(case.graph)
        tensors = execute(case.graph, {source.name: random_inputs(source, number + 1)}, keep=True)
        for identifier, process in layer_processes(case):
            layer = process.layer
            found = library.run(
                f"{case.name}_flow_csim_{identifier}",
                [tensors[name] for name in layer.reads],
                [operand.element for operand in layer.xs],
                layer.y.element,
                layer.y.size,
            )
            expected = tensors[layer.name].reshape(found.shape)
            assert np.array_equal(found, expected), f"{case.name}, {identifier}: {process.plan}"


def check_boundaries(cases, library):
    """Each layer where its sums lie on a boundary, and right below."""
    reached = 0
    for case in cases:
        for identifier, process in layer_processes(case):
            layer = process.layer
            if layer.step is None:
                continue
            for batch, operands, expected in boundary_frames(process, layer.step):
                few = slice(None)
                if len(expected) > 2000:  # wide accumulators: a sample of their boundaries
                    few = np.random.default_rng(0).choice(len(expected), 2000, replace=False)
                found = library.run(
                    f"{case.name}_flow_csim_{identifier}",
                    [operands[0][few].reshape(-1, *layer.x.shape)],
                    [layer.x.element],
                    layer.y.element,
                    layer.y.size,
                )
                assert np.array_equal(found, expected[few].reshape(found.shape)), f"{case.name}: {process.plan}"
                reached += int((batch.aimed & batch.reached).sum())
    assert reached > 1000


def test_designs_equal_the_integer_graph(cases, tmp_path):
    """One test: compiling takes most of it, and is done once."""
    assert len(cases) >= 60
    library = compiled_library(cases, tmp_path)
    check_whole_designs(cases, library)
    check_layers(cases, library)
    check_boundaries(cases, library)


def features(case):
    """What occurs in a design."""
    yield case.files["hls/top.cpp"].split("port=in")[0].rsplit("interface ", 1)[1].strip()  # the dialect
    for process in case.design.processes:
        if isinstance(process, Gearbox):
            yield f"gearbox {process.role}"
            if process.places > 1:
                yield "gearbox with several fillings"
            continue
        layer, plan = process.layer, process.plan
        yield f"{layer.kind} {plan.form}" if layer.dense is None else f"form {plan.form}"
        yield f"memory {plan.weight_memory}"
        yield f"multiplier {plan.multiplier}"
        if layer.step is not None:
            yield "a function for each channel" if layer.step.channels > 1 else "one function"
            if (layer.step.stride < 0).any():
                yield "falling"
            if len({*np.sign(layer.step.stride).tolist()}) == 2:
                yield "falling and rising"
            if isinstance(layer.y.element, Bipolar):
                yield "bipolar result"
        if layer.dense is None:
            continue
        x, w = ("bipolar" if isinstance(t, Bipolar) else "int" for t in (layer.x.element, layer.dense.weight_type))
        yield f"{x} x {w}"
        yield "xnor" if layer.xnor else "no xnor"
        if process.in_lanes > plan.simd:
            yield "slices"
        if process.out_lanes > plan.pe:
            yield "parts"
        if layer.positions > 1:
            yield "positions"
        if layer.outputs > plan.pe and layer.inputs > plan.simd:
            yield "neuron and synapse folds"
        if plan.simd * layer.dense.weight_type.bits > 64:
            yield "several chunks of weights"


def test_everything_occurs(cases):
    seen = collections.Counter(f for case in cases for f in set(features(case)))
    needed = {
        *(f"form {form}" for form in ("none", "wire", "shift", "multiply_shift", "thresholds", "search", "table")),
        *("xnor", "bipolar x int", "int x bipolar", "int x int", "slices", "parts", "positions"),
        *("gearbox input", "gearbox output", "gearbox between", "gearbox with several fillings"),
        *("memory lut", "memory bram", "multiplier lut", "multiplier dsp", "mode=axis", "axis"),
        *("a function for each channel", "one function", "falling", "falling and rising", "bipolar result"),
        *("neuron and synapse folds", "several chunks of weights"),
    }
    assert needed <= seen.keys(), needed - seen.keys()
    assert any(feature.startswith("step ") for feature in seen)  # layers without a product
