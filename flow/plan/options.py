# SPDX-License-Identifier: Apache-2.0
"""The legal choices for one layer, each with what it takes and how fast it is."""

from dataclasses import dataclass
from functools import cache
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

    @cache
    def depth(simd: int, multiplier: Multiplier, form: FormName) -> int:  # one output or several: the same pipeline
        return pipeline_depth(_core(layer, LayerPlan(layer.name, 1, simd, "lut", multiplier, form)))

    found: list[Option] = []
    for pe in layer.pe_options:
        steps = {
            (unit, form): _total(step_resources(layer, LayerPlan("", pe, 1, "lut", unit, form), board))
            for unit, form in product(units, forms)
        }
        multipliers = multiplier_options(layer, pe, board) if multiplies else units
        for simd in layer.simd_options:
            if max(pe, simd) > _LARGEST_LANES:
                continue
            alike = []
            iterations, window = _cycles(layer, LayerPlan(layer.name, pe, simd, "lut", "lut", forms[0]))
            for memory, multiplier in product(memories, multipliers):
                plan = LayerPlan(layer.name, pe, simd, memory, multiplier, forms[0])
                operation = _total(operation_resources(layer, plan, board))
                for form in forms:
                    plan = LayerPlan(layer.name, pe, simd, memory, multiplier, form)
                    behind = depth(simd, multiplier, form)
                    cycles = max(iterations + behind, window)
                    alike.append(Option(plan, cycles, behind, operation + steps[plan.unit, form]))
            found += _undominated(alike)
    return found


def _total(terms: dict[str, Resources]) -> Resources:
    return Resources.total(terms.values())


def _core(layer: Layer, plan: LayerPlan) -> LayerProcess:
    return LayerProcess(layer, plan, None, None, lanes_in(layer, plan), plan.pe)


def _cycles(layer: Layer, plan: LayerPlan) -> tuple[int, int]:
    """The iterations of a frame, and the pace of the window unit in front (0 without one): a matter of lanes alone."""
    unit = window_unit(layer, plan)
    return _core(layer, plan).cycles, pace(WindowProcess(layer, unit)) if unit is not None else 0


def _undominated(options: list[Option]) -> list[Option]:
    """Those for which no other is as shallow and as cheap in every resource; of equals the first."""
    rows = np.array([(option.depth, *option.resources.amounts) for option in options], np.int64)
    as_good = (rows[:, None] <= rows).all(2)  # the first as the second, in every respect
    earlier = np.tri(len(rows), k=-1, dtype=bool).T
    beaten = np.any(as_good & (~as_good.T | earlier), axis=0)
    return [option for option, out in zip(options, beaten, strict=True) if not out]
