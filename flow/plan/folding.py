# SPDX-License-Identifier: Apache-2.0
"""Chooses PE, SIMD, memory, multiplier and form of every layer: the best plan for what is asked."""

from dataclasses import dataclass
from math import ceil

from flow.plan.board import Board
from flow.plan.goals import Goals
from flow.plan.infeasible import infeasible
from flow.plan.layers import Layer
from flow.plan.plan import Plan
from flow.plan.resources import Resources
from flow.plan.search import Candidate, Found, Limits, Search


@dataclass(frozen=True, slots=True)
class Folding:
    """A plan with what is known of its quality.

    Attributes:
        plan: The decisions.
        resources: What the design takes.
        optimal: Whether it is proved that no other design serves the goals better.
        optimality: The same in words; how far it may be from the best where that is not proved.
    """

    plan: Plan
    resources: Resources
    optimal: bool
    optimality: str


def fold(layers: tuple[Layer, ...], board: Board, clock_mhz: float, goals: Goals | None = None) -> Folding:
    """The best plan for a board.

    Args:
        layers: The network.
        board: Where it shall run.
        clock_mhz: At which clock.
        goals: What is asked of the plan; None for the fastest that fits.

    Raises:
        InfeasibleError: No design meets the goals; the message names what is in the way and what would fit.
    """
    goals = goals if goals is not None else Goals()
    search = Search(layers, board, clock_mhz, goals.seconds)
    budget, latency = goals.budget(board), goals.latency(clock_mhz)
    if goals.fastest:
        found, least = search.fastest(latency, budget)
    else:
        asked = goals.interval(clock_mhz)
        limits = Limits(asked if asked is not None else search.intervals[-1], latency, budget)
        found, least = search.cheapest(limits), None
    if found.best is None:
        raise infeasible(search, goals)
    optimal = found.optimal and least in (None, found.best.interval)
    return Folding(
        found.best.design.plan, found.best.total, optimal, _optimality(found, found.best, least, search, goals)
    )


def _optimality(found: Found, best: Candidate, least: int | None, search: Search, goals: Goals) -> str:
    """What is proved of a design.

    Args:
        found: The design, and what those with its limits cost at least.
        best: The design.
        least: The interval that no design falls below; None where the frame rate was not to be the greatest.
        search: Where it was found.
        goals: What was asked.
    """
    budget = _budget(goals, search.board)
    gap = 1 - (found.bound or 0) / best.cost
    close = f"more than {ceil(1000 * gap) / 10:g} % less" if gap > 0 else "less"
    if least is None:
        said = f"no design that meets the goals within {budget} costs {close}"
    elif least == best.interval:
        said = f"no design within {budget} is faster, and none as fast costs {close}"
    else:
        said = (
            f"no design within {budget} takes fewer than {least:,} cycles a frame, "
            f"and none that takes {best.interval:,} or fewer costs {close}"
        )
    proved = "optimal" if found.optimal and least in (None, best.interval) else "proved"
    stopped = f"; the solver was stopped after {goals.seconds:g} s" if search.clock.left <= 0 else ""
    return f"{proved}: {said}{stopped}"


def _budget(goals: Goals, board: Board) -> str:
    """The budget in words."""
    shares = goals.shares
    used = {name: shares[name] for name, amount in board.resources.items() if amount}
    if len(set(used.values())) == 1:
        share = next(iter(used.values()))
        return f"{100 * share:g} % of the board" if share < 1 else "the board"
    return ", ".join(f"{100 * share:g} % of the {name.upper()}" for name, share in used.items())
