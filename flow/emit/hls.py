# SPDX-License-Identifier: Apache-2.0
"""A design as HLS C++: this module decides every value, the templates only the layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias

import numpy as np

from flow.emit.cxx import (
    Table,
    codes,
    identifiers,
    type_name,
    unsigned_table,
)
from flow.emit.fileset import FileSet
from flow.emit.render import render, static
from flow.emit.steps import StepText, step_text
from flow.ir.dataflow import Dense
from flow.ir.types import Bipolar, Ints, IntType
from flow.plan.design import Design, Gearbox, LayerProcess, Port, Process, container_bits
from flow.plan.estimate import FIFO_DEPTH

Dialect: TypeAlias = Literal["vitis", "vivado"]

_MEMORY = {
    "vitis": {"lut": "lutram", "bram": "bram"},
    "vivado": {"lut": "ROM_1P_LUTRAM", "bram": "ROM_1P_BRAM"},
}
_MULTIPLIER = {
    "vitis": {"lut": "fabric", "dsp": "dsp"},
    "vivado": {"lut": "Mul_LUT", "dsp": "DSP48"},
}


@dataclass(frozen=True, slots=True)
class Names:
    """How the processes of a design are called.

    Attributes:
        identifiers: A C++ function for each process.
        files: ``NN_identifier`` for each.
    """

    identifiers: tuple[str, ...]
    files: tuple[str, ...]


def names_of(design: Design, labels: Mapping[str, str]) -> Names:
    """Names from the labels of layers (a module path, or the tensor's name)."""
    wanted = []
    for process in design.processes:
        match process:
            case LayerProcess(layer=layer):
                wanted.append(labels.get(layer.name, layer.name))
            case Gearbox(role="input"):
                wanted.append("read_input")
            case Gearbox(role="output"):
                wanted.append("write_output")
            case Gearbox(after=after):
                wanted.append(f"widths_after_{labels.get(str(after), str(after))}")
    found = identifiers(wanted)
    return Names(tuple(found), tuple(f"{number:02d}_{name}" for number, name in enumerate(found)))


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
    """

    title: str
    top: str
    dialect: Dialect
    labels: Mapping[str, str]
    origins: Mapping[str, str]
    notes: Mapping[str, Sequence[str]]
    frames: int


def emit_hls(design: Design, options: HlsOptions) -> FileSet:
    """The C++ of a design: layers, weights, types, top, test bench, and what C-simulation adds."""
    names = names_of(design, options.labels)
    ports = {"input": _port(design.source), "output": _port(design.sink)}
    processes = [_process(number, process, design, names, options) for number, process in enumerate(design.processes)]
    streams = _streams(design, names)
    shared: dict[str, Any] = {
        "design": SimpleNamespace(
            title=options.title, top=options.top, frames=options.frames, summary=_summary(design)
        ),
        "dialect": options.dialect,
        "processes": processes,
        "any_xnor": any(process.layer.xnor for process in design.layers),
        "streams": streams,
        **ports,
    }
    files = {
        "hls/types.hpp": render("hls/types.hpp.j2", **shared),
        "hls/top.hpp": render("hls/top.hpp.j2", **shared),
        "hls/top.cpp": render("hls/top.cpp.j2", **shared),
        "tb/testbench.cpp": render("tb/testbench.cpp.j2", **shared),
        "csim/include/hls_stream.h": static("csim/hls_stream.h"),
        "csim/include/ap_axi_sdata.h": static("csim/ap_axi_sdata.h"),
        "csim/units/top.cpp": render("csim/top_unit.cpp.j2", **shared),
    }
    for process in processes:
        template = {
            "dense": "hls/dense.hpp.j2",
            "step": "hls/step_layer.hpp.j2",
            "gearbox": "hls/gearbox.hpp.j2",
        }
        key = "box" if process.kind == "gearbox" else "layer"
        files[f"hls/layers/{process.file}.hpp"] = render(
            template[process.kind], dialect=options.dialect, **{key: process}
        )
        if process.kind != "gearbox":
            files[f"hls/weights/{process.file}.hpp"] = render("hls/weights.hpp.j2", layer=process)
        template_name = "csim/process_unit.cpp.j2" if process.kind == "gearbox" else "csim/unit.cpp.j2"
        files[f"csim/units/{process.file}.cpp"] = render(template_name, process=process)
    return FileSet.of(files)


def _summary(design: Design) -> list[str]:
    plan = design.plan
    return [
        f"board {plan.board}, {plan.clock_mhz:g} MHz; {len(design.layers)} layers, "
        f"a frame every {design.interval} cycles",
        f"in: {design.source.values} values of {design.source.element}, {design.source.per_word} a word; "
        f"out: {design.sink.values} values of {design.sink.element}, {design.sink.per_word} a word",
    ]


def _port(port: Port) -> SimpleNamespace:
    container: IntType = IntType(port.container, signed=not isinstance(port.element, Bipolar) and port.element.signed)
    per_chunk = min(port.per_word, 64 // port.container)
    return SimpleNamespace(
        values=port.values,
        words=port.words,
        container=port.container,
        per_word=port.per_word,
        axis_bits=port.axis_bits,
        axis_type=f"ap_axiu<{port.axis_bits}, 1, 1, 1>",
        container_type=type_name(container),
        chunks=-(-port.axis_bits // 64),
        per_chunk=per_chunk,
        mask=f"0x{(1 << port.container) - 1:x}ULL",
    )


def _stream_types(design: Design, names: Names) -> list[str]:
    """The type of the words in front of each process and behind the last."""
    middle = [f"{name}_out_t" for name in names.identifiers[:-1]]
    return ["axis_in_t", *middle, "axis_out_t"]


def _streams(design: Design, names: Names) -> list[SimpleNamespace]:
    types = _stream_types(design, names)
    streams = []
    for number, process in enumerate(design.processes[:-1]):
        element = process.layer.y.element if isinstance(process, LayerProcess) else process.element
        streams.append(
            SimpleNamespace(
                element=type_name(element),
                lanes=process.out_lanes,
                type=types[number + 1],
                name=f"from_{names.identifiers[number]}",
                depth=FIFO_DEPTH,
            )
        )
    return streams


def _process(number: int, process: Process, design: Design, names: Names, options: HlsOptions) -> SimpleNamespace:
    types = _stream_types(design, names)
    identifier, file = names.identifiers[number], names.files[number]
    last = len(design.processes) - 1
    text = SimpleNamespace(
        identifier=identifier,
        file=file,
        guard=f"FLOW_{file.upper()}",
        in_stream=types[number],
        out_stream=types[number + 1],
        source="in" if number == 0 else f"from_{names.identifiers[number - 1]}",
        sink="out" if number == last else f"from_{identifier}",
        in_lanes=process.in_lanes,
        out_lanes=process.out_lanes,
        in_words=process.in_words,
        out_words=process.out_words,
    )
    match process:
        case Gearbox():
            _add_gearbox(text, process)
        case LayerProcess():
            _add_layer(text, process, options)
    return text


def _add_gearbox(text: SimpleNamespace, box: Gearbox) -> None:
    element = type_name(box.element)
    container = container_bits(box.element)
    signed = isinstance(box.element, IntType) and box.element.signed
    stored = f"ap_{'' if signed else 'u'}int<{container}>"
    high = f"{container} * i + {container - 1}" if container > 1 else "i"
    low = f"{container} * i" if container > 1 else "i"
    reads_axis, writes_axis = box.role == "input", box.role == "output"
    vars(text).update(
        kind="gearbox",
        header=[
            {
                "input": f"Takes the input words of {box.in_lanes} values apart: {box.out_lanes} leave together.",
                "output": f"Makes output words of {box.out_lanes} values; {box.in_lanes} arrive together.",
                "between": f"Words of {box.in_lanes} values into words of {box.out_lanes}.",
            }[box.role],
            f"{box.values} values of {box.element} a frame, {box.cycles} cycles.",
        ],
        element=element,
        values=box.values,
        capacity=box.capacity,
        iterations=box.cycles,
        last_read=box.last_read,
        places=box.places,
        place_step=box.step,
        kept=max(box.capacity - box.out_lanes, 0),
        to_axis=writes_axis,
        take=f"{element}(taken.data >> ({low}))" if reads_axis else "taken[i]",
        give=(
            f"given.data.range({high}, {low}) = (i < left) ? {stored}(held[i]) : {stored}(0)"
            if writes_axis
            else "given[i] = held[i]"
        ),
    )


def _add_layer(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    layer, plan = process.layer, process.plan
    folds = layer.outputs // plan.pe
    tables: list[Table] = []
    step: StepText | None = None
    channel_folds = 1
    if layer.step is not None and process.form is not None:
        channel_folds = 1 if layer.step.channels == 1 else layer.step.channels // plan.pe
        step = step_text(
            layer.step,
            process.form,
            name=text.identifier,
            pe=plan.pe,
            x=layer.acc.element,
            y=layer.y.element,
            multiplier=_MULTIPLIER[options.dialect][plan.multiplier],
            certificate=str(process.certificate),
        )
    vars(text).update(
        kind=layer.kind,
        header=_header(process, options),
        x_type=type_name(layer.x.element),
        acc_type="ap_int<2>" if isinstance(layer.acc.element, Bipolar) else type_name(layer.acc.element),
        y_type=type_name(layer.y.element),
        pe=plan.pe,
        simd=plan.simd,
        step=step,
    )
    if layer.dense is None:
        assert step is not None
        argument = "x[p]"
        if isinstance(layer.x.element, Bipolar):  # one bit that stands for -1 or +1
            argument = f"{text.acc_type}(2 * x[p] - 1)"
        vars(text).update(
            words=process.in_words,
            channel_folds=channel_folds,
            finish=f"{text.identifier}_step({argument}, p, {'neuron' if channel_folds > 1 else '0'})",
        )
    else:
        tables.append(_weights(text, layer.dense, process))
        _add_product(text, process, options, folds)
    tables += step.tables if step is not None else []
    vars(text).update(tables=tables)


def _header(process: LayerProcess, options: HlsOptions) -> list[str]:
    layer, plan = process.layer, process.plan
    lines = [options.origins.get(layer.name, layer.name)]
    if layer.dense is not None:
        acc = layer.dense.acc
        lines.append(
            f"{layer.positions} x {layer.inputs} -> {layer.outputs}: inputs {layer.x.element} in "
            f"[{layer.x.lo.min()}, {layer.x.hi.max()}], weights {layer.dense.weight_type} in "
            f"[{layer.dense.weight.min()}, {layer.dense.weight.max()}], accumulator {acc} in "
            f"[{layer.acc.lo.min()}, {layer.acc.hi.max()}], outputs {layer.y.element}"
        )
        lines.append(
            f"PE {plan.pe} x SIMD {plan.simd}: {layer.outputs // plan.pe} neuron folds x "
            f"{layer.inputs // plan.simd} synapse folds = {process.cycles} cycles a frame"
        )
    else:
        lines.append(
            f"{layer.outputs} values {layer.x.element} -> {layer.y.element}, PE {plan.pe}: "
            f"{process.cycles} cycles a frame"
        )
    if process.certificate is not None:
        lines.append(f"step function: {process.certificate}")
    return [*lines, *options.notes.get(layer.name, ())]


def _weights(text: SimpleNamespace, dense: Dense, process: LayerProcess) -> Table:
    """The weights packed: chunks of at most 64 bits, in the order in which they are read."""
    pe, simd = process.plan.pe, process.plan.simd
    element = dense.weight_type
    bits = element.bits
    inputs, outputs = dense.weight.shape
    per_chunk = min(simd, 64 // bits)
    chunks = -(-simd // per_chunk)
    # (inputs, outputs) -> [pe][neuron fold * synapse fold][simd]
    folded = codes(dense.weight, element).T.reshape(outputs // pe, pe, inputs // simd, simd)
    ordered = folded.transpose(1, 0, 2, 3).reshape(pe, -1, simd)
    packed = np.zeros((*ordered.shape[:2], chunks), np.uint64)
    mask = np.int64((1 << bits) - 1)
    for lane in range(simd):
        word = (ordered[:, :, lane] & mask).astype(np.uint64) << np.uint64(bits * (lane % per_chunk))
        packed[:, :, lane // per_chunk] |= word
    vars(text).update(
        chunks=chunks,
        weight_bits=bits,
        chunk_list=[
            SimpleNamespace(
                number=c,
                lanes=min(per_chunk, simd - c * per_chunk),
                bits=bits * per_chunk,
                index=f"[{c}]" if chunks > 1 else "",
                offset=f" + {c * per_chunk}" if c else "",
            )
            for c in range(chunks)
        ],
    )
    comment = (
        f"Weights, {element}: [PE][neuron fold * {inputs // simd} + synapse fold]"
        + (f"[{chunks} chunks]" if chunks > 1 else "")
        + f", {per_chunk} to a word, the first input in the low bits"
    )
    values = packed if chunks > 1 else packed[:, :, 0]
    arrangement = (("partition", 1), *([("reshape", 3)] if chunks > 1 else []))
    packed_table = unsigned_table(f"{text.identifier}_weights", comment, values, bits * per_chunk)
    return replace(packed_table, arrangement=arrangement)


def _add_product(text: SimpleNamespace, process: LayerProcess, options: HlsOptions, folds: int) -> None:
    layer, plan = process.layer, process.plan
    assert layer.dense is not None
    x, w, acc = layer.x.element, layer.dense.weight_type, layer.dense.acc
    product: str | None = None
    total = "total"
    sum_type = type_name(acc)
    for chunk in text.chunk_list:
        chunk.x = f"x[i{chunk.offset}]"
        match x, w:
            case Bipolar(), Bipolar():
                chunk.bits = chunk.lanes
            case Bipolar(), IntType():
                chunk.term = f"({chunk.x} == 1) ? ap_int<{w.bits + 1}>(w) : ap_int<{w.bits + 1}>(-w)"
            case IntType(), Bipolar():
                wide = x.bits + (1 if x.signed else 2)
                chunk.term = f"(w == 1) ? ap_int<{wide}>({chunk.x}) : ap_int<{wide}>(-{chunk.x})"
            case _:
                lo, hi = _product_range(layer.dense.weight, layer.x.lo, layer.x.hi)
                product = type_name(IntType.holding(lo, hi))
    text.xnor = layer.xnor
    if layer.xnor:  # count the equal bits: the sum is twice the count, less the number of inputs
        sum_type = f"ap_uint<{layer.inputs.bit_length()}>"
        total = f"{type_name(acc)}(2 * total - {layer.inputs})"
    finish = f"{text.identifier}_step({total}, p, neuron)" if text.step is not None else total
    synapse_folds = layer.inputs // plan.simd
    vars(text).update(
        positions=layer.positions,
        neuron_folds=folds,
        synapse_folds=synapse_folds,
        row=f"neuron * {synapse_folds} + synapse"
        if folds > 1 and synapse_folds > 1
        else ("neuron" if folds > 1 else "synapse"),
        slices=process.in_lanes // plan.simd,
        parts=process.out_lanes // plan.pe,
        memory=_MEMORY[options.dialect][plan.weight_memory],
        multiplier=_MULTIPLIER[options.dialect][plan.multiplier],
        w_type=type_name(w),
        product_type=product,
        sum_type=sum_type,
        finish=finish,
    )


def _product_range(weight: Ints, lo: Ints, hi: Ints) -> tuple[int, int]:
    ends = [int(a) * int(b) for a in (weight.min(), weight.max()) for b in (lo.min(), hi.max())]
    return min(0, *ends), max(0, *ends)
