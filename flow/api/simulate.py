# SPDX-License-Identifier: Apache-2.0
"""A built design on the user's data: accuracy, agreement with the model, and where they part."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from flow.api.checks import levels_of
from flow.api.compile import compile_graph, frames_at_once
from flow.api.data import accuracy, load_data
from flow.backend.csim import Simulator, compile_design
from flow.emit.hls import Names, names_of
from flow.errors import DataError, VerifyError
from flow.ir.dataflow import execute
from flow.ir.input_type import InputType
from flow.ir.model import Input, ModelGraph
from flow.ir.reference import Evaluation
from flow.ir.text import parse_graph, print_graph
from flow.ir.types import Ints, Reals, parse_type
from flow.ir.verify import NOTHING, Comparison, Mismatch, compare
from flow.passes.integerize import IntegerModel
from flow.plan.design import Design, build_design
from flow.plan.layers import layers_of
from flow.plan.plan import read_plan
from flow.plan.processes import LayerProcess


@dataclass(frozen=True)
class SimulationResult:
    """What C-simulation gave.

    Attributes:
        frames: How many were run.
        integers: (frames, *shape): what leaves the hardware.
        output: The model's output for them, in float64.
        comparison: The hardware's integers against the model's.
        accuracy: On the labels; None without labels.
        clipped: How many values of the data lie outside the input type, and were clipped to it.
        diverging: With ``trace``: the first layer that differs from the model, and how; None where none does.
        traced: Whether layers were compared one by one.
    """

    frames: int
    integers: Ints
    output: Reals
    comparison: Comparison
    accuracy: float | None
    clipped: int
    diverging: Mismatch | None
    traced: bool


def simulate(folder: str | Path, data: str | Path, *, trace: bool = False) -> SimulationResult:
    """Runs a built design on data.

    Args:
        folder: A build directory.
        data: An .npz file with ``x`` and, if there are labels, ``y``.
        trace: Whether to run every layer by itself, and name the first that differs from the model.

    Raises:
        FlowError: The folder is no build directory, or the data do not fit.
    """
    built = open_build(Path(folder))
    user = load_data(Path(data), built.frame_shape)
    library = built.folder / "csim" / "design.so"
    simulator = Simulator(library if library.is_file() else compile_design(built.folder))
    outputs: list[Ints] = []
    total = NOTHING
    diverging: Mismatch | None = None
    at_once = frames_at_once(built.model)
    for first in range(0, len(user.x), at_once):
        frames = user.x[first : first + at_once]
        x = built.integers.encode(frames)
        y = simulator.run(x, built.design.source.element, built.design.sink.element, built.output_shape)
        outputs.append(y)
        expected = built.expected(frames, x)
        output = built.integers.output
        total += compare({output: expected[output]}, {output: y}, first)
        if trace and diverging is None:
            diverging = _first_divergence(built, simulator, x, expected, first)
    integers = np.concatenate(outputs)
    decoded = built.integers.decode(integers)
    right = accuracy(user.y, decoded) if user.y is not None else None
    clipped = built.integers.clipped(user.x)
    return SimulationResult(len(user.x), integers, decoded, total, right, clipped, diverging, trace)


@dataclass(frozen=True)
class Built:
    """A build directory, read back."""

    folder: Path
    model: ModelGraph
    integers: IntegerModel
    design: Design
    names: Names

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return next(n.shape for n in self.model.nodes if isinstance(n, Input))

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.design.layers[-1].layer.y.shape

    def expected(self, frames: Reals, x: Ints) -> dict[str, Ints]:
        """Every tensor as the model defines it: the reference's levels, and the integer graph's sums.

        Args:
            frames: The float frames.
            x: What enters the hardware for them.
        """
        graph = self.integers.graph
        tensors = execute(graph, {self.integers.source.name: x}, keep=True)
        name = next(n.name for n in self.model.nodes if isinstance(n, Input))
        feed = frames if self.integers.head is not None else self.integers.feed(x)
        levels = levels_of(Evaluation(self.model, {name: feed}, keep=()))
        return tensors | {n: level.reshape(tensors[n].shape) for n, level in levels.items() if n in tensors}


def open_build(folder: Path) -> Built:
    """Reads a build directory back.

    Raises:
        FlowError: It is none, or its parts do not belong together.
    """
    missing = [
        n for n in ("build.lock", "model.txt", "graph.txt", "plan.toml", "host.json") if not (folder / n).is_file()
    ]
    if missing:
        raise DataError(
            f"{folder} is not a build directory: it holds no {', '.join(missing)}",
            "build it: flow build MODEL --out DIR",
        )
    try:
        host = json.loads((folder / "host.json").read_text())
        given, axis_bits, labels = host["input_type"], int(host["axis_bits"]), dict(host["labels"])
        model = parse_graph((folder / "model.txt").read_text())
    except (ValueError, KeyError, TypeError, VerifyError) as error:
        raise DataError(f"{folder}: host.json or model.txt is damaged ({error})", "build it again") from error
    input_type = InputType(parse_type(given["element"]), Fraction(given["scale"])) if given is not None else None
    integers = compile_graph(model, input_type)
    if print_graph(integers.graph) != (folder / "graph.txt").read_text():
        raise DataError(f"{folder}: graph.txt is not what this version of flow makes of model.txt", "build it again")
    layers = layers_of(integers.graph)
    plan = read_plan(folder / "plan.toml", layers)
    design = build_design(layers, plan, axis_bits)
    return Built(folder, model, integers, design, names_of(design, labels))


def _first_divergence(
    built: Built, simulator: Simulator, x: Ints, expected: dict[str, Ints], first: int
) -> Mismatch | None:
    """Runs layer after layer, each on what those before it gave, as the hardware does."""
    values = {built.integers.source.name: x}
    for identifier, process in zip(built.names.identifiers, built.design.processes, strict=True):
        if not isinstance(process, LayerProcess):
            continue
        layer = process.layer
        xs = [(values[name], operand.element) for name, operand in zip(layer.reads, layer.xs, strict=True)]
        values[layer.name] = simulator.run_layer(identifier, xs, layer.y.element, expected[layer.name].shape[1:])
        found = compare({layer.name: expected[layer.name]}, {layer.name: values[layer.name]}, first)
        if found.differences:
            return found.first[0]
    return None
