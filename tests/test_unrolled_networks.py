# SPDX-License-Identifier: Apache-2.0
"""Random dense networks in the unrolled style, as compiled C++ against the integers; and a whole build."""

import subprocess

import numpy as np
import pytest
from random_designs import Case, compiled_library, layer_processes, random_inputs, random_step, random_weight

from flow.api.build import build
from flow.api.simulate import simulate
from flow.backend import tools
from flow.emit.cxx import codes
from flow.emit.hls import HlsOptions, emit_hls, names_of
from flow.ir.dataflow import Dense, Flatten, Source, execute, infer_types, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.types import Bipolar, IntType
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.plan import LayerPlan, Plan

pytestmark = pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
NETWORKS = 24
STEPS = ("shift", "half even", "affine", "root", "bipolar")
ELEMENTS = (Bipolar(), IntType(1, False), IntType(3, True), IntType(5, False), IntType(8, True))


def network(seed):
    """One to three products of up to 12 by 12, most with a step function; sometimes a bare one in front."""
    rng = np.random.default_rng(seed)
    element = ELEMENTS[seed % len(ELEMENTS)]
    size = int(rng.integers(1, 13))
    nodes = [Source("x", (size,), element, np.array([element.min]), np.array([element.max]))]

    def types():
        return infer_types(Graph(tuple(nodes), (nodes[-1].name,)))

    def add_step():
        last = nodes[-1].name
        nodes.append(random_step(rng, f"s{len(nodes)}", (last, types()[last]), STEPS[int(rng.integers(len(STEPS)))]))

    if rng.random() < 0.3:
        add_step()
    for _ in range(int(rng.integers(1, 4))):
        size, outputs = types()[nodes[-1].name].shape[-1], int(rng.integers(1, 13))
        weight = random_weight(rng, size, outputs)
        weight[rng.random(weight.shape) < 0.2 * (weight.min() < -1)] = 0
        reads = types()[nodes[-1].name]
        probe = Dense("probe", "x", weight, IntType(40, True))
        lo, hi = probe.partial_range(reads)
        nodes.append(Dense(f"d{len(nodes)}", nodes[-1].name, weight, IntType.holding(min(lo, -1), max(hi, 1))))
        if rng.random() < 0.8:
            add_step()
        if rng.random() < 0.2:
            nodes.append(Flatten(f"f{len(nodes)}", nodes[-1].name, (outputs,)))
    graph = Graph(tuple(nodes), (nodes[-1].name,))
    verify_dataflow(graph)
    return graph


def unrolled_case(seed, graph, used):
    rng = np.random.default_rng(seed)
    layers = layers_of(graph)
    plans = []
    for layer in layers:
        form = min(layer.forms, key=lambda f: used.get(f, 0)) if layer.forms else "none"
        used[form] = used.get(form, 0) + 1
        plans.append(LayerPlan(layer.name, layer.outputs, layer.inputs, "lut", "lut", form))
    plan = Plan("pynq-z2", 100.0, tuple(plans), style="unrolled")
    design = build_design(layers, plan, int(rng.choice([8, 16, 64])))
    options = HlsOptions("test", "network", ("vitis", "vivado")[seed % 2], {}, {}, {}, 1)
    files = {str(path): text for path, text in emit_hls(design, options).files.items()}
    return Case(f"d{seed}", graph, design, names_of(design, {}), files)


@pytest.fixture(scope="module")
def cases():
    used = {}
    found = [unrolled_case(seed, network(seed), used) for seed in range(NETWORKS)]
    assert used.keys() >= {"shift", "multiply_shift", "thresholds", "search", "table", "none"}
    return found


@pytest.fixture(scope="module")
def library(cases, tmp_path_factory):
    return compiled_library(cases, tmp_path_factory.mktemp("unrolled"))


def frames(source, seed):
    element = source.element
    random = random_inputs(source, seed, 40)
    ends = np.random.default_rng(seed).choice([element.min, element.max], (40, *source.shape))
    alike = np.stack([np.full(source.shape, end) for end in (element.min, element.max)])
    return np.concatenate([random, ends, alike])


@pytest.mark.parametrize("number", range(NETWORKS))
def test_cxx_equals_integers(cases, library, number):
    case = cases[number]
    x = frames(case.graph.nodes[0], number)
    expected = execute(case.graph, {"x": x}, keep=True)
    source, sink = case.design.source, case.design.sink
    output = expected[case.graph.outputs[0]].reshape(len(x), -1)
    got = library.run(f"{case.name}_flow_csim", [x], [source.element], sink.element, sink.values)
    assert np.array_equal(got, output)
    for identifier, process in layer_processes(case):
        layer = process.layer
        (name,) = layer.reads
        got = library.run(
            f"{case.name}_flow_csim_{identifier}",
            [expected[name]],
            [layer.x.element],
            layer.y.element,
            layer.y.size,
        )
        assert np.array_equal(got, expected[layer.name].reshape(len(x), -1)), layer.name


def test_text():
    """7 a and its double are one adder and wires; a zero column is none; the function is pipelined."""
    one = np.ones(1, np.int64)
    source = Source("x", (2,), IntType(4, False), 0 * one, 15 * one)
    weight = np.array([[7, 14, 0, 4], [0, 0, 0, 0]])
    graph = Graph((source, Dense("d", "x", weight, IntType(9, True))), ("d",))
    files = unrolled_case(0, graph, {}).files
    text = files["hls/layers/01_d.hpp"]
    assert "// 1 adders of 7 bits, at most 1 behind each other, by " in text
    body = text[text.index("void d(") : text.index("\n}\n")].splitlines()
    assert body == [
        "void d(const ap_uint<4> x[2], ap_int<9> y[4]) {",
        "#pragma HLS inline",
        "    const ap_uint<7> n0 = (ap_uint<7>(x[0]) << 3) - x[0];",
        "    y[0] = n0;",
        "    y[1] = (ap_int<9>(n0) << 1);",
        "    y[2] = ap_int<9>(0);",
        "    y[3] = (ap_int<9>(x[0]) << 2);",
    ]
    assert "#pragma HLS pipeline II=1" in files["hls/top.cpp"]  # two inputs of 4 bits, four sums of 16, in words of 64


@pytest.mark.parametrize(
    ("folder", "name", "given"),
    [
        ("jet_qkeras", "qkeras_jettagging.onnx", "fixed<16,6>"),
        ("chisel4ml", "sint_simple_noscale_model__46da12d4.onnx", None),
    ],
)
def test_models_of_others(shared, tmp_path, folder, name, given):
    """A whole build, and the build directory read back."""
    result = build(shared("models", folder, name), board="u250", style="unrolled", input_type=given, out=tmp_path / "b")
    assert result.report.held
    assert result.report.style == "unrolled"
    assert all(layer.adders is not None for layer in result.report.layers)
    assert 'style = "unrolled"' in (tmp_path / "b" / "plan.toml").read_text()
    x = np.random.default_rng(0).uniform(-8, 8, (30, *result.compiled.frame_shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    found = simulate(tmp_path / "b", tmp_path / "x.npz", trace=True)
    assert found.frames == 30
    assert found.comparison.differences == 0
    assert found.diverging is None


def test_bench_passes(tmp_path):
    """The test bench of the build, compiled as the tools would, against expected.dat; and it fails at a wrong value."""
    case = unrolled_case(3, network(3), {})
    for path, text in case.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    x = frames(case.graph.nodes[0], 0)[:1]
    ((_, y),) = execute(case.graph, {"x": x}).items()
    write = [(x, case.design.source.element, "input"), (y, case.design.sink.element, "expected")]
    for values, element, name in write:
        (tmp_path / f"{name}.dat").write_text(" ".join(map(str, codes(values, element).ravel().tolist())) + "\n")
    command = [str(tools.require(tools.GXX)), "-std=c++14", "-w", f"-I{tmp_path / 'csim' / 'include'}"]
    command += ["-isystem", str(tools.ap_types()), "-o", str(tmp_path / "bench")]
    command += [str(tmp_path / "tb" / "testbench.cpp"), str(tmp_path / "hls" / "top.cpp")]
    subprocess.run(command, check=True)
    bench = [str(tmp_path / "bench"), str(tmp_path)]
    assert subprocess.run(bench, capture_output=True, check=False).returncode == 0
    (tmp_path / "expected.dat").write_text(" ".join(map(str, (codes(y, write[1][1]).ravel() ^ 1).tolist())) + "\n")
    assert subprocess.run(bench, capture_output=True, check=False).returncode == 1
