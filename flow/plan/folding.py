# SPDX-License-Identifier: Apache-2.0
"""Chooses PE, SIMD, memory, multiplier and form of every layer: for a frame rate, or the fastest that fits.

Every layer must finish a frame in the cycles that the frame rate leaves; within that bound the layers are
independent, so each takes its cheapest option. What "cheap" means is a price for each resource: at first its
share of the board; where a resource then does not suffice, its price rises and the layers choose again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np

from flow.errors import InfeasibleError
from flow.ir.types import Bipolar
from flow.plan import board as boards
from flow.plan.board import Board
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_resources
from flow.plan.layers import Layer
from flow.plan.packing import multiplier_options
from flow.plan.plan import LayerPlan, Plan, WeightMemory
from flow.plan.processes import gearbox, lanes_in, layer_cycles
from flow.plan.resources import Resources

UTILIZATION = 0.7
"""The share of a board that is used when no frame rate is asked for: beyond it, routing gets slow or fails."""
_ROUNDS = 12
_LARGEST_LANES = 1024  # lanes of one product: wider words than this no tool synthesises in reasonable time


@dataclass(frozen=True, slots=True)
class Option:
    """One way to build a layer."""

    plan: LayerPlan
    cycles: int
    resources: Resources


@dataclass(frozen=True, slots=True)
class Folding:
    """A plan with what is known of its quality."""

    plan: Plan
    resources: Resources
    optimality: str


def fold(
    layers: tuple[Layer, ...],
    board: Board,
    clock_mhz: float,
    *,
    target_fps: float | None = None,
    utilization: float = UTILIZATION,
) -> Folding:
    """The plan for a board.

    Args:
        layers: The network.
        board: Where it shall run.
        clock_mhz: At which clock.
        target_fps: Frames a second; None for the fastest that fits in ``utilization`` of the board.
        utilization: The share of each resource that may be used when no frame rate is asked for.

    Raises:
        InfeasibleError: It does not fit; the message names the binding resource and what would fit.
    """
    options = {layer.name: layer_options(layer, board) for layer in layers}
    planner = _Planner(layers, board, clock_mhz, options)
    if target_fps is not None:
        interval = _interval(clock_mhz, target_fps)
        budget = board.resources
        found = planner.cheapest(interval, budget) if interval >= planner.least_interval else None
        if found is None:
            raise _infeasible(planner, interval, target_fps, budget)
        how = "each layer takes its cheapest option at this frame rate, under prices that keep the sum in budget"
        return replace(found, optimality=how)
    budget = _share(board.resources, utilization)
    fastest = planner.fastest(budget)
    if fastest is None:
        raise _infeasible(planner, planner.intervals[-1], None, budget)
    how = f"the least interval found at which every resource stays within {utilization:.0%} of the board"
    return replace(fastest, optimality=how)


def layer_options(layer: Layer, board: Board) -> list[Option]:
    """Every legal choice for a layer that no other choice beats in every respect."""
    forms = list(layer.forms) or ["none"]
    memories: list[WeightMemory] = ["lut", "bram"] if layer.product is not None else ["lut"]
    found: list[Option] = []
    for pe, simd in product(layer.pe_options, layer.simd_options):
        if simd > _LARGEST_LANES or pe > _LARGEST_LANES:
            continue
        cycles = layer_cycles(layer, LayerPlan(layer.name, pe, simd, "lut", "lut", "none"))
        multipliers = multiplier_options(layer, pe, simd, board)
        for memory, multiplier, form in product(memories, multipliers, forms):
            plan = LayerPlan(layer.name, pe, simd, memory, multiplier, form)  # type: ignore[arg-type]
            total = sum(layer_resources(layer, plan, board).values(), Resources.zero())
            found.append(Option(plan, cycles, total))
    return _undominated(found)


def _undominated(options: list[Option]) -> list[Option]:
    """The options for which no other is as fast and as cheap in every resource."""
    amounts = np.array([[amount for _, amount in o.resources.items()] for o in options], np.int64)
    cycles = np.array([o.cycles for o in options], np.int64)
    order = np.lexsort((amounts.sum(1), cycles))  # what is faster, then what is cheaper, comes first
    kept = np.empty_like(amounts)
    found: list[Option] = []
    for place in order:
        if not bool((kept[: len(found)] <= amounts[place]).all(1).any()):
            kept[len(found)] = amounts[place]
            found.append(options[place])
    return found


def _share(resources: Resources, share: float) -> Resources:
    return Resources(**{name: int(amount * share) for name, amount in resources.items()})


def _interval(clock_mhz: float, fps: float) -> int:
    """The cycles that a frame rate leaves for a frame; bounded, since no design is that slow."""
    return int(min(clock_mhz * 1e6 / fps, 1e15))


@cache
def _port_cycles(values: int, in_lanes: int, out_lanes: int) -> int:
    return gearbox("between", None, Bipolar(), values, in_lanes, out_lanes).cycles


class _Planner:
    def __init__(
        self, layers: tuple[Layer, ...], board: Board, clock_mhz: float, options: Mapping[str, list[Option]]
    ) -> None:
        self.layers = layers
        self.board = board
        self.clock_mhz = clock_mhz
        self.options = options
        ports = build_design(layers, self._plan([options[x.name][0] for x in layers]), board.axis_bits)
        self.source, self.sink = ports.source, ports.sink
        self.port_cycles = max(self.source.words, self.sink.words)
        (self.source_name,) = {n for x in layers for n in x.reads} - {x.name for x in layers}
        paces = [[self._pace(place, o) for o in options[x.name]] for place, x in enumerate(layers)]
        self.least_interval = max(self.port_cycles, *(min(pace) for pace in paces))
        self.intervals = sorted(
            {pace for layer in paces for pace in layer if pace >= self.least_interval} | {self.least_interval}
        )

    def _pace(self, place: int, option: Option) -> int:
        """The cycles of a layer, and of the gearbox at a port that it stands next to."""
        cycles, layer = option.cycles, self.layers[place]
        if self.source_name in layer.reads:
            taken = lanes_in(layer, option.plan)
            cycles = max(cycles, _port_cycles(self.source.values, self.source.lanes, taken))
        if place == len(self.layers) - 1:
            cycles = max(cycles, _port_cycles(self.sink.values, option.plan.pe, self.sink.lanes))
        return cycles

    def _plan(self, chosen: list[Option]) -> Plan:
        return Plan(self.board.name, self.clock_mhz, tuple(option.plan for option in chosen))

    def _choose(self, interval: int, prices: Mapping[str, float]) -> list[Option] | None:
        """The cheapest option of each layer that is fast enough; None where a layer has none."""

        def price(option: Option) -> float:
            return sum(prices[name] * amount for name, amount in option.resources.items())

        chosen = []
        for place, layer in enumerate(self.layers):
            fast = [o for o in self.options[layer.name] if self._pace(place, o) <= interval]
            if not fast:
                return None
            chosen.append(min(fast, key=price))
        return chosen

    def cheapest(self, interval: int, budget: Resources) -> Folding | None:
        """The cheapest plan found that takes no more cycles; None where none was found in budget."""
        available = dict(budget.items())
        prices = {name: 1 / amount if amount else 1e6 for name, amount in available.items()}
        for _ in range(_ROUNDS):
            chosen = self._choose(interval, prices)
            if chosen is None:
                return None
            plan = self._plan(chosen)
            design = build_design(self.layers, plan, self.board.axis_bits)
            total = design_resources(design, self.board).total
            if total.fits(budget):  # a gearbox between two layers may still be too slow
                return Folding(plan, total, "") if design.interval <= interval else None
            for name, amount in total.items():
                if amount > available[name]:
                    prices[name] *= 2.5
        return None

    def fastest(self, budget: Resources) -> Folding | None:
        """The plan of the least interval that is in budget."""
        low, high, best = 0, len(self.intervals) - 1, None
        while low <= high:
            middle = (low + high) // 2
            found = self.cheapest(self.intervals[middle], budget)
            if found is not None:
                best, high = found, middle - 1
            else:
                low = middle + 1
        return best

    def least_of(self, name: str, interval: int) -> int:
        """About the least of one resource with which the interval can be met, whatever the others cost."""
        prices = {other: (1.0 if other == name else 1e-9) for other, _ in self.board.resources.items()}
        chosen = self._choose(interval, prices)
        assert chosen is not None
        design = build_design(self.layers, self._plan(chosen), self.board.axis_bits)
        return dict(design_resources(design, self.board).total.items())[name]


def _infeasible(planner: _Planner, interval: int, target_fps: float | None, budget: Resources) -> InfeasibleError:
    """The binding resource, the demand, the budget, and what would fit."""
    board, clock = planner.board, planner.clock_mhz
    wish = f"{target_fps:g} frames/s" if target_fps is not None else "any frame rate"
    hint: list[str] = []
    if interval < planner.least_interval:
        left = f"{interval} cycles" if interval else "less than one cycle"
        reason = (
            f"{wish} at {clock:g} MHz leaves {left} a frame; the fastest design for this network "
            f"takes {planner.least_interval} (its input alone crosses the AXI stream in {planner.port_cycles})"
        )
    else:
        least = {name: planner.least_of(name, interval) for name, _ in budget.items()}
        over = {n: least[n] / max(a, 1) for n, a in budget.items() if least[n] > a}
        if over:
            binding = max(over, key=lambda n: over[n])
            amount = dict(budget.items())[binding]
            reason = (
                f"{wish} on {board.name} at {clock:g} MHz needs about {least[binding]:,} {binding.upper()}; "
                f"{amount:,} may be used ({least[binding] - amount:,} are missing)"
            )
        else:
            reason = f"{wish} on {board.name} at {clock:g} MHz: no mix of LUT, BRAM and DSP options was found in budget"
    fastest = planner.fastest(budget)
    if fastest is not None:
        cycles = build_design(planner.layers, fastest.plan, board.axis_bits).interval
        hint.append(
            f"on {board.name} {clock * 1e6 / cycles:,.0f} frames/s fit: --target-fps {clock * 1e6 / cycles:.0f}"
        )
    larger = _smallest_board_for(planner, target_fps)
    if larger is not None:
        hint.append(f"{larger} would meet it: --board {larger}")
    if not hint:
        hint.append("use a smaller network or fewer bits")
    return InfeasibleError(f"no design fits: {reason}", "; ".join(hint))


def _smallest_board_for(planner: _Planner, target_fps: float | None) -> str | None:
    others = sorted(
        (boards.load(name) for name in boards.known() if name != planner.board.name),
        key=lambda b: b.resources.lut,
    )
    for board in others:
        if board.resources.lut < planner.board.resources.lut:
            continue
        other = _Planner(planner.layers, board, board.clock.default_mhz, planner.options)
        if target_fps is None:
            if other.fastest(_share(board.resources, UTILIZATION)) is not None:
                return board.name
            continue
        interval = _interval(board.clock.default_mhz, target_fps)
        if interval >= other.least_interval and other.cheapest(interval, board.resources) is not None:
            return board.name
    return None
