# SPDX-License-Identifier: Apache-2.0
"""What goes to the board beside the bitstream: ``io.json``, the drivers, frames with known answers.

The drivers are static files; the network's own numbers are all in ``io.json``, which the Python driver reads, and from
which ``cpp/layout.hpp`` and ``cpp/host_part.cpp`` are made.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from flow.emit import packing
from flow.emit.fileset import FileSet
from flow.emit.host_part import host_part
from flow.emit.packing import Layout, pack
from flow.emit.render import render, static
from flow.ir.graph import Graph
from flow.ir.model import (
    ArgMax,
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Constant,
    Input,
    LeakyRelu,
    ModelGraph,
    ModelOp,
    Quant,
    QuantizedConstant,
    Reshape,
    Shape,
    Softmax,
    Transpose,
    Unary,
)
from flow.ir.rounding import Rounding
from flow.ir.types import Bipolar, Ints, Reals
from flow.passes.integerize import IntegerModel
from flow.plan.board import Board, Family
from flow.plan.design import Design, Port

FORMAT = 1
_PROGRAM = ("accelerator.py", "accelerator_error.py")
_CPP = ("CMakeLists.txt", "accelerator.cpp", "accelerator.hpp", "host.cpp", "host.hpp", "main.cpp")
_SYSTEMS: Mapping[Family, Mapping[str, str]] = {  # as vivado_scripts/zynq7000.tcl and zynqmp.tcl place the DMA
    Family.ZYNQ7000: {"clock": "FCLK_CLK0", "registers": "40400000", "cells": "0x40400000 0x10000"},
    Family.ZYNQMP: {"clock": "pl_clk0", "registers": "a0000000", "cells": "0x0 0xa0000000 0x0 0x10000"},
}
_UNARY = ("relu", "sigmoid", "tanh", "neg", "identity")


class _NotOnBoardError(Exception):
    """The driver has no such step; its argument is what the step is called."""


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    """Frames with what the design gives for them.

    Attributes:
        inputs: (frames, ...), what enters the hardware.
        outputs: (frames, ...), what leaves it.
    """

    inputs: Ints
    outputs: Ints


def layout(port: Port) -> Layout:
    """How the values of a port lie in its words."""
    return Layout(str(port.element), port.values, port.container, port.axis_bits)


def emit_driver(
    design: Design, board: Board, title: str, integers: IntegerModel, frame_shape: Shape, known: KnownAnswers
) -> FileSet:
    """``io.json`` and the folder ``driver/``; programs only for boards with a system around the accelerator.

    Args:
        design: The hardware.
        board: Where it runs.
        title: The name of the bitstream.
        integers: What the host computes in front of it and behind it.
        frame_shape: Of a float frame of the model.
        known: For the self test.
    """
    described = describe(design, title, integers, frame_shape)
    files = {
        "io.json": json.dumps(described, indent=2) + "\n",
        "driver/packing.py": Path(packing.__file__).read_text(),
        "driver/known_input.hex": _hex(known.inputs, layout(design.source)),
        "driver/known_output.hex": _hex(known.outputs, layout(design.sink)),
    }
    system = _SYSTEMS.get(board.family)
    runtime = "pynq" if system is not None else "xrt" if board.vitis is not None else None
    if runtime is not None:
        files |= {f"driver/{name}": static(f"driver/{name}") for name in _PROGRAM}
        files |= {f"driver/{name}": static(f"driver/{runtime}/{name}") for name in ("device.py", "run.sh")}
    if system is not None:
        mhz = design.plan.clock_mhz
        streams = {
            name: _cpp_stream(layout(port)) for name, port in (("input", design.source), ("output", design.sink))
        }
        planned = repr(1e6 * mhz / design.interval)
        files |= {f"driver/cpp/{name}": static(f"driver/cpp/{name}") for name in _CPP}
        files["driver/cpp/layout.hpp"] = render("driver/cpp/layout.hpp.j2", design=title, planned=planned, **streams)
        files["driver/cpp/host_part.cpp"] = host_part(described)
        files["driver/cpp/README.md"] = render("driver/cpp/README.md.j2", design=title, mhz=f"{mhz:g}", **system)
    return FileSet.of(files)


def _cpp_stream(stream: Layout) -> SimpleNamespace:
    return SimpleNamespace(
        kind=stream.element[0],
        bits=stream.element[1:],
        values=stream.values,
        container_bits=stream.container_bits,
        frame_bytes=stream.frame_bytes,
    )


def describe(design: Design, title: str, integers: IntegerModel, frame_shape: Shape) -> dict[str, Any]:
    """``io.json``: the words of both streams, and what the host computes in front of the hardware and behind it."""
    encoding = integers.encodings[integers.output]
    return {
        "format": FORMAT,
        "design": title,
        "board": design.plan.board,
        "clock_mhz": design.plan.clock_mhz,
        "interval_cycles": design.interval,
        "input": {
            "shape": list(integers.source.shape),
            **_stream(design.source),
            "from_float": from_float(integers, frame_shape),
        },
        "output": {
            "shape": list(design.layers[-1].layer.y.shape),
            **_stream(design.sink),
            "scale": [str(value) for value in encoding.scale],
            "offset": [str(value) for value in encoding.offset],
            "to_float": to_float(integers.tail),
        },
    }


def _stream(port: Port) -> dict[str, Any]:
    stream = layout(port)
    return {
        "element": stream.element,
        "values": stream.values,
        "container_bits": stream.container_bits,
        "word_bits": stream.word_bits,
        "values_per_word": stream.per_word,
        "words": stream.words,
        "frame_bytes": stream.frame_bytes,
    }


def _hex(frames: Ints, stream: Layout) -> str:
    """A line for each frame: its bytes, as they lie in memory."""
    return "".join(row.tobytes().hex() + "\n" for row in pack(frames.reshape(len(frames), -1), stream))


# -- the host's part, as steps on float64 arrays (frames, *shape) -----------------------------------------------


def from_float(integers: IntegerModel, frame_shape: Shape) -> dict[str, Any]:
    """From a float frame to the integers that enter; only ``missing`` where the driver cannot do it."""
    if integers.input_type is not None:
        element = integers.input_type.element
        quantize = {
            "scale": float(integers.input_type.scale),
            "zero_point": 0.0,
            "rounding": "sign" if isinstance(element, Bipolar) else Rounding.HALF_EVEN.value,
            "least": element.min,
            "greatest": element.max,
        }
        order = list(integers.order)
        steps = [{"step": "transpose", "order": order}] if order != sorted(order) else []
        return {"shape": list(frame_shape), "steps": steps, "quantize": quantize}
    assert integers.head is not None
    *_, last = integers.head.nodes
    assert isinstance(last, Quant | BipolarQuant)
    try:
        steps = list(_steps(Graph(integers.head.nodes[:-1], (last.x,))))
    except _NotOnBoardError as error:
        return {"missing": str(error)}
    rounding = last.rounding.value if isinstance(last, Quant) else "sign"
    least, greatest = last.range
    quantize = {
        "scale": last.scale.tolist(),
        "zero_point": last.zero_point.tolist(),
        "rounding": rounding,
        "least": least,
        "greatest": greatest,
    }
    return {"shape": list(frame_shape), "steps": steps, "quantize": quantize}


def to_float(tail: ModelGraph) -> dict[str, Any]:
    """From the numbers that leave to the model's output; only ``missing`` where the driver cannot do it."""
    shape = next(list(node.shape) for node in tail.nodes if isinstance(node, Input))
    try:
        return {"shape": shape, "steps": list(_steps(tail))}
    except _NotOnBoardError as error:
        return {"missing": str(error)}


def _steps(graph: ModelGraph) -> Iterator[dict[str, Any]]:
    """A chain of nodes as the driver's steps."""
    constants: dict[str, Reals] = {}
    previous = ""
    for node in graph.nodes:
        match node:
            case Input():
                previous = node.name
                continue
            case Constant():
                constants[node.name] = node.value
                continue
            case QuantizedConstant():
                constants[node.name] = np.asarray(node.levels * node.scale)
                continue
        if [name for name in node.inputs if name not in constants] != [previous]:
            raise _NotOnBoardError("tensors that meet")
        yield from _step(node, constants)
        previous = node.name


def _step(node: ModelOp, constants: dict[str, Reals]) -> Iterator[dict[str, Any]]:
    match node:
        case Unary(kind=kind) if kind in _UNARY:
            yield {"step": kind}
        case Clip():
            yield {"step": "clip", "least": _finite(node.lo), "greatest": _finite(node.hi)}
        case LeakyRelu():
            yield {"step": "leaky_relu", "slope": node.slope.tolist()}
        case Binary(kind=("add" | "sub" | "mul" | "div") as kind, x=x, y=y):
            first = x in constants
            yield {"step": kind, "with": constants[x if first else y].tolist(), "first": first}
        case BatchNorm():
            yield {"step": "sub", "with": node.mean.tolist(), "first": False}
            yield {"step": "div", "with": np.sqrt(node.variance + node.epsilon).tolist(), "first": False}
            yield {"step": "mul", "with": node.gamma.tolist(), "first": False}
            yield {"step": "add", "with": node.beta.tolist(), "first": False}
        case Reshape():
            yield {"step": "reshape", "shape": list(node.shape)}
        case Transpose():
            yield {"step": "transpose", "order": list(node.order)}
        case Softmax():
            yield {"step": "softmax", "axis": node.axis}
        case ArgMax():
            yield {"step": "argmax", "axis": node.axis, "count": node.count, "keep": node.keep}
        case Unary(kind=kind) | Binary(kind=kind):
            raise _NotOnBoardError(kind)
        case _:
            raise _NotOnBoardError(type(node).__name__.lower())


def _finite(bound: float) -> float | None:
    """JSON has no infinity."""
    return bound if math.isfinite(bound) else None
