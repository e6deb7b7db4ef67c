# SPDX-License-Identifier: Apache-2.0
"""Known topologies, exported from Brevitas by both exporters, taken through the whole chain."""

import numpy as np
import pytest
import stream_stops

import flow
from flow.api import checks
from flow.api.checks import Frames, check_float32, check_integers
from flow.api.compile import compile_model, random_integers
from flow.api.simulate import open_build
from flow.backend.csim import Simulator
from flow.ir.dataflow import execute
from flow.ir.near_ties import activation_quantizers
from flow.ir.reference import Evaluation

torch, *_ = (pytest.importorskip(package) for package in ("torch", "brevitas", "onnxoptimizer", "onnxscript"))
networks = pytest.importorskip("brevitas_networks")

FRAMES = 4
BUILT_FRAMES = 4
# these take long: one file for each kind of scales does, and that of dynamo is compared with the other's
LONG_EXPORTS = ("cnv_1w1a", "cnv_2w2a", "resnet8", "resnet20", "mobilenet", "squeeze_excite", "autoencoder")
VARIANTS = [
    (name, kind, exporter)
    for name in networks.NETWORKS
    for kind in ("pow2", "float")
    for exporter in ("legacy", "dynamo")
    if name not in LONG_EXPORTS or (kind, exporter) in (("pow2", "legacy"), ("float", "dynamo"))
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def frames_like_calibration(compiled, count):
    """Normal numbers on a grid of 2**-12, as the scales were taken from: no layer saturates everywhere."""
    frames = np.rint(np.random.default_rng(4).normal(size=(count, *compiled.frame_shape)) * 4096) / 4096
    return Frames("random", frames, compiled.integers.encode(frames))


def output_of(compiled):
    integers = frames_like_calibration(compiled, 2).integers
    return execute(compiled.graph, {compiled.integers.source.name: integers})[compiled.integers.output]


def check_network(path, count=FRAMES):
    """The file in float32, the exact reference and the integer graph agree, on frames that tell layers apart."""
    compiled = compile_model(path)
    batch = frames_like_calibration(compiled, count)
    integers = check_integers(compiled, [batch])
    assert (integers.differences, integers.detail) == (0, ())
    single = check_float32(compiled, [batch])
    assert single.differences == 0, single.detail
    run = Evaluation(compiled.model, {compiled.input_name: batch.floats})
    for name in activation_quantizers(compiled.model):
        levels = run.decisions[name].levels.reshape(count, -1)
        lo, hi = compiled.model[name].range
        assert len(np.unique(levels)) >= min(3, (hi - lo) // compiled.model[name].unit + 1), name
        assert (levels != levels[0]).any(), f"{name} is the same in every frame"
    output = run.tensors[compiled.model.outputs[0]].value.reshape(count, -1)
    assert (output.std(axis=0) > 0).mean() >= 0.7
    return compiled


@pytest.mark.parametrize(("name", "kind", "exporter"), VARIANTS)
def test_integers_are_the_file(tmp_path, name, kind, exporter):
    compiled = check_network(networks.export(name, kind, exporter, tmp_path))
    if exporter == "dynamo":  # the same network, however it is written
        other = compile_model(networks.export(name, kind, "legacy", tmp_path))
        np.testing.assert_array_equal(output_of(compiled), output_of(other))


@pytest.mark.parametrize("kind", ["pow2", "float"])
@pytest.mark.parametrize("name", networks.BLOCKS)
def test_blocks(tmp_path, name, kind):
    check_network(networks.export(name, kind, "legacy", tmp_path, networks.BLOCKS))


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.FULL_SIZE)
def test_full_size(tmp_path, name):
    check_network(networks.export(name, "float", "legacy", tmp_path, networks.FULL_SIZE), 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_built(tmp_path, monkeypatch, name):
    """The C++ of the whole design, of each layer, at its boundaries, and with bounded streams."""
    monkeypatch.setattr(checks, "RANDOM_FRAMES", BUILT_FRAMES)
    kind = "pow2" if name in ("cnv_2w2a", "mobilenet") else "float"
    result = flow.build(networks.export(name, kind, "legacy", tmp_path), out=tmp_path / "out", board="zcu104")
    assert result.report.held
    assert all(check.compared > 0 and check.differences == 0 for check in result.report.checks)
    titles = [check.name for check in result.report.checks]
    assert "C++ of each layer at its boundaries" in titles
    forked = name in ("resnet8", "resnet20", "unet", "inception", "squeeze_excite")
    assert ("C++ with streams bounded to their planned depths" in titles) == forked
    if forked:
        check_stop(open_build(tmp_path / "out"))


def check_stop(built):
    """The deepest stream at the least depth of the event model: C-simulation runs; with one word less it stops."""
    design = built.design
    simulator = Simulator(built.folder / "csim" / "design.so")
    integers = built.integers
    x = (
        random_integers(integers, 2, seed=5)
        if integers.head is None
        else integers.encode(np.random.default_rng(5).normal(size=(2, *built.frame_shape)))
    )
    (expected,) = execute(integers.graph, {integers.source.name: x}).values()
    streams = [built.names.stream(stream) for stream in design.streams]
    planned = [stream.depth for stream in design.streams]

    def run(depths):
        named = dict(zip(streams, depths, strict=True))
        return simulator.run_bounded(x, design.source.element, design.sink.element, expected.shape[1:], named)

    model, deepest = stream_stops.program_model(design), max(range(len(streams)), key=planned.__getitem__)
    assert stream_stops.stops_as_modelled(model, planned, streams, deepest, run, expected)
