# SPDX-License-Identifier: Apache-2.0
"""The C++ of the unrolled style: a function for each layer, its adders one by one, all constants in place."""

from types import SimpleNamespace

from flow.emit.cxx import type_name
from flow.emit.process_text import HlsOptions, Names, add_layer, common, layer_header, number
from flow.ir.types import ElementType, IntType
from flow.plan.adder_graph import AdderGraph, Term
from flow.plan.design import Design, container_bits
from flow.plan.processes import Gearbox, LayerProcess
from flow.plan.unrolled import input_range, layer_graph


def unrolled_process(place: int, design: Design, names: Names, options: HlsOptions) -> SimpleNamespace:
    """All that the template of a layer, or of a port, needs."""
    process = design.processes[place]
    text = common(place, design, names)
    text.role, text.template = "process", "unrolled_layer"
    taken, given = text.inputs[0], text.outputs[0]
    if isinstance(process, LayerProcess):
        text.parameters = f"{_read(taken, 'x')}, {_written(given, 'y')}"
        _add_layer(text, process, options)
        return text
    assert isinstance(process, Gearbox)
    text.template = "unrolled_port"
    text.parameters = (
        f"hls::stream<{taken.type}>& in, {_written(given, 'x')}"
        if process.role == "input"
        else f"{_read(taken, 'y')}, hls::stream<{given.type}>& out"
    )
    _add_port(text, process, design, options)
    return text


def _read(end: SimpleNamespace, name: str) -> str:
    return f"const {end.element} {name}[{end.lanes}]"


def _written(end: SimpleNamespace, name: str) -> str:
    return f"{end.element} {name}[{end.lanes}]"


def _add_port(text: SimpleNamespace, box: Gearbox, design: Design, options: HlsOptions) -> None:
    port = design.source if box.role == "input" else design.sink
    container = container_bits(box.element)
    signed = isinstance(box.element, IntType) and box.element.signed
    what = "input words into the values of a frame" if box.role == "input" else "values of a frame into output words"
    vars(text).update(
        header=[f"The {what}: {box.values} of {box.element}, {port.per_word} a word, {port.words} words."],
        reads=box.role == "input",
        values=box.values,
        words=port.words,
        per_word=port.per_word,
        element=type_name(box.element),
        container=container,
        stored=f"ap_{'' if signed else 'u'}int<{container}>",
        side=not options.kernel,
    )


def _add_layer(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    layer = process.layer
    add_layer(text, process)
    text.adders, text.results = [], []
    what = f"{layer.outputs} values {layer.x.element} -> {layer.y.element}"
    found = layer_graph(layer)
    proof = []
    if found is not None:
        product = layer.product
        assert product is not None
        lo, hi = input_range(layer)
        what = (
            f"{layer.inputs} -> {layer.outputs}: inputs {layer.x.element} in [{lo.min()}, {hi.max()}], weights "
            f"{product.weight_type} in [{product.weight.min()}, {product.weight.max()}], sums in "
            f"[{layer.acc.lo.min()}, {layer.acc.hi.max()}], outputs {layer.y.element}"
        )
        proof = [str(found)]
        types = found.graph.types(lo, hi)
        text.adders = _adders(found.graph, types, layer.x.element)
    text.header = layer_header(process, options, [what, *proof])
    for output in range(layer.outputs):
        value = number(f"x[{output}]", layer.x.element)
        if found is not None:
            value = _scaled(found.graph, found.graph.outputs[output], layer.acc.element, layer.x.element)
        result = f"{text.identifier}_step({value}, {output}, 0)" if text.step is not None else value
        text.results.append(f"y[{output}] = {result};")


def _adders(graph: AdderGraph, types: list[IntType], element: ElementType) -> list[str]:
    """A constant for each adder; a type as wide as the result, so that a shift loses nothing that is in it."""
    lines = []
    for place, (adder, result) in enumerate(zip(graph.adders, types, strict=True)):
        name = type_name(result)
        left = _shifted(graph, adder.left, adder.left_shift, name, element)
        right = _shifted(graph, adder.right, adder.right_shift, name, element)
        lines.append(f"const {name} n{place} = {left} {'-' if adder.subtract else '+'} {right};")
    return lines


def _scaled(graph: AdderGraph, term: Term | None, acc: ElementType, element: ElementType) -> str:
    """An output of a graph, in the type of the sums."""
    name = type_name(acc)
    if term is None:
        return f"{name}(0)"
    value = _shifted(graph, term.node, term.shift, name, element)
    return f"{name}(-{value})" if term.sign < 0 else value


def _shifted(graph: AdderGraph, node: int, shift: int, name: str, element: ElementType) -> str:
    value = number(f"x[{node}]", element) if node < graph.inputs else f"n{node - graph.inputs}"
    return f"({name}({value}) << {shift})" if shift else value
