# SPDX-License-Identifier: Apache-2.0
"""The legal choices for one layer, each with what it takes and how fast it is."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from flow.ir.dataflow import Gate
from flow.plan.board import Board
from flow.plan.estimate import operation_resources, step_resources
from flow.plan.layers import Layer
from flow.plan.packing import multiplier_options
from flow.plan.pipeline import pace, pipeline_depth
from flow.plan.plan import FormName, LayerPlan, Multiplier, WeightMemory
from flow.plan.processes import LayerProcess, WindowProcess, lanes_in, window_unit
from flow.plan.resources import Resources

_LARGEST_LANES = 1024  # lanes of one product: wider words than this no tool synthesises in reasonable time


@dataclass(frozen=True, slots=True)
class Option:
    """One way to build a layer.

    Attributes:
        plan: The decisions.
        cycles: From frame to frame, of the slower of its processes.
        depth: Of its pipeline, in cycles.
        resources: What it takes, its window unit included.
    """

    plan: LayerPlan
    cycles: int
    depth: int
    resources: Resources


def layer_options(layer: Layer, board: Board) -> list[Option]:
    """Every legal choice for a layer that no other choice with the same lanes beats in every respect."""
    forms: list[FormName] = list(layer.forms) or ["none"]  # type: ignore[arg-type]
    memories: list[WeightMemory] = ["lut", "bram"] if layer.product is not None else ["lut"]
    multiplies = layer.product is not None or isinstance(layer.op, Gate) or "multiply_shift" in forms
    units: list[Multiplier] = ["lut", "dsp"] if multiplies and board.resources.dsp else ["lut"]
    found: list[Option] = []
    for pe in layer.pe_options:
        steps = {
            (unit, form): _total(step_resources(layer, LayerPlan("", pe, 1, "lut", unit, form), board))
            for unit, form in product(units, forms)
        }
        for simd in layer.simd_options:
            if max(pe, simd) > _LARGEST_LANES:
                continue
            alike = []
            multipliers = multiplier_options(layer, pe, simd, board) if multiplies else units
            for memory, multiplier in product(memories, multipliers):
                plan = LayerPlan(layer.name, pe, simd, memory, multiplier, forms[0])
                operation = _total(operation_resources(layer, plan, board))
                for form in forms:
                    plan = LayerPlan(layer.name, pe, simd, memory, multiplier, form)
                    core, unit = _processes(layer, plan)
                    cycles = max(pace(core), pace(unit) if unit is not None else 0)
                    alike.append(Option(plan, cycles, pipeline_depth(core), operation + steps[plan.unit, form]))
            found += _undominated(alike)
    return found


def _total(terms: dict[str, Resources]) -> Resources:
    return sum(terms.values(), Resources.zero())


def _processes(layer: Layer, plan: LayerPlan) -> tuple[LayerProcess, WindowProcess | None]:
    unit = window_unit(layer, plan)
    core = LayerProcess(layer, plan, None, None, lanes_in(layer, plan), plan.pe)
    return core, WindowProcess(layer, unit) if unit is not None else None


def _undominated(options: list[Option]) -> list[Option]:
    """Those for which no other is as shallow and as cheap in every resource; of equals the first."""
    rows = np.array([[o.depth, *(amount for _, amount in o.resources.items())] for o in options], np.int64)
    order = np.argsort(rows.sum(1), kind="stable")  # what beats another has the lesser sum
    kept: list[int] = []
    for place in order:
        if not bool((rows[kept] <= rows[place]).all(1).any()):
            kept.append(int(place))
    return [options[place] for place in sorted(kept)]
