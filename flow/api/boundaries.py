# SPDX-License-Identifier: Apache-2.0
"""The C++ of each layer where its sums lie on a boundary of its step function, and right below."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from flow.backend.csim import Simulator
from flow.emit.hls import Names
from flow.ir.boundary_inputs import BoundaryBatch, Terms, boundary_inputs, gate_inputs, terms_of
from flow.ir.dataflow import Convolution, Dense, Gate, Lookup, Pooling, Step, Sum
from flow.ir.types import Ints
from flow.ir.verify import NOTHING, Comparison, compare
from flow.plan.design import Design
from flow.plan.layers import Layer
from flow.plan.processes import LayerProcess

_ELEMENTS = 1 << 24  # of the inputs that are made for the boundaries of a layer


def compare_boundaries(design: Design, names: Names, simulator: Simulator) -> tuple[Comparison, str]:
    """What differs, and what was tried in words."""
    total, wanted, reached, thinned = NOTHING, 0, 0, 1
    for identifier, process in zip(names.identifiers, design.processes, strict=True):
        if not isinstance(process, LayerProcess) or process.layer.step is None:
            continue
        layer = process.layer
        every, step = sampled(layer)
        thinned = max(thinned, every)
        for batch, operands, expected in boundary_frames(process, step):
            shape = expected.shape[1:]
            if layer.window is not None:
                found = simulator.run_core(identifier, operands[0], layer.core_x.element, layer.y.element, shape)
            else:
                xs = [(operand, x.element) for operand, x in zip(operands, layer.xs, strict=True)]
                found = simulator.run_layer(identifier, xs, layer.y.element, shape)
            total += compare({layer.name: expected}, {layer.name: found})
            wanted += int(batch.aimed.sum())
            reached += int((batch.aimed & batch.reached).sum())
    which = "every boundary" if thinned == 1 else f"boundaries (where a layer has very many, one in {thinned})"
    return total, f"{wanted} sums on and below {which}, {reached} of them within reach of the layer's input"


def sampled(layer: Layer) -> tuple[int, Step | Lookup]:
    """The layer's function with so many of its boundaries that inputs for them can be made in seconds: each n-th."""
    step = layer.step
    assert step is not None
    functions = layer.outputs if layer.product is not None else step.channels
    size = 2 * functions * step.thresholds.shape[1] * max(layer.inputs, layer.x.size if layer.op is None else 1)
    every = -(-size // _ELEMENTS)
    return every, replace(step, thresholds=step.thresholds[:, ::every].copy()) if every > 1 else step


def boundary_frames(
    process: LayerProcess, boundaries: Step | Lookup
) -> Iterator[tuple[BoundaryBatch, list[Ints], Ints]]:
    """For each batch of inputs: the operands as frames that the hardware reads, and the results to expect.

    A layer behind a window unit gets what that unit would emit. Each position of a frame takes a case of its own.

    Args:
        process: A layer with a step function.
        boundaries: It, or the same with fewer boundaries.
    """
    layer = process.layer
    step, op, xs = layer.step, layer.op, (layer.core_x, *layer.xs[1:])
    assert step is not None
    channels = max(step.channels, layer.x.lo.size) if op is None else layer.y.shape[-1]
    if isinstance(op, Gate):
        batch = gate_inputs(op, xs, boundaries, channels)
        operands = [_everywhere(batch.inputs[..., place], x.shape) for place, x in enumerate(xs)]
        if len(batch.inputs):
            yield batch, operands, step.evaluate(op.evaluate(*operands))
        return
    assert isinstance(op, Dense | Convolution | Pooling | Sum | None)
    terms = terms_of(op, xs, channels)
    for batch in boundary_inputs(terms, boundaries):
        missing = -len(batch.inputs) % (layer.y.size // channels)  # the last case fills what is left of a frame
        inputs = np.concatenate([batch.inputs, np.repeat(batch.inputs[-1:], missing, axis=0)])
        expected = step.evaluate(_sums(terms, inputs).reshape(-1, *layer.y.shape))
        yield batch, _operands(process, inputs, len(expected)), expected


def _sums(terms: Terms, inputs: Ints) -> Ints:
    """(cases, groups * outputs)."""
    by_group: Ints = inputs.transpose(1, 0, 2) @ terms.weights
    return by_group.transpose(1, 0, 2).reshape(len(inputs), -1)


def _everywhere(values: Ints, shape: tuple[int, ...]) -> Ints:
    """One value for each channel, at all positions of a frame."""
    return np.broadcast_to(values.reshape(len(values), *[1] * (len(shape) - 1), -1), (len(values), *shape)).copy()


def _operands(process: LayerProcess, inputs: Ints, frames: int) -> list[Ints]:
    """The inputs (cases, groups, inputs of a group) in the order in which the layer's hardware reads them."""
    layer = process.layer
    if isinstance(layer.op, Sum):
        return [inputs[..., place].reshape(frames, *x.shape) for place, x in enumerate(layer.xs)]
    if layer.lanewise:  # tap after tap, each with the channels that a word holds
        lanes = inputs.reshape(len(inputs), -1, process.plan.pe, layer.taps)
        return [lanes.swapaxes(2, 3).reshape(frames, -1)]
    if isinstance(layer.op, Pooling):
        window = layer.op.window
        x = np.zeros((frames, *layer.x.shape), np.int64)
        for place, tap in enumerate(window.taps()):
            seen = window.seen(x, tap)
            seen[...] = inputs[..., place].reshape(seen.shape)
        return [x]
    return [inputs.reshape(frames, -1)]
