# SPDX-License-Identifier: Apache-2.0
"""The comparisons of a build: float32 with the reference, the reference with integers, integers with C++."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flow.api.boundaries import compare_boundaries
from flow.api.compile import Compiled, elements, frames_at_once, macs, random_frames, random_integers
from flow.api.data import UserData
from flow.backend.csim import Simulator
from flow.emit.hls import Names
from flow.frontend.float_run import run_float32
from flow.ir.dataflow import execute
from flow.ir.near_ties import FloatComparison, activation_quantizers, compare_float32, parameter_quantizers
from flow.ir.reference import Evaluation, Feed
from flow.ir.types import Ints, Reals
from flow.ir.verify import NOTHING, Comparison, compare
from flow.plan.design import Design
from flow.plan.processes import LayerProcess
from flow.report.schema import Check

RANDOM_FRAMES = 200
_LEAST_FRAMES = 2
_MACS = 1 << 31  # of all random frames together: some ten seconds of C-simulation
_ELEMENTS = 1 << 24  # of all tensors of all random frames together
BOUNDED_FRAMES = 5
"""Enough for frames to overlap in every stream."""
_LISTED = 5


@dataclass(frozen=True)
class Frames:
    """Inputs of a check, at the level of the user and of the hardware.

    Attributes:
        title: What they are.
        floats: Float frames; with an input type they lie on its grid.
        integers: What enters the hardware for them.
        first: The number of the first frame.
    """

    title: str
    floats: Reals
    integers: Ints
    first: int = 0


def frames_for(compiled: Compiled, data: UserData | None) -> list[Frames]:
    """Random frames, and the user's: in batches, the smaller the larger the images."""
    integers, at_once = compiled.integers, frames_at_once(compiled.model)
    fits = min(_MACS // max(macs(compiled.graph), 1), _ELEMENTS // elements(compiled.model))
    count = max(_LEAST_FRAMES, min(RANDOM_FRAMES, fits))
    found = []
    if integers.head is not None:
        floats = random_frames(compiled.frame_shape, count, seed=3)
        for first in range(0, count, at_once):
            part = floats[first : first + at_once]
            found.append(Frames("random", part, integers.encode(part), first))
    else:
        random = random_integers(integers, count, seed=3)
        for first in range(0, count, at_once):
            batch = random[first : first + at_once]
            found.append(Frames("random", to_floats(compiled, batch), batch, first))
    if data is not None:
        for first in range(0, len(data.x), at_once):
            found.append(frames_of_user(compiled, data.x[first : first + at_once], first))
    return found


def frames_of_user(compiled: Compiled, x: Reals, first: int = 0) -> Frames:
    """The user's frames as floats and as what enters the hardware."""
    integers = compiled.integers.encode(x)
    floats = x if compiled.integers.head is not None else to_floats(compiled, integers)
    return Frames("data", floats, integers, first)


def to_floats(compiled: Compiled, integers: Ints) -> Reals:
    """The real input that integers of the input type stand for."""
    assert compiled.integers.input_type is not None
    levels = compiled.integers.feed(integers)
    floats: Reals = (levels.levels * float(compiled.integers.input_type.scale)).astype(np.float64)
    return floats


def feed_of(compiled: Compiled, frames: Frames) -> Feed:
    """The frames as input of the reference: exact integers where an input type is named."""
    if compiled.integers.head is not None:
        return frames.floats
    return compiled.integers.feed(frames.integers)


def check_float32(compiled: Compiled, batches: Sequence[Frames]) -> Check:
    """The file, executed in float32 by qonnx, against the exact reference."""
    graph = compiled.imported.graph
    wanted = [*activation_quantizers(graph), graph.outputs[0]]
    results: list[FloatComparison] = []
    for batch in batches:
        single = batch.floats.astype(np.float32)
        executed = run_float32(compiled.imported.proto, single, wanted, parameter_quantizers(graph))
        results.append(compare_float32(graph, single.astype(np.float64), executed))
    # a parameter's near-tie is the same in every batch
    ties = list(dict.fromkeys(tie for result in results for tie in result.near_ties if tie.frame is None))
    ties += [
        replace(tie, frame=tie.frame + batch.first)
        for batch, result in zip(batches, results, strict=True)
        for tie in result.near_ties
        if tie.frame is not None
    ]
    errors = [error for result in results for error in result.errors]
    detail = [
        f"near-tie at '{t.tensor}', {'parameter' if t.frame is None else f'frame {t.frame}'}, element {t.element}: "
        f"exactly {t.exact}, float32 gives {t.float32}, {t.ulps:.2g} ulp from the boundary"
        for t in ties[:_LISTED]
    ]
    if len(ties) > _LISTED:
        detail.append(f"and {len(ties) - _LISTED} more near-ties")
    return Check(
        "float32 execution by qonnx against the exact reference",
        _titles(batches),
        sum(result.compared for result in results),
        len(errors),
        len(ties),
        (*detail, *errors[:_LISTED]),
    )


def check_integers(compiled: Compiled, batches: Sequence[Frames]) -> Check:
    """The integer graph against the exact reference: the levels of every quantiser, and the output."""
    total = NOTHING
    for batch in batches:
        feed = feed_of(compiled, batch)
        run = Evaluation(compiled.model, {compiled.input_name: feed}, keep=compiled.model.outputs)
        found = execute(compiled.graph, {compiled.integers.source.name: batch.integers}, keep=True)
        total += compare(levels_of(run), found, batch.first)
        total += _compare_output(compiled, run, found[compiled.integers.output])
    return _check("integer graph against the exact reference", _titles(batches), total)


def levels_of(run: Evaluation) -> dict[str, Ints]:
    """The level of every activation quantiser."""
    return {name: run.decisions[name].levels for name in activation_quantizers(run.graph)}


def _compare_output(compiled: Compiled, run: Evaluation, integers: Ints) -> Comparison:
    """The decoded output against the reference's, where no quantiser made it.

    The reference holds such an output in float64 with a bound on its error: both are the same real number, so
    they must agree within the bounds of both. (The integers behind it are compared one by one in any case.)
    """
    output = compiled.model.outputs[0]
    if output in activation_quantizers(compiled.model):
        return NOTHING
    reference = run.tensors[output]
    decoded, error = compiled.integers.decode_with_error(integers)
    slack = 2 * (np.broadcast_to(reference.error, decoded.shape) + error) + 8 * np.spacing(np.abs(decoded))
    wrong = np.abs(decoded - reference.value) > slack
    return Comparison(decoded.size, int(wrong.sum()), (), frozenset())


def check_csim(
    compiled: Compiled, design: Design, names: Names, simulator: Simulator, batches: Sequence[Frames]
) -> list[Check]:
    """The compiled C++ against the integer graph: the whole design, every layer, every boundary, short streams."""
    whole, layers = NOTHING, NOTHING
    for batch in batches:
        expected = execute(compiled.graph, {compiled.integers.source.name: batch.integers}, keep=True)
        whole += compare_design(compiled, design, simulator, batch, expected)
        layers += compare_layers(design, names, simulator, expected, batch.first)
    checks = [
        _check("C++ of the whole design against the integer graph", _titles(batches), whole),
        _check("C++ of each layer against the integer graph", _titles(batches), layers),
    ]
    boundaries, tried = compare_boundaries(design, names, simulator)
    if boundaries.compared:
        checks.append(_check("C++ of each layer at its boundaries", tried, boundaries))
    if design.forked:
        checks.append(check_bounded(compiled, design, names, simulator, batches[0]))
    return checks


def check_bounded(compiled: Compiled, design: Design, names: Names, simulator: Simulator, batch: Frames) -> Check:
    """The whole design with streams that hold no more words than planned, frame behind frame.

    Raises:
        ExactnessError: It comes to a stop; the streams that are full, and empty, are named.
    """
    frames = batch.integers[:BOUNDED_FRAMES]
    output = compiled.integers.output
    (expected,) = execute(compiled.graph, {compiled.integers.source.name: frames}).values()
    depths = {names.stream(stream): stream.depth for stream in design.streams}
    found = simulator.run_bounded(frames, design.source.element, design.sink.element, expected.shape[1:], depths)
    total = compare({output: expected}, {output: found})
    return _check("C++ with streams bounded to their planned depths", f"{len(frames)} {batch.title} frames", total)


def compare_design(
    compiled: Compiled,
    design: Design,
    simulator: Simulator,
    batch: Frames,
    expected: dict[str, Ints],
) -> Comparison:
    """The output of the whole design, from AXI word to AXI word."""
    output = compiled.integers.output
    last = design.layers[-1].layer.y
    found = simulator.run(batch.integers, design.source.element, design.sink.element, last.shape)
    return compare({output: expected[output]}, {output: found}, batch.first)


def compare_layers(
    design: Design, names: Names, simulator: Simulator, expected: dict[str, Ints], first: int
) -> Comparison:
    """The output of each layer on the input that it should get."""
    total = NOTHING
    for identifier, process in zip(names.identifiers, design.processes, strict=True):
        if not isinstance(process, LayerProcess):
            continue
        layer = process.layer
        xs = [(expected[name], x.element) for name, x in zip(layer.reads, layer.xs, strict=True)]
        found = simulator.run_layer(identifier, xs, layer.y.element, expected[layer.name].shape[1:])
        total += compare({layer.name: expected[layer.name]}, {layer.name: found}, first)
    return total


def _titles(batches: Sequence[Frames]) -> str:
    counts: dict[str, int] = {}
    for batch in batches:
        counts[batch.title] = counts.get(batch.title, 0) + len(batch.integers)
    return ", ".join(f"{count} {'frames of data' if t == 'data' else 'random frames'}" for t, count in counts.items())


def _check(name: str, inputs: str, total: Comparison) -> Check:
    return Check(name, inputs, total.compared, total.differences, None, tuple(map(str, total.first[:_LISTED])))
