# SPDX-License-Identifier: Apache-2.0
"""A design as HLS C++: this module decides every value, the templates only the layout."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from flow.emit.check import check_emission
from flow.emit.cxx import identifiers, type_name
from flow.emit.fileset import FileSet
from flow.emit.joins import add_concatenate, add_gate, add_join
from flow.emit.moves import add_channel_shuffle, add_fork, add_gearbox, add_pixel_shuffle, add_repeat, add_select
from flow.emit.process_text import Dialect, HlsOptions, Names, add_layer, common, finish, layer_header
from flow.emit.products import add_dense, add_lanewise
from flow.emit.render import render, static
from flow.emit.unrolled import unrolled_process
from flow.emit.windows import add_pool, add_window, add_window_layer
from flow.ir.types import Bipolar, IntType
from flow.plan.design import Design, Port
from flow.plan.processes import Block, Fork, Gearbox, LayerProcess, WindowProcess

__all__ = ["Dialect", "HlsOptions", "Names", "emit_hls", "names_of"]


def names_of(design: Design, labels: Mapping[str, str]) -> Names:
    """Names from the labels of layers (a module path, or the tensor's name)."""
    wanted = []
    for process in design.processes:
        match process:
            case LayerProcess(layer=layer):
                wanted.append(labels.get(layer.name, layer.name))
            case WindowProcess(layer=layer):
                wanted.append(f"windows_of_{labels.get(layer.name, layer.name)}")
            case Fork(after=after):
                wanted.append(f"copies_of_{labels.get(after, after) if after is not None else 'input'}")
            case Gearbox(role="input"):
                wanted.append("read_input")
            case Gearbox(role="output"):
                wanted.append("write_output")
            case Gearbox(after=after):
                wanted.append(f"widths_after_{labels.get(after, after) if after is not None else 'input'}")
    found = identifiers(wanted)
    return Names(tuple(found), tuple(f"{number:02d}_{name}" for number, name in enumerate(found)))


def emit_hls(design: Design, options: HlsOptions) -> FileSet:
    """The C++ of a design: layers, weights, types, top, test bench, and what C-simulation adds."""
    names = names_of(design, options.labels)
    ports = {name: _port(port, options) for name, port in (("input", design.source), ("output", design.sink))}
    unrolled = design.plan.style == "unrolled"
    processes = [
        (unrolled_process if unrolled else _process)(place, design, names, options)
        for place in range(len(design.processes))
    ]
    shared: dict[str, Any] = {
        "design": SimpleNamespace(
            title=options.title,
            top=options.top,
            frames=options.frames,
            summary=_summary(design),
            interval=design.interval,
        ),
        "dialect": options.dialect,
        "processes": processes,
        "any_xnor": any(process.layer.xnor for process in design.layers),
        "any_packed": any(process.plan.multiplier == "packed" for process in design.layers),
        "words": [] if unrolled else _words(design, names),
        "streams": _streams(design, names),
        **ports,
    }
    files = {
        "hls/types.hpp": render("hls/types.hpp.j2", **shared),
        "hls/top.hpp": render("hls/top.hpp.j2", **shared),
        "hls/top.cpp": render(f"hls/{'unrolled_top' if unrolled else 'top'}.cpp.j2", **shared),
        "tb/testbench.cpp": render("tb/testbench.cpp.j2", **shared),
        "csim/include/hls_stream.h": static("csim/hls_stream.h"),
        "csim/include/ap_axi_sdata.h": static("csim/ap_axi_sdata.h"),
        "csim/units/top.cpp": render("csim/top_unit.cpp.j2", **shared),
    }
    for place, text in enumerate(processes):
        shown = render(f"hls/{text.template}.hpp.j2", dialect=options.dialect, **{text.role: text})
        files[f"hls/layers/{text.file}.hpp"] = shown
        if text.tables:
            files[f"hls/weights/{text.file}.hpp"] = render("hls/weights.hpp.j2", layer=text)
        files[f"csim/units/{text.file}.cpp"] = _unit(place, design, processes)
    if design.forked:
        files["csim/include/coroutines.h"] = static("csim/coroutines.h")
        files["csim/units/bounded.cpp"] = render("csim/bounded.cpp.j2", **shared)
    emitted = FileSet.of(files)
    check_emission(emitted, options.top, options.dialect)
    return emitted


def _unit(place: int, design: Design, processes: list[SimpleNamespace]) -> str:
    """C-simulation of a layer by itself; behind a window unit also of its core, on the words of windows."""
    process, text = design.processes[place], processes[place]
    if isinstance(process, LayerProcess) and design.plan.style == "unrolled":
        return render("csim/unrolled_unit.cpp.j2", process=text)
    if not isinstance(process, LayerProcess):
        return render("csim/process_unit.cpp.j2", process=text)
    entries = [SimpleNamespace(name=f"flow_csim_{text.identifier}", inputs=text.inputs, window=None, process=text)]
    first = design.inputs[place][0].producer
    if isinstance(design.processes[first], WindowProcess):
        window = processes[first]
        entries[0].inputs, entries[0].window = window.inputs, window
        name = f"flow_csimcore_{text.identifier}"
        entries.append(SimpleNamespace(name=name, inputs=text.inputs, window=None, process=text))
    return render("csim/unit.cpp.j2", process=text, entries=entries)


def _summary(design: Design) -> list[str]:
    plan = design.plan
    return [
        f"board {plan.board}, {plan.clock_mhz:g} MHz; {len(design.layers)} layers, "
        f"a frame every {design.interval} cycles, as planned",
        f"in: {design.source.values} values of {design.source.element}, {design.source.per_word} a word; "
        f"out: {design.sink.values} values of {design.sink.element}, {design.sink.per_word} a word",
    ]


def _port(port: Port, options: HlsOptions) -> SimpleNamespace:
    sides = "0, 0, 0" if options.kernel else "1, 1, 1"
    container: IntType = IntType(port.container, signed=not isinstance(port.element, Bipolar) and port.element.signed)
    per_chunk = min(port.per_word, 64 // port.container)
    return SimpleNamespace(
        values=port.values,
        words=port.words,
        container=port.container,
        per_word=port.per_word,
        axis_bits=port.axis_bits,
        side=not options.kernel,
        axis_type=f"ap_axiu<{port.axis_bits}, {sides}>",
        container_type=type_name(container),
        chunks=-(-port.axis_bits // 64),
        per_chunk=per_chunk,
        mask=f"0x{(1 << port.container) - 1:x}ULL",
    )


def _words(design: Design, names: Names) -> list[SimpleNamespace]:
    """The type of the words that each process writes, the last apart."""
    first = [design.outputs[place][0] for place in range(len(design.processes) - 1)]
    return [SimpleNamespace(element=type_name(s.element), lanes=s.lanes, type=names.word(s.producer)) for s in first]


def _streams(design: Design, names: Names) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            type=names.word(s.producer),
            element=type_name(s.element),
            lanes=s.lanes,
            name=names.stream(s),
            depth=s.depth,
        )
        for s in design.streams
    ]


_LAYERS: Mapping[Block, Callable[[SimpleNamespace, LayerProcess, HlsOptions], None]] = {
    "step": lambda text, process, options: _add_step(text, process, options),
    "dense": add_dense,
    "lanewise": add_lanewise,
    "window": add_window_layer,
    "pool": add_pool,
    "join": add_join,
    "gate": add_gate,
    "concatenate": add_concatenate,
    "select": add_select,
    "repeat": add_repeat,
    "pixel_shuffle": add_pixel_shuffle,
    "channel_shuffle": add_channel_shuffle,
}


def _process(place: int, design: Design, names: Names, options: HlsOptions) -> SimpleNamespace:
    """All that the template of a process needs; ``role`` is what it is called there."""
    text = common(place, design, names)
    match design.processes[place]:
        case Gearbox() as process:
            text.template, text.role = "gearbox", "box"
            add_gearbox(text, process, kernel=options.kernel)
        case Fork() as process:
            text.template, text.role = "fork", "fork"
            add_fork(text, process)
        case WindowProcess() as process:
            text.template, text.role = "window", "unit"
            add_window(text, process, options)
        case LayerProcess() as process:
            text.template = "step_layer" if process.block == "step" else process.block
            text.role = "unit" if process.block == "window" else "layer"
            _LAYERS[process.block](text, process, options)
    return text


def _add_step(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A bare step function."""
    layer, plan = process.layer, process.plan
    add_layer(text, process)
    assert layer.step is not None
    folds = 1 if layer.step.channels == 1 else layer.step.channels // plan.pe
    argument = "x[p]"
    if isinstance(layer.x.element, Bipolar):  # one bit that stands for -1 or +1
        argument = f"{text.acc_type}(2 * x[p] - 1)"
    what = (
        f"{layer.outputs} values {layer.x.element} -> {layer.y.element}, PE {plan.pe}: {process.cycles} cycles a frame"
    )
    vars(text).update(
        header=layer_header(process, options, [what]),
        words=process.in_words,
        channel_folds=folds,
        finish=finish(text, argument, "neuron" if folds > 1 else "0"),
    )
