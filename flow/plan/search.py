# SPDX-License-Identifier: Apache-2.0
"""The best design for goals: the solver proves a bound, the design that is laid out has the true figures.

The solver sees all of a design but the depths of its streams. With every stream at its least depth it finds a bound
that no design falls below; where the design that it proposes needs no deeper streams (in every chain of matrix
products), bound and design meet, and the design is optimal. Else it is asked again, with what waits in the streams
of its last proposal, until it repeats itself (and with so much less room, for resources and latency, as the
proposal was over them); the cheapest design that was laid out is taken, and how far it may be from the best is known.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flow.ir.types import Ints
from flow.plan.board import Board
from flow.plan.choices import Space, Waiting, space, waiting
from flow.plan.design import Design, build_design
from flow.plan.estimate import design_resources
from flow.plan.goals import cost, prices
from flow.plan.layers import Layer
from flow.plan.options import Option, layer_options
from flow.plan.plan import Plan
from flow.plan.program import Objective
from flow.plan.resources import Resources
from flow.plan.solver import Clock, Outcome, solve
from flow.plan.timing import frame_latency

_PROPOSALS = 6


@dataclass(frozen=True)
class Candidate:
    """A design that was laid out, with its true figures."""

    design: Design
    total: Resources
    cost: int

    @property
    def interval(self) -> int:
        """Cycles from frame to frame."""
        return self.design.interval

    @cached_property
    def latency(self) -> int:
        """Cycles from the first word in to the last word out."""
        return frame_latency(self.design)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the designs that meet some limits.

    Attributes:
        best: The cheapest that was found; None where none was.
        bound: What every such design costs at least; None where it is proved that there is none.
    """

    best: Candidate | None
    bound: int | None

    @property
    def optimal(self) -> bool:
        return self.best is not None and self.best.cost == self.bound


@dataclass(frozen=True, slots=True)
class Limits:
    """What a design must meet: cycles from frame to frame, cycles of latency (None for any), resources."""

    interval: int
    latency: int | None
    budget: Resources | None


class Search:
    """All designs of a network for a board, and the solver's time for them."""

    def __init__(
        self,
        layers: tuple[Layer, ...],
        board: Board,
        clock_mhz: float,
        seconds: float,
        options: Mapping[str, Sequence[Option]] | None = None,
    ) -> None:
        self.layers = layers
        self.board = board
        self.clock_mhz = clock_mhz
        self.clock = Clock(seconds)
        self.options = options if options is not None else {x.name: layer_options(x, board) for x in layers}

    @cached_property
    def relaxed(self) -> Space:
        """All designs with every stream at its least depth."""
        return self.space({})

    @cached_property
    def intervals(self) -> list[int]:
        """What can be the cycles from frame to frame."""
        return self.relaxed.intervals

    def space(self, held: Waiting) -> Space:
        """All designs, with what waits in their streams."""
        return space(self.layers, self.options, self.board, held)

    def solve(self, limits: Limits, objective: Objective, *, first: bool = False) -> Outcome:
        """The least of something that any design with these limits takes, but for the depth of its streams."""
        return self._solve(self.relaxed, limits, objective, first=first)

    def _solve(self, designs: Space, limits: Limits, objective: Objective, *, first: bool = False) -> Outcome:
        return solve(
            designs,
            self.clock,
            interval=limits.interval,
            latency=limits.latency,
            budget=limits.budget,
            objective=objective,
            first=first,
        )

    def candidate(self, chosen: Sequence[int]) -> Candidate:
        """The design with these choices, laid out."""
        plan = Plan(self.board.name, self.clock_mhz, self.relaxed.plans(chosen))
        design = build_design(self.layers, plan, self.board.axis_bits)
        total = design_resources(design, self.board).total
        return Candidate(design, total, cost(total, self.board))

    def cheapest(self, limits: Limits) -> Found:
        """The design that costs least."""
        price = prices(self.board)
        outcome = self.solve(limits, price)
        if outcome.infeasible:
            return Found(None, None)
        assert outcome.bound is not None
        bound = int(outcome.bound)
        best: Candidate | None = None
        seen: set[tuple[int, ...]] = set()
        tightened = limits
        while outcome.chosen is not None and outcome.chosen not in seen and len(seen) < _PROPOSALS:
            seen.add(outcome.chosen)
            found = self.candidate(outcome.chosen)
            if self.meets(found, limits) and (best is None or found.cost < best.cost):
                best = found
            if best is not None and best.cost <= bound:
                break
            if limits.latency is not None and tightened.latency is not None:
                late = max(found.latency - limits.latency, 0)
                tightened = replace(tightened, latency=max(tightened.latency - late, 1))
            held = waiting(found.design)
            designs = self.space(held) if held else self.relaxed
            over = missing(designs, outcome.chosen, found.total)
            if not held and not over.any() and tightened == limits:
                break  # it would be the same question
            designs = designs.with_fixed(designs.fixed + over)
            outcome = self._solve(designs, tightened, price)
        return Found(best, bound)

    def meets(self, candidate: Candidate, limits: Limits) -> bool:
        """Whether a design keeps the limits."""
        return (
            candidate.interval <= limits.interval
            and (limits.budget is None or candidate.total.fits(limits.budget))
            and (limits.latency is None or candidate.latency <= limits.latency)
        )

    def least_interval(self, latency: int | None, budget: Resources | None) -> tuple[int, int]:
        """The places of two of the intervals: of that which no design falls below, and the least for which there is
        one; both are behind the last where there is none. They differ only where the time was too short.
        """
        count = len(self.intervals)
        proved = low = self._hopeless(budget)
        high, step = count, 1
        while low < high:
            # the less time a frame has, the fewer the choices: look at short intervals first, then between two
            middle = min(low + step - 1, high - 1) if high == count else (low + high) // 2
            outcome = self.solve(Limits(self.intervals[middle], latency, budget), prices(self.board), first=True)
            if outcome.chosen is not None:
                high = middle
            else:
                low, step = middle + 1, 2 * step
                proved = low if outcome.infeasible else proved
        return proved, low

    def _hopeless(self, budget: Resources | None) -> int:
        """How many of the intervals are too short even if every layer takes the least of each resource."""
        if budget is None:
            return 0
        limit = np.array(budget.amounts, np.int64) - self.relaxed.fixed
        return bisect_left(self.intervals, True, key=lambda cycles: bool((self.relaxed.least(cycles) <= limit).all()))

    def fastest(self, latency: int | None, budget: Resources) -> tuple[Found, int | None]:
        """The cheapest of the fastest designs, and the interval that no design falls below (None: there is none)."""
        proved, place = self.least_interval(latency, budget)
        if proved == len(self.intervals):
            return Found(None, None), None
        least = self.intervals[proved]
        place = min(place, len(self.intervals) - 1)
        found = self.cheapest(Limits(self.intervals[place], latency, budget))
        if found.best is not None:
            return found, least
        # the streams are deeper than the solver takes them for: somewhat slower designs leave room for them
        slower = self.intervals[place + 1 :]
        low, high = 0, len(slower)
        while low < high:
            middle = (low + high) // 2
            there = self.cheapest(Limits(slower[middle], latency, budget))
            if there.best is None:
                low = middle + 1
            else:
                found, high = there, middle
        return found, least


def missing(designs: Space, chosen: Sequence[int], total: Resources) -> Ints:
    """(resources,): what a design takes beyond what the solver takes it for."""
    expected = designs.total(chosen)
    return np.array([max(a - b, 0) for (_, a), (_, b) in zip(total.items(), expected.items(), strict=True)], np.int64)
