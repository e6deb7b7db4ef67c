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
Multiplier = Literal["lut", "dsp"]
FormName = Literal["wire", "shift", "multiply_shift", "thresholds", "search", "table", "ranges", "none"]

__all__ = ["FormName", "LayerPlan", "Multiplier", "Plan", "WeightMemory", "divisors", "print_plan", "read_plan"]


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


@dataclass(frozen=True, slots=True)
class Plan:
    """All decisions for a design.

    Attributes:
        board: The name of the board.
        clock_mhz: The clock that the design shall reach.
        layers: In the order of the data.
    """

    board: str
    clock_mhz: float
    layers: tuple[LayerPlan, ...]


def print_plan(plan: Plan) -> str:
    """The plan as TOML."""
    lines = [
        "# What the hardware looks like. Edit it and pass it back: flow build MODEL --plan THIS_FILE",
        f"board = {json.dumps(plan.board)}",
        f"clock_mhz = {plan.clock_mhz:g}",
    ]
    for layer in plan.layers:
        lines += ["", "[[layer]]"]
        lines += [f"{f.name} = {json.dumps(getattr(layer, f.name))}" for f in fields(layer)]
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
    _keys(data, {"board", "clock_mhz", "layer"}, "the plan", problems)
    entries = data.get("layer", [])
    tables = isinstance(entries, list) and all(isinstance(e, dict) for e in entries)
    if not tables or [e.get("name") for e in entries] != [x.name for x in layers]:
        names = ", ".join(layer.name for layer in layers)
        problems.append(f"it must hold one [[layer]] for each layer, in this order: {names}")
        entries = []
    parsed = [_layer_plan(e, layer, problems) for e, layer in zip(entries, layers, strict=False)]
    clock = data.get("clock_mhz")
    if isinstance(clock, bool) or not isinstance(clock, int | float) or not 0 < clock < math.inf:
        problems.append(f"clock_mhz must be a positive number; found {clock!r}")
    if problems:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        raise PlanFileError(f"{path} cannot be used:\n{listing}", "start from the plan.toml of a build")
    return Plan(str(data["board"]), float(clock or 0), tuple(p for p in parsed if p is not None))


def _keys(data: dict[str, Any], expected: set[str], where: str, problems: list[str]) -> None:
    problems += [f"{where}: unknown key '{key}'" for key in sorted(data.keys() - expected)]
    problems += [f"{where}: missing key '{key}'" for key in sorted(expected - data.keys())]


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
