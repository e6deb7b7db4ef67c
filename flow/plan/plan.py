# SPDX-License-Identifier: Apache-2.0
"""The plan: what the hardware shall look like. A value, and a TOML file that a person may edit and feed back."""

import json
import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from flow.errors import PlanFileError
from flow.plan.layers import Layer, divisors

WeightMemory = Literal["lut", "bram"]  # UltraRAM cannot be initialised, so it holds no constants
Multiplier = Literal["lut", "dsp", "packed"]  # packed: several products in a DSP slice
Style = Literal["stream", "unrolled"]
FormName = Literal["wire", "shift", "multiply_shift", "thresholds", "search", "table", "ranges", "none"]

_DEEPEST = 1 << 20  # words of a stream; a frame of the largest networks has fewer

__all__ = [
    "FifoPlan",
    "FormName",
    "LayerPlan",
    "Multiplier",
    "Plan",
    "Style",
    "WeightMemory",
    "divisors",
    "print_plan",
    "read_plan",
]


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The decisions for one layer.

    Attributes:
        name: The layer.
        pe: Outputs computed at once; channels that travel together where nothing is computed.
        simd: Inputs read at once, by each of them; 1 where there is no matrix product.
        weight_memory: Where the weights lie.
        multiplier: What multiplies inputs and weights.
        form: How the step function is realised; ``none`` where there is none.
    """

    name: str
    pe: int
    simd: int
    weight_memory: WeightMemory
    multiplier: Multiplier
    form: FormName

    @property
    def unit(self) -> Literal["lut", "dsp"]:
        """What multiplies where products are not packed, as in a step function."""
        return "lut" if self.multiplier == "lut" else "dsp"


@dataclass(frozen=True, slots=True)
class FifoPlan:
    """The depth of a stream, where the user decides it.

    Attributes:
        name: Of the stream, in the report and in ``top.cpp``.
        depth: Words that it shall hold.
    """

    name: str
    depth: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All decisions for a design.

    Attributes:
        board: The name of the board.
        clock_mhz: The clock that the design shall reach.
        layers: In the order of the data.
        fifos: Streams whose depth is given; the others get the cheapest that keep the pace.
        style: Processes that streams join, or one function in which all products have hardware of their own.
    """

    board: str
    clock_mhz: float
    layers: tuple[LayerPlan, ...]
    fifos: tuple[FifoPlan, ...] = ()
    style: Style = "stream"


def print_plan(plan: Plan) -> str:
    """The plan as TOML."""
    lines = [
        "# What the hardware looks like. Edit it and pass it back: flow build MODEL --plan THIS_FILE",
        f"board = {json.dumps(plan.board)}",
        f"clock_mhz = {plan.clock_mhz:g}",
        f"style = {json.dumps(plan.style)}",
    ]
    for layer in plan.layers:
        lines += ["", "[[layer]]"]
        lines += [f"{f.name} = {json.dumps(getattr(layer, f.name))}" for f in fields(layer)]
    for fifo in plan.fifos:
        lines += ["", "[[fifo]]", f"name = {json.dumps(fifo.name)}", f"depth = {fifo.depth}"]
    return "\n".join(lines) + "\n"


def read_plan(path: Path, layers: tuple[Layer, ...]) -> Plan:
    """The plan in a file, checked against the network that it is for.

    Raises:
        PlanFileError: It cannot be read, does not fit the network, or asks for something illegal; all
            problems at once.
    """
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise PlanFileError(f"{path}: {error.strerror}", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanFileError(f"{path} is not TOML: {error}", "start from the plan.toml of a build") from error
    problems: list[str] = []
    fifos = _fifos(data.pop("fifo", []), problems)
    data.setdefault("style", "stream")  # plans of before there were styles
    _keys(data, {"board", "clock_mhz", "style", "layer"}, "the plan", problems)
    if data["style"] not in get_args(Style):
        problems.append(f"style = {data['style']!r}; possible: {', '.join(get_args(Style))}")
    entries = data.get("layer", [])
    tables = isinstance(entries, list) and all(isinstance(e, dict) for e in entries)
    if not tables or [e.get("name") for e in entries] != [x.name for x in layers]:
        names = ", ".join(layer.name for layer in layers)
        problems.append(f"it must hold one [[layer]] for each layer, in this order: {names}")
        entries = []
    parsed = [_layer_plan(e, layer, problems) for e, layer in zip(entries, layers, strict=False)]
    if data["style"] == "unrolled":
        problems += [
            f"layer '{x.name}': unrolled, pe and simd are {x.outputs} and {x.inputs}, memory and multiplier 'lut'"
            for x, p in zip(layers, parsed, strict=False)
            if p is not None and p != LayerPlan(x.name, x.outputs, x.inputs, "lut", "lut", p.form)
        ]
    clock = data.get("clock_mhz")
    if isinstance(clock, bool) or not isinstance(clock, int | float) or not 0 < clock < math.inf:
        problems.append(f"clock_mhz must be a positive number; found {clock!r}")
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        raise PlanFileError(f"{path} cannot be used:\n{listing}", "start from the plan.toml of a build")
    layered = tuple(p for p in parsed if p is not None)
    return Plan(str(data["board"]), float(clock or 0), layered, fifos, data["style"])


def _keys(data: dict[str, Any], expected: set[str], where: str, problems: list[str]) -> None:
    problems += [f"{where}: unknown key '{key}'" for key in sorted(data.keys() - expected)]
    problems += [f"{where}: missing key '{key}'" for key in sorted(expected - data.keys())]


def _fifos(entries: Any, problems: list[str]) -> tuple[FifoPlan, ...]:
    """The [[fifo]] tables; which streams there are is known once the design is."""
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        problems.append("fifo must be a list of tables: [[fifo]]")
        return ()
    found: dict[str, FifoPlan] = {}
    for entry in entries:
        name, depth = entry.get("name"), entry.get("depth")
        before = len(problems)
        _keys(entry, {"name", "depth"}, f"fifo {name!r}", problems)
        if len(problems) > before:
            continue
        if not isinstance(name, str) or name in found:
            problems.append(f"fifo {name!r}: each needs the name of a stream, and only one may have it")
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= _DEEPEST:
            problems.append(f"fifo {name!r}: depth = {depth!r}; possible: 1 to {_DEEPEST}")
        if len(problems) == before:
            found[str(name)] = FifoPlan(str(name), depth)
    return tuple(found.values())


def _layer_plan(entry: dict[str, Any], layer: Layer, problems: list[str]) -> LayerPlan | None:
    names = {f.name for f in fields(LayerPlan)}
    before = len(problems)
    _keys(entry, names, f"layer '{layer.name}'", problems)
    if len(problems) > before:
        return None
    for key, total, what, possible in (
        ("pe", layer.outputs, "outputs", layer.pe_options),
        ("simd", layer.inputs, "inputs", layer.simd_options),
    ):
        value = entry[key]
        if isinstance(value, bool) or not isinstance(value, int) or value not in possible:
            divides = isinstance(value, int) and value > 0 and total % value == 0
            why = f"cannot fold its {total} {what}" if divides else f"does not divide its {total} {what}"
            problems.append(f"layer '{layer.name}': {key} = {value!r} {why}; possible: {', '.join(map(str, possible))}")
    for key, options in (
        ("weight_memory", get_args(WeightMemory)),
        ("multiplier", get_args(Multiplier)),
        ("form", tuple(layer.forms) or ("none",)),
    ):
        if entry[key] not in options:
            problems.append(f"layer '{layer.name}': {key} = {entry[key]!r}; possible: {', '.join(options)}")
    return LayerPlan(**entry) if len(problems) == before else None
