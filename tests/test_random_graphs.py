# SPDX-License-Identifier: Apache-2.0
"""Random graphs through the whole chain: to integers against the exact oracle, and to C++ against the integers.

``FLOW_FUZZ_GRAPHS`` sets how many graphs are compared with the oracle.
"""

import collections
import ctypes
import math
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import oracle
import pytest
import random_models

from flow.api.compile import compile_graph
from flow.backend import tools
from flow.emit.hls import HlsOptions, emit_hls, names_of
from flow.errors import OptionError, UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.boundary_inputs import boundary_inputs
from flow.ir.dataflow import NEVER, Dense, Flatten, Source, Step, execute, infer_types, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.input_type import parse_input_type
from flow.ir.model import verify_model
from flow.ir.near_ties import activation_quantizers
from flow.ir.reference import Evaluation
from flow.ir.types import Bipolar, IntType
from flow.passes.base import run_passes
from flow.passes.pipelines import MODEL_PASSES
from flow.plan.design import Gearbox, LayerProcess, build_design
from flow.plan.layers import layers_of
from flow.plan.plan import LayerPlan, Plan, divisors

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


@dataclass
class Case:
    """A design with a random plan, and its C++."""

    name: str
    graph: Graph
    design: object
    names: object
    files: dict


def step_of(name, x, function, lo, hi, element):
    """A step with one row for each channel, from the values of a monotone function on its interval."""
    rows, start, stride = [], [], []
    unit = 2 if isinstance(element, Bipolar) else 1
    for channel, (low, high) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True)):
        points = np.arange(low, high + 1)
        values = np.array([function(channel, p) for p in points.tolist()], np.int64)
        change = np.diff(values)
        rising = bool((change >= 0).all())
        assert rising or bool((change <= 0).all())
        rows.append(np.repeat(points[1:], np.abs(change) // unit))
        start.append(values[0])
        stride.append(unit if rising else -unit)
    thresholds = np.full((len(rows), max(row.size for row in rows)), NEVER, np.int64)
    for channel, row in enumerate(rows):
        thresholds[channel, : row.size] = row
    return Step(name, x, thresholds, np.array(start), np.array(stride), lo, hi, element)


def random_step(rng, name, x, kind):
    """A random step function behind the tensor ``x = (name, type)``."""
    source, tensor = x
    channels = tensor.shape[-1] if rng.random() < 0.7 else 1
    if channels == 1:
        lo, hi = np.array([tensor.lo.min()]), np.array([tensor.hi.max()])
    else:
        lo, hi = (np.broadcast_to(a, (channels,)).copy() for a in (tensor.lo, tensor.hi))
    span = int((hi - lo).max()) + 1
    signed = bool(rng.integers(2))
    bits = int(rng.integers(1, 7))
    element = Bipolar() if kind == "bipolar" else IntType(bits + signed, signed)
    low, high = (-1, 1) if kind == "bipolar" else (element.min, element.max)
    shift = max(0, int(math.log2(span)) - int(rng.integers(0, bits + 1)))
    offset = rng.integers(-span // 2, span // 2 + 1, channels)
    sign = rng.choice([-1, 1], channels)
    factor = rng.integers(5, 50, channels) / 16 / 2**shift

    def clip(value):
        return min(max(value, low), high)

    functions = {
        "shift": lambda c, v: clip((v + int(offset[c])) >> shift),
        "half even": lambda c, v: clip(round((v + int(offset[c])) / 2**shift)),
        "affine": lambda c, v: clip(math.floor(int(sign[c]) * (v + int(offset[c])) * factor[c])),
        "root": lambda c, v: clip(math.isqrt(max(int(v - lo[c]) * 3 + int(c), 0)) // 2 + low),
        "bipolar": lambda c, v: 1 if sign[c] * (v + int(offset[c])) >= 0 else -1,
    }
    return step_of(name, source, functions[kind], lo, hi, element)


def random_weight(rng, rows, columns):
    bits = int(rng.choice([1, 1, 2, 3, 4, 8]))
    if bits == 1:
        weight = rng.choice([-1, 1], (rows, columns))
        weight[0, 0] = -1
        return weight.astype(np.int64)
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (rows, columns))


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


def random_plan(rng, layers, used):
    """A legal plan; of the forms that serve a layer, mostly the one that was used least."""
    plans = []
    for layer in layers:
        outputs = divisors(layer.outputs)
        if layer.dense is None and layer.step.channels > 1:
            outputs = [pe for pe in outputs if layer.step.channels % pe == 0]
        forms = list(layer.forms) or ["none"]
        form = min(forms, key=lambda f: used[f]) if rng.random() < 0.7 else str(rng.choice(forms))
        used[form] += 1
        plans.append(
            LayerPlan(
                layer.name,
                int(rng.choice(outputs)),
                int(rng.choice(divisors(layer.inputs))) if layer.dense is not None else 1,
                str(rng.choice(["lut", "bram"])),
                str(rng.choice(["lut", "dsp"])),
                form,
            )
        )
    return Plan("pynq-z2", 100.0, tuple(plans))


def random_case(number, graph, used):
    rng = np.random.default_rng(number)
    layers = layers_of(graph)
    design = build_design(layers, random_plan(rng, layers, used), int(rng.choice([8, 32, 64, 128])))
    dialect = ("vitis", "vivado")[number % 2]
    options = HlsOptions(f"random {number}", "network", dialect, {}, {}, {}, 1)
    files = {str(path): text for path, text in emit_hls(design, options).files.items()}
    return Case(f"d{number}", graph, design, names_of(design, {}), files)


def one_namespace(case):
    """All C++ of a design in a namespace of its own, so that many designs make one unit."""

    def body(path):
        text = case.files[path]
        text = re.sub(r"^#include .*\n", "", text, flags=re.M)
        guarded = re.sub(r"^#ifndef (FLOW_\w+_HPP)\n#define \1\n", "", text, flags=re.M)
        if guarded != text:
            guarded = guarded[: guarded.rindex("#endif")]
        # names with C linkage ignore namespaces
        return re.sub(r"\bflow_csim", f"{case.name}_flow_csim", guarded)

    paths = ["hls/types.hpp"]
    for file in case.names.files:
        paths += [path for path in (f"hls/weights/{file}.hpp", f"hls/layers/{file}.hpp") if path in case.files]
    paths += ["hls/top.hpp", "hls/top.cpp", "csim/units/top.cpp"]
    paths += [f"csim/units/{file}.cpp" for file in case.names.files]
    whole = "\n".join(body(path) for path in paths)
    return f"namespace {case.name} {{\n{whole}\n}}\n"


class Library:
    """The compiled designs."""

    def __init__(self, path):
        self.loaded = ctypes.CDLL(str(path))

    def run(self, name, x, source, sink, size):
        """Integers through one function of the library."""
        function = getattr(self.loaded, name)
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
        stored = (x + 1) // 2 if isinstance(source, Bipolar) else x
        stored = np.ascontiguousarray(stored.reshape(len(x), -1), np.int64)
        result = np.full((len(x), size), -999, np.int64)
        assert function(stored.ctypes.data, result.ctypes.data, len(x)) == 0
        return result * 2 - 1 if isinstance(sink, Bipolar) else result


@pytest.fixture(scope="module")
def cases():
    """Designs of random models and of random chains, each with a random plan."""
    used = collections.Counter()
    graphs = [graph for seed in range(1000, 1036) if (graph := model_dataflow(seed)) is not None]
    graphs += [random_dataflow(seed) for seed in range(40)]
    return [random_case(number, graph, used) for number, graph in enumerate(graphs)]


def compiled_library(cases, folder):
    """All of them, compiled by two runs of g++ (one a core) and linked once."""
    headers = {Path(p).name: t for p, t in cases[0].files.items() if p.startswith("csim/include/")}
    for name, text in headers.items():
        (folder / name).write_text(text)
    common = [str(tools.require(tools.GXX)), "-std=c++14", "-O1", "-fPIC", "-w", "-DFLOW_SEPARATE_UNITS"]
    common += [f"-I{folder}", "-isystem", str(tools.ap_types())]

    def compile_part(part):
        source = folder / f"part{part}.cpp"
        lines = ["#include <ap_axi_sdata.h>", "#include <ap_int.h>", "#include <hls_stream.h>"]
        source.write_text("\n".join([*lines, *(one_namespace(case) for case in cases[part::2])]))
        command = [*common, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor() as pool:
        for done in pool.map(compile_part, range(2)):
            assert done.returncode == 0, done.stderr[:5000]
    objects = [str(folder / f"part{part}.o") for part in range(2)]
    linked = [common[0], "-shared", "-o", str(folder / "designs.so"), *objects]
    subprocess.run(linked, check=True, capture_output=True)
    return Library(folder / "designs.so")


def random_inputs(source, seed, count=24):
    rng = np.random.default_rng(seed)
    shape = (count, *source.shape)
    if isinstance(source.element, Bipolar):
        return rng.choice(np.array([-1, 1]), shape)
    lo = np.broadcast_to(source.lo, source.shape[-1:])
    hi = np.broadcast_to(source.hi, source.shape[-1:])
    x = rng.integers(np.broadcast_to(lo, shape), np.broadcast_to(hi, shape), endpoint=True)
    x[0], x[1] = lo, hi
    return x


def source_of(graph):
    return next(node for node in graph.nodes if isinstance(node, Source))


def check_whole_designs(cases, library):
    """From AXI word to AXI word."""
    for number, case in enumerate(cases):
        source, design = source_of(case.graph), case.design
        x = random_inputs(source, number)
        (expected,) = execute(case.graph, {source.name: x}).values()
        expected = expected.reshape(len(x), -1)
        found = library.run(f"{case.name}_flow_csim", x, design.source.element, design.sink.element, expected.shape[1])
        assert np.array_equal(found, expected), f"{case.name}: {design.plan}"


def layer_processes(case):
    for identifier, process in zip(case.names.identifiers, case.design.processes, strict=True):
        if isinstance(process, LayerProcess):
            yield identifier, process


def check_layers(cases, library):
    """Each on the input that it should get."""
    for number, case in enumerate(cases):
        source = source_of(case.graph)
        tensors = execute(case.graph, {source.name: random_inputs(source, number + 1)}, keep=True)
        for identifier, process in layer_processes(case):
            layer = process.layer
            first = layer.dense if layer.dense is not None else layer.step
            found = library.run(
                f"{case.name}_flow_csim_{identifier}",
                tensors[first.x],
                layer.x.element,
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
            for batch in boundary_inputs(layer.dense, layer.step, layer.x):
                x = batch.inputs
                if layer.dense is not None:
                    x = np.repeat(x[:, None], layer.positions, axis=1)
                x = x.reshape(-1, *layer.x.shape)
                if len(x) > 2000:  # wide accumulators: a sample of their boundaries
                    x = x[np.random.default_rng(0).choice(len(x), 2000, replace=False)]
                sums = layer.dense.evaluate(x) if layer.dense is not None else x
                expected = layer.step.evaluate(sums).reshape(len(x), -1)
                found = library.run(
                    f"{case.name}_flow_csim_{identifier}",
                    x,
                    layer.x.element,
                    layer.y.element,
                    layer.y.size,
                )
                assert np.array_equal(found, expected), f"{case.name}, {identifier}: {process.plan}"
                reached += int(batch.reached.sum())
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
