# SPDX-License-Identifier: Apache-2.0
"""What the C++ of every process has: a name, streams, a header, and for a layer its types and step function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal, TypeAlias

from flow.emit.cxx import type_name
from flow.emit.steps import step_text
from flow.ir.types import Bipolar, ElementType, IntType
from flow.plan.board import Dsp
from flow.plan.design import Design, Stream
from flow.plan.processes import LayerProcess

Dialect: TypeAlias = Literal["vitis", "vitis2020", "vivado"]
"""Whose pragmas: the file of that name in ``templates/hls/pragmas/``."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the processes of a design are called.

    Attributes:
        identifiers: A C++ function for each process.
        files: ``NN_identifier`` for each.
    """

    identifiers: tuple[str, ...]
    files: tuple[str, ...]

    def stream(self, stream: Stream) -> str:
        """The variable of a stream in the top function."""
        copy = f"copy{stream.output}_" if stream.output else ""
        return f"{copy}from_{self.identifiers[stream.producer]}"

    def word(self, producer: int) -> str:
        """The type of the words that a process writes."""
        return f"{self.identifiers[producer]}_out_t"


@dataclass(frozen=True)
class HlsOptions:
    """What the C++ shall look like, apart from the design.

    Attributes:
        title: Heads every file.
        top: The name of the top function.
        dialect: Whose pragmas.
        labels: For each layer what its function is called after.
        origins: For each layer a line that says from where it came.
        notes: For each layer further lines of its header (cycles, resources, scale).
        frames: Frames in the test vectors.
        dsp: The slice that products are packed in; the default is the narrowest, so that its packings fit any.
        kernel: The top function becomes a kernel of Vitis, whose streams have no TUSER, TID and TDEST (UG1393,
            "Streaming Kernel Coding Guidelines"); Vivado HLS knows no such stream.
    """

    title: str
    top: str
    dialect: Dialect
    labels: Mapping[str, str]
    origins: Mapping[str, str]
    notes: Mapping[str, Sequence[str]]
    frames: int
    dsp: Dsp = Dsp.DSP48E1
    kernel: bool = False


def common(place: int, design: Design, names: Names) -> SimpleNamespace:
    """Name, streams and words of a process; the first and the last have one end at a port of the design."""
    process = design.processes[place]
    identifier, file = names.identifiers[place], names.files[place]
    read, written = design.inputs[place], design.outputs[place]
    # streams: what the function calls it, the variable in the top function, the type of a word, its lanes and words
    inputs = [_end("in", s, names, len(read)) for s in read]
    outputs = [_end("out", s, names, len(written)) for s in written]
    if not inputs:
        inputs = [SimpleNamespace(name="in", variable="in", type="axis_in_t")]
    if not outputs:
        outputs = [SimpleNamespace(name="out", variable="out", type="axis_out_t")]
    ends = [*inputs, *outputs]
    return SimpleNamespace(
        identifier=identifier,
        file=file,
        guard=f"FLOW_{file.upper()}",
        inputs=inputs,
        outputs=outputs,
        parameters=", ".join(f"hls::stream<{end.type}>& {end.name}" for end in ends),
        arguments=", ".join(end.variable for end in ends),
        in_stream=inputs[0].type,
        out_stream=outputs[0].type,
        in_lanes=process.in_lanes,
        out_lanes=process.out_lanes,
        tables=[],
    )


def _end(name: str, stream: Stream, names: Names, count: int) -> SimpleNamespace:
    number = stream.input if name == "in" else stream.output
    return SimpleNamespace(
        name=f"{name}{number}" if count > 1 else name,
        variable=names.stream(stream),
        type=names.word(stream.producer),
        element=type_name(stream.element),
        lanes=stream.lanes,
        words=stream.words,
    )


def add_layer(text: SimpleNamespace, process: LayerProcess) -> None:
    """Header, types and step function of a layer."""
    layer, plan = process.layer, process.plan
    step = None
    if layer.step is not None and process.form is not None:
        step = step_text(
            layer.step,
            process.form,
            name=text.identifier,
            pe=plan.pe,
            x=layer.acc.element,
            y=layer.y.element,
            multiplier=plan.unit,
            certificate=str(process.certificate),
        )
        text.tables += step.tables
    vars(text).update(
        header=[],
        x_type=type_name(layer.core_x.element),
        acc_type="ap_int<2>" if isinstance(layer.acc.element, Bipolar) else type_name(layer.acc.element),
        y_type=type_name(layer.y.element),
        pe=plan.pe,
        simd=plan.simd,
        step=step,
    )


def layer_header(process: LayerProcess, options: HlsOptions, lines: Sequence[str]) -> list[str]:
    """From where a layer came, what it does, its proof, and what is known of it."""
    layer = process.layer
    proof = [f"step function: {process.certificate}"] if process.certificate is not None else []
    return [options.origins.get(layer.name, layer.name), *lines, *proof, *options.notes.get(layer.name, ())]


def finish(text: SimpleNamespace, total: str, fold: str) -> str:
    """The result of a layer: what its step function makes of a total."""
    return f"{text.identifier}_step({total}, p, {fold})" if text.step is not None else total


def number(expression: str, element: ElementType) -> str:
    """The number that a stored value stands for: a bipolar one is a bit, 0 for -1."""
    return f"ap_int<2>(2 * {expression} - 1)" if isinstance(element, Bipolar) else expression


def moved(expression: str, source: ElementType, target: ElementType) -> str:
    """A stored value of one type as one of another that holds it."""
    return expression if isinstance(target, Bipolar) else number(expression, source)


def shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def interval_type(lo: int, hi: int) -> IntType:
    """The type of a number in an interval."""
    return IntType.holding(min(lo, 0), max(hi, 0))
