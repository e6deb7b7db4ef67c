# SPDX-License-Identifier: Apache-2.0
"""Puts a report together from a design, its estimates and the checks."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from flow.emit.hls import Names
from flow.ir.types import Bipolar
from flow.passes.integerize import IntegerModel
from flow.passes.integers.encoding import Encoding
from flow.plan import power
from flow.plan.board import Board
from flow.plan.cost import fifo
from flow.plan.cost_coefficients import cost_file
from flow.plan.cost_interval import bounds
from flow.plan.cost_unrolled import error_of_unrolled
from flow.plan.design import Design, Port, Stream
from flow.plan.layers import Layer
from flow.plan.packing import packing_of
from flow.plan.processes import LayerProcess, layer_cycles
from flow.plan.resources import Resources
from flow.plan.style import adders_of, layer_bounds, layer_terms, resources_of, timing_model
from flow.plan.timing import ASSUMPTION, MODEL, Timing
from flow.report.schema import BuildReport, Check, Estimated, Figure, LayerReport, StreamReport

COST_MODEL = "flow analytic cost model"
CYCLE_MODEL = "flow cycle model"
POWER_MODEL = "flow board power"
FITTED = ("lut", "ff")
"""What the cost model fits; the other resources it counts."""


def assemble(
    *,
    model: dict[str, str],
    board: Board,
    design: Design,
    names: Names,
    optimality: str,
    timing: Timing,
    integers: IntegerModel,
    origins: Mapping[str, str],
    checks: Sequence[Check],
    accuracy: float | None,
) -> BuildReport:
    """The report of a build; the arguments are what its steps gave."""
    resources = resources_of(design, board)
    budget = dict(board.resources.items())
    shares = {n: a / budget[n] for n, a in resources.total.items() if budget[n]}
    interval = timing.interval
    cycle_model, assumption = timing_model(design)
    streams = design.streams if timing.occupancy else ()  # the unrolled style has none
    layers = tuple(
        _layer(process, identifier, design, board, integers, origins)
        for identifier, process in zip(names.identifiers, design.processes, strict=True)
        if isinstance(process, LayerProcess)
    )
    return BuildReport(
        model=model,
        board={"name": board.name, "title": board.title, "part": board.part},
        clock_mhz=design.plan.clock_mhz,
        style=design.plan.style,
        input=_port(design.source),
        output=_port(design.sink),
        layers=layers,
        converters=tuple(
            {
                "name": identifier,
                "cycles": process.cycles,
                "in_lanes": process.in_lanes,
                "out_lanes": process.out_lanes,
            }
            for identifier, process in zip(names.identifiers, design.processes, strict=True)
            if not isinstance(process, LayerProcess)
        ),
        streams=tuple(
            _stream(stream, names, held, minimal, design)
            for stream, held, minimal in zip(streams, timing.occupancy, timing.minimal, strict=True)
        ),
        interval=Estimated(interval, cycle_model, assumption),
        latency=Estimated(timing.latency, cycle_model, assumption),
        fps=Estimated(design.plan.clock_mhz * 1e6 / interval, cycle_model, "as the interval"),
        total=_figures(resources.total, resources.low, resources.high, design),
        parts={name: dict(part.items()) for name, part in resources.parts.items()},
        budget=budget,
        binding=max(shares, key=lambda n: shares[n]),
        optimality=optimality,
        checks=tuple(checks),
        accuracy=accuracy,
        host_input=_host_input(integers),
        host_output=_host_output(integers),
        energy=_energy(design, timing, board),
    )


def _layer(
    process: LayerProcess,
    identifier: str,
    design: Design,
    board: Board,
    integers: IntegerModel,
    origins: Mapping[str, str],
) -> LayerReport:
    layer, plan = process.layer, process.plan
    terms = layer_terms(process, design, board)
    total = Resources.total(terms.values())
    bits = {"input": str(layer.x.element), "output": str(layer.y.element)}
    product = layer.product
    if product is not None:
        bits = {
            "weight": str(product.weight_type),
            "input": str(layer.core_x.element),
            "accumulator": str(product.acc),
            "output": str(layer.y.element),
        }
    elif layer.op is not None and layer.step is not None:
        bits["accumulator"] = str(layer.acc.element)
    packing = packing_of(layer, plan, board.dsp)
    weights = product.weight.size if product is not None else 0
    return LayerReport(
        name=layer.name,
        identifier=identifier,
        origin=origins.get(layer.name, layer.name),
        kind=layer.kind,
        shape=_shape(layer),
        bits=bits,
        weights=weights,
        weight_bits=weights * product.weight_type.bits if product is not None else 0,
        macs=layer.macs,
        pe=plan.pe,
        simd=plan.simd,
        weight_memory=plan.weight_memory,
        multiplier=plan.multiplier,
        packing=str(packing) if packing is not None else None,
        adders=adders_of(process, design),
        form=process.certificate.form if process.certificate is not None else None,
        certificate=str(process.certificate) if process.certificate is not None else None,
        scale=describe(integers.encodings.get(layer.name)),
        cycles=Estimated(layer_cycles(layer, plan), CYCLE_MODEL, None),
        resources=_figures(total, *layer_bounds(process, design, terms), design),
        terms={name: dict(part.items()) for name, part in terms.items()},
    )


def _stream(stream: Stream, names: Names, held: int, minimal: bool | None, design: Design) -> StreamReport:
    taken = fifo(stream.depth, stream.bits)
    chosen = "given" if minimal is None else "least price" if minimal else "sufficient"
    return StreamReport(
        name=names.stream(stream),
        reader=names.identifiers[stream.consumer],
        words=stream.words,
        bits=stream.bits,
        depth=stream.depth,
        occupancy=Estimated(held, MODEL, ASSUMPTION),
        chosen=chosen,
        resources=_figures(taken, *bounds([("fifo", taken)]), design),
    )


def _shape(layer: Layer) -> str:
    """Inputs x outputs of a product, with the positions in front; else what comes out."""
    if layer.op is None:
        return str(layer.outputs)
    if layer.product is None:
        return " x ".join(map(str, layer.acc.shape))
    positions = f"{layer.positions} x " if layer.positions > 1 else ""
    return f"{positions}{layer.inputs} x {layer.outputs}"


def _figures(estimate: Resources, low: Resources, high: Resources, design: Design) -> dict[str, Figure]:
    """Each resource; those that are counted, not fitted, have no interval."""
    sentence = error_of_unrolled if design.plan.style == "unrolled" else cost_file().sentence
    least, most = dict(low.items()), dict(high.items())
    return {
        name: Estimated(amount, COST_MODEL, sentence(name), *((least[name], most[name]) if name in FITTED else ()))
        for name, amount in estimate.items()
    }


def _energy(design: Design, timing: Timing, board: Board) -> Figure:
    found = power.energy_per_frame(board, timing.interval, design.plan.clock_mhz)
    if found is None:
        return None
    low, high = found
    return Estimated((low + high) / 2, POWER_MODEL, power.ASSUMPTION, low, high)


def describe(encoding: Encoding | None) -> str:
    """What an integer is worth, in words."""
    if encoding is None:
        return ""
    scale = _one_or_range(encoding.scale)
    if not any(encoding.offset):
        return scale
    return f"{scale} (offset {_one_or_range(encoding.offset)})"


def _one_or_range(values: tuple[Fraction, ...]) -> str:
    if len(set(values)) == 1:
        return _number(values[0])
    return f"{float(min(values)):.4g} to {float(max(values)):.4g} by channel"


def _number(value: Fraction) -> str:
    if value and value.numerator == 1 and value.denominator & (value.denominator - 1) == 0:
        return f"2^-{value.denominator.bit_length() - 1}" if value.denominator > 1 else "1"
    return f"{float(value):.6g}"


def _port(port: Port) -> dict[str, object]:
    return {
        "element": str(port.element),
        "values": port.values,
        "axis_bits": port.axis_bits,
        "container_bits": port.container,
        "per_word": port.per_word,
        "words": port.words,
        "coding": "1 for +1, 0 for -1" if isinstance(port.element, Bipolar) else "two's complement",
    }


def _host_input(integers: IntegerModel) -> str:
    if integers.input_type is not None:
        return f"the input arrives as {integers.input_type}"
    return f"the host quantises the float input (up to '{integers.source.name}')"


def _host_output(integers: IntegerModel) -> str:
    nodes = [type(node).__name__.lower() for node in integers.tail.nodes[1:]]
    steps = " and ".join(dict.fromkeys(n for n in nodes if n not in ("constant", "quantizedconstant")))
    worth = f"an output integer is worth {describe(integers.encodings[integers.output])}"
    return f"{worth}; behind it the host computes {steps}" if steps else worth
