# SPDX-License-Identifier: Apache-2.0
"""C-simulation: what the library gives, what a compile error shows, and what a broken design is caught at."""

import numpy as np
import pytest

from flow.backend import csim, tools
from flow.backend.csim import Simulator, compile_design
from flow.emit.hls import HlsOptions, emit_hls, names_of
from flow.errors import ExactnessError, ToolFailedError
from flow.ir.dataflow import Dense, Source, Step, execute
from flow.ir.graph import Graph
from flow.ir.types import Bipolar, IntType
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.plan import LayerPlan, Plan

pytestmark = pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
ONE = np.ones(1, np.int64)


def network(*names, by_channel=True):
    """An input of 6 bipolar values, a product with 4 outputs, and bare step functions up to the last name."""
    weights = np.random.default_rng(0).integers(-3, 4, (6, 4))
    four = np.arange(4)
    thresholds = four[:, None] + [[-9, -2, 3]] if by_channel else np.array([[-9, -2, 3]])
    each = np.ones(len(thresholds), np.int64)
    i2 = IntType(2, signed=True)
    nodes = [
        Source("source", (6,), Bipolar(), -ONE, ONE),
        Dense("product", "source", weights, IntType(6, signed=True)),
        Step("fused", "product", thresholds, -2 * each, each, -20 * each, 20 * each, i2),
    ]
    for name in names:
        nodes.append(Step(name, nodes[-1].name, np.array([[1]]), -ONE, ONE, -2 * ONE, ONE, i2))
    return Graph(tuple(nodes), (nodes[-1].name,))


def written(graph, folder):
    layers = layers_of(graph)
    plans = [LayerPlan(x.name, 2 if x.dense else 1, x.inputs // 2 or 1, "lut", "lut", "thresholds") for x in layers]
    design = build_design(layers, Plan("pynq-z2", 100.0, tuple(plans)), 64)
    options = HlsOptions("test", "network", "vitis", {}, {x.name: "a test" for x in layers}, {}, 1)
    emit_hls(design, options).write(folder)
    return design, names_of(design, {})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("csim")
    graph = network()
    design, names = written(graph, folder)
    return graph, design, names, folder, compile_design(folder)


def test_library_equals_the_graph(compiled):
    graph, design, names, _, library = compiled
    x = np.random.default_rng(1).choice([-1, 1], (101, 6)).astype(np.int64)
    expected = execute(graph, {"source": x})["fused"]
    simulator = Simulator(library)
    assert np.array_equal(simulator.run(x, design.source.element, design.sink.element, (4,)), expected)
    layer = design.layers[0].layer
    found = simulator.run_layer(names.identifiers[1], [(x, layer.x.element)], layer.y.element, (2, 2))
    assert found.shape == (101, 2, 2)
    assert np.array_equal(found.reshape(101, 4), expected)
    assert simulator.run(x[:1], design.source.element, design.sink.element, (4,)).shape == (1, 4)


def test_no_precompiled_header_lies_in_the_build(compiled):
    assert list(compiled[3].rglob("*.gch")) == []


def test_library_that_was_built_anew_is_loaded_anew(compiled, tmp_path):
    """The loader of the system knows libraries by path, and would give the first one back."""
    library = tmp_path / "design.so"
    outputs = []
    for number in (1, 2):
        source = tmp_path / "a.cpp"
        source.write_text(
            'extern "C" int flow_csim(const long long*, long long* y, long n) {'
            f" while (n--) *y++ = {number}; return 0; }}"
        )
        command = [str(tools.require(tools.GXX)), "-shared", "-fPIC", "-o", str(library), str(source)]
        csim.run(csim.Command(command, tmp_path / "a.log"))
        i4 = IntType(4, signed=True)
        outputs.append(Simulator(library).run(np.zeros((3, 1), np.int64), i4, i4, (1,)).reshape(-1).tolist())
    assert outputs == [[1, 1, 1], [2, 2, 2]]


def test_compile_error_is_shown_with_its_log(tmp_path):
    _, names = written(network(), tmp_path)
    broken = tmp_path / "csim" / "units" / f"{names.files[1]}.cpp"
    broken.write_text("#error this is broken on purpose\n")
    with pytest.raises(ToolFailedError) as caught:
        compile_design(tmp_path)
    assert "error: #error this is broken on purpose" in caught.value.message
    assert caught.value.message.endswith(f"\n  log: {caught.value.log}")
    assert "this is broken on purpose" in caught.value.log.read_text()
    assert caught.value.remedy == "this is a defect of flow: please report it with the log"
    assert not (tmp_path / "csim" / "design.so").exists()
    assert list(tmp_path.rglob("*.gch")) == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (1, "a process read from a stream that held no word"),
        (2, "words were left in a stream"),
        (3, "TLAST is not on the last word of a frame"),
        (9, "9"),
    ],
)
def test_code_of_a_failure_is_told(tmp_path, code, what):
    source = tmp_path / "a.cpp"
    source.write_text(f'extern "C" int flow_csim(const long long*, long long*, long) {{ return {code}; }}')
    library = tmp_path / "design.so"
    command = [str(tools.require(tools.GXX)), "-shared", "-fPIC", "-o", str(library), str(source)]
    csim.run(csim.Command(command, tmp_path / "a.log"))
    i4 = IntType(4, signed=True)
    with pytest.raises(ExactnessError) as caught:
        Simulator(library).run(np.zeros((3, 1), np.int64), i4, i4, (1,))
    assert caught.value.message == f"C-simulation of 'flow_csim' stopped: {what}"
    assert caught.value.remedy == "this is a defect of flow; please report it with the model"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("out.write(result);", "out.write(result), out.write(result);", "words were left in a stream"),
        ("out.write(result);", "", "a process read from a stream that held no word"),
    ],
)
def test_design_that_loses_or_adds_words(tmp_path, old, new, what):
    design, names = written(network(), tmp_path)
    header = tmp_path / "hls" / "layers" / f"{names.files[1]}.hpp"
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    simulator = Simulator(compile_design(tmp_path))
    x = np.ones((5, 6), np.int64)
    layer = design.layers[0].layer
    with pytest.raises(ExactnessError, match=f"stopped: {what}"):
        simulator.run_layer(names.identifiers[1], [(x, layer.x.element)], layer.y.element, (4,))


def test_layers_that_are_called_like_local_variables(tmp_path):
    written(network("x", "y", "frames", "frame"), tmp_path)
    compile_design(tmp_path)


def test_thresholds_shared_by_all_channels(tmp_path):
    written(network(by_channel=False), tmp_path)
    compile_design(tmp_path)


@pytest.mark.parametrize("form", ["thresholds", "search"])
def test_negative_sums_beside_thresholds_that_are_all_positive(form, tmp_path):
    """The ap_int headers take a signed number for unsigned when they compare it with a wider unsigned one."""
    lo, hi = np.full(3, -(1 << 19)), np.full(3, (1 << 19) - 1)
    thresholds = np.array([[100_000, 200_000, 300_000, 400_001], [1, 2, 3, 4], [70_000, 70_001, 70_002, 500_000]])
    element, ones = IntType(20, signed=True), np.ones(3, np.int64)
    source = Source("x", (3,), element, lo[:1], hi[:1])
    graph = Graph((source, Step("y", "x", thresholds, 0 * ones, ones, lo, hi, IntType(3, signed=False))), ("y",))
    plan = Plan("pynq-z2", 100.0, (LayerPlan("y", 1, 1, "lut", "lut", form),))
    design = build_design(layers_of(graph), plan, 64)
    emit_hls(design, HlsOptions("t", "network", "vitis", {}, {}, {}, 1)).write(tmp_path)
    simulator = Simulator(compile_design(tmp_path))
    points = np.concatenate([[lo[0], -70_000, -1, 0, hi[0]], thresholds.reshape(-1), thresholds.reshape(-1) - 1])
    x = np.repeat(points[:, None], 3, axis=1)
    found = simulator.run(x, design.source.element, design.sink.element, (3,))
    assert np.array_equal(found, execute(graph, {"x": x})["y"])
