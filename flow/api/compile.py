# SPDX-License-Identifier: Apache-2.0
"""From a file to the integer graph: import, passes, integerisation, passes, each held to its contract."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.errors import OptionError, VerifyError
from flow.frontend.importer import ImportedModel, import_model
from flow.ir.dataflow import Convolution, DataflowGraph, Dense, execute, infer_types, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.input_type import InputType, parse_input_type
from flow.ir.model import (
    ArgMax,
    BipolarQuant,
    Conv,
    ConvTranspose,
    Input,
    MatMul,
    ModelGraph,
    Pool,
    Quant,
    Reduce,
    Softmax,
    constants,
)
from flow.ir.model_rules import infer_shapes, verify_model
from flow.ir.near_ties import activation_quantizers
from flow.ir.numbers import to_float
from flow.ir.reference import Evaluation
from flow.ir.types import Bipolar, Ints, Reals
from flow.passes.base import run_passes
from flow.passes.integerize import IntegerModel, integerize
from flow.passes.pipelines import DATAFLOW_PASSES, INTEGERIZE, MODEL_PASSES

Observer = Callable[[str, Graph[Any]], None]
_ELEMENTS = 1 << 23  # elements of all tensors that are evaluated at once: some hundred MB each time
_EXACT_TERMS = 20_000
"""An output that is made from more numbers than this is not computed in rationals for a check of a pass."""
_ANNOTATED = {"BIPOLAR": "b1"}


@dataclass(frozen=True)
class Compiled:
    """A network at all its levels.

    Attributes:
        imported: As the file has it.
        model: With quantised constants, laid out: what the integers are proved against.
        integers: The integer network, after all passes.
    """

    imported: ImportedModel
    model: ModelGraph
    integers: IntegerModel

    @property
    def graph(self) -> DataflowGraph:
        return self.integers.graph

    @property
    def input_name(self) -> str:
        return self.imported.input_name

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return next(n.shape for n in self.model.nodes if isinstance(n, Input))


def compile_model(path: Path, input_type: str | None = None, observe: Observer = lambda name, graph: None) -> Compiled:
    """Compiles a QONNX file to its integer graph.

    Args:
        path: The file.
        input_type: How the input arrives; None for the model's own first quantiser, or its annotation.
        observe: Is shown every graph on the way, with the name of the pass that made it.
    """
    imported = import_model(path)
    observe("import", imported.graph)
    graph = run_passes(imported.graph, MODEL_PASSES, verify=verify_model, probe=_model_probe(imported), observe=observe)
    integers = compile_graph(graph, chosen_input_type(imported, input_type), observe)
    return Compiled(imported, graph, integers)


def chosen_input_type(imported: ImportedModel, text: str | None) -> InputType | None:
    """The input type that the user names, else the one that the file gives to its input."""
    if text is None and imported.input_annotation in _ANNOTATED:
        text = _ANNOTATED[imported.input_annotation]
    return parse_input_type(text) if text is not None else None


def compile_graph(
    model: ModelGraph, input_type: InputType | None, observe: Observer = lambda name, graph: None
) -> IntegerModel:
    """The integer network of a model whose constants are quantised and laid out."""
    integers = integerize(model, input_type)
    if len(integers.graph.nodes) < 2:
        raise OptionError(
            "nothing is left for the hardware: the model's quantiser would run on the host, as its input "
            "arrives in floating point",
            "say in which type the input arrives: --input-type u8, i8, u8/255, fixed<16,6>, ...",
        )
    verify_dataflow(integers.graph)
    observe(INTEGERIZE, integers.graph)
    graph = run_passes(
        integers.graph,
        DATAFLOW_PASSES,
        verify=verify_dataflow,
        probe=_dataflow_probe(integers),
        observe=observe,
    )
    names = {node.name for node in graph.nodes}
    if graph.outputs != integers.graph.outputs:
        raise VerifyError("a pass renamed the output")
    kept = {name: e for name, e in integers.encodings.items() if name in names}
    return replace(integers, graph=graph, encodings=kept)


def _model_probe(imported: ImportedModel) -> Callable[[ModelGraph], dict[str, NDArray[Any]]]:
    """The values of the file's activation quantisers, and some elements of the output in exact arithmetic.

    The values of a frame are sorted: a pass may keep a tensor in another order.
    """
    source = next(n for n in imported.graph.nodes if isinstance(n, Input))
    frames = random_frames(source.shape, min(8, frames_at_once(imported.graph)), seed=1)
    quantizers = activation_quantizers(imported.graph)

    def probe(graph: ModelGraph) -> dict[str, NDArray[Any]]:
        run = Evaluation(graph, {source.name: frames}, keep={*quantizers, *graph.outputs})
        values = {name: run.tensors[name].value for name in quantizers if name in run.tensors}
        found: dict[str, NDArray[Any]] = {n: np.sort(v.reshape(len(frames), -1), axis=1) for n, v in values.items()}
        output = graph.outputs[0]
        if output not in quantizers and _terms(graph, output) <= _EXACT_TERMS:
            shape = run.shapes[output]
            places = [(0, *index) for index in list(np.ndindex(shape))[:2]]
            found[output] = np.array([to_float(run.number(output, place)) for place in places])
        elif output in quantizers:
            found[f"{output} in order"] = run.tensors[output].value
        return found

    return probe


def frames_at_once(graph: ModelGraph) -> int:
    """How many frames of a model are evaluated together: one at least, and few of large images."""
    return max(1, min(500, _ELEMENTS // elements(graph)))


def elements(graph: ModelGraph) -> int:
    """Elements of all tensors of a frame."""
    return sum(prod(shape) for shape in infer_shapes(graph).values())


def macs(graph: DataflowGraph) -> int:
    """Multiply-accumulates of a frame."""
    types = infer_types(graph)
    products = [node for node in graph.nodes if isinstance(node, Dense | Convolution)]
    return sum(types[node.name].size * len(node.matrix) for node in products)


def _terms(graph: ModelGraph, name: str) -> float:
    """How many numbers one element is computed from, back to quantised ones; infinite where it is not exact."""
    shapes, parameters = infer_shapes(graph), constants(graph)
    terms: dict[str, float] = {}
    for node in graph.nodes:
        activations = [terms[n] for n in node.inputs if n not in parameters]
        match node:
            case Softmax() | ArgMax():
                terms[node.name] = inf
            case Quant() | BipolarQuant() | Input():
                terms[node.name] = 1
            case MatMul() | Conv() | ConvTranspose():
                terms[node.name] = prod(shapes[node.weight][:-1]) * activations[0]
            case Pool():
                terms[node.name] = prod(node.window.kernel) * activations[0]
            case Reduce():
                terms[node.name] = prod(shapes[node.x]) * activations[0]
            case _:
                terms[node.name] = sum(activations)
    return terms[name]


def _dataflow_probe(integers: IntegerModel) -> Callable[[DataflowGraph], dict[str, NDArray[Any]]]:
    size = sum(t.size for t in infer_types(integers.graph).values())
    frames = random_integers(integers, max(1, min(64, _ELEMENTS // size)), seed=2)
    source = integers.source.name
    return lambda graph: dict(execute(graph, {source: frames}))


def random_frames(shape: tuple[int, ...], count: int, seed: int) -> Reals:
    """Float frames of several sizes: small, unit and large normal numbers, quarters, and zeros.

    All are multiples of 2**-12, so that sums of a network with dyadic scales are exact in float64, ties included.
    """
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(count, *shape))
    frames *= np.array([0.1, 1.0, 4.0, 30.0])[rng.integers(0, 4, count)].reshape(-1, *[1] * len(shape))
    frames[::4] = np.rint(frames[::4] * 4) / 4  # on ties of power-of-two scales
    frames[:1] = 0
    return np.rint(frames * 4096) / 4096


def random_integers(integers: IntegerModel, count: int, seed: int) -> Ints:
    """Integers for the hardware's input: uniform over its range, and the two extremes."""
    rng = np.random.default_rng(seed)
    source = integers.source
    shape = (count, *source.shape)
    lo, hi = int(source.lo.min()), int(source.hi.max())
    if isinstance(source.element, Bipolar):
        values = rng.choice(np.array([-1, 1]), shape)
    else:
        values = rng.integers(lo, hi + 1, shape)
        # half of the frames stay near zero, where activations of trained networks are
        small = rng.integers(max(lo, -3), min(hi, 3) + 1, shape)
        values[1::2] = small[1::2]
    values[:1], values[-1:] = lo, hi
    return values.astype(np.int64)
