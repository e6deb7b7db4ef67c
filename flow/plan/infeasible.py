# SPDX-License-Identifier: Apache-2.0
"""Why no design meets the goals: what is in the way, by how much, and what would fit. Every figure is proved."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from flow.errors import InfeasibleError
from flow.plan import board as boards
from flow.plan.choices import Space
from flow.plan.goals import Goals
from flow.plan.resources import Resources
from flow.plan.search import Limits, Search

_NAMED = 3  # layers that a message lists
_LONG = 10**9  # cycles of latency that no design of interest has


def infeasible(search: Search, goals: Goals) -> InfeasibleError:
    """The error for goals for which no design was found."""
    hints = []
    budget, latency = goals.budget(search.board), goals.latency(search.clock_mhz)
    if not goals.fastest:
        best = search.fastest(latency, goals.budget(search.board))[0].best
        if best is not None:
            fps = search.clock_mhz * 1e6 / best.interval
            within = f" within {goals.max_latency_us:g} us" if latency is not None else ""
            hints.append(f"on {search.board.name} {fps:,.0f} frames/s fit{within}: --target-fps {_floored(fps)}")
    larger = _smallest_board_for(search, goals)
    if larger is not None:
        hints.append(f"{larger} would meet it: --board {larger}")
    if search.clock.left <= 0:
        hints.append("give the solver more time with --solver-time")
    if not hints:
        hints.append("use a smaller network or fewer bits")
    return InfeasibleError(f"no design fits: {_reason(search, goals, budget)}", "; ".join(hints))


def _floored(fps: float) -> str:
    """A frame rate that can be typed and is not above the given one."""
    return str(int(fps)) if fps >= 1 else f"{fps * 0.999:.3g}"


def _wish(goals: Goals) -> str:
    wishes = []
    if goals.target_fps is not None:
        wishes.append(f"{goals.target_fps:g} frames/s")
    if goals.max_latency_us is not None:
        wishes.append(f"a latency of {goals.max_latency_us:g} us")
    return " with ".join(wishes) or "any frame rate"


def _reason(search: Search, goals: Goals, budget: Resources) -> str:
    wish, clock, board = _wish(goals), search.clock_mhz, search.board
    asked, latency = goals.interval(clock), goals.latency(clock)
    interval = asked if asked is not None else search.intervals[-1]
    if interval < search.intervals[0]:
        left = f"{interval} cycles" if interval else "less than one cycle"
        ports = max(search.space.source.words, search.space.sink.words)
        return (
            f"{wish} at {clock:g} MHz leaves {left} a frame; every design of this network takes at least "
            f"{search.intervals[0]} (its frames cross the AXI streams in {ports})"
        )
    anything = Limits(interval, latency, None)
    if latency is not None and search.solve(anything, (1.0,) * 5).infeasible:
        least = search.solve(replace(anything, latency=_LONG), "latency").bound
        if least is not None:
            cycles = max(ceil(least - 1e-6), latency + 1)
            return (
                f"{wish} at {clock:g} MHz leaves {latency:,} cycles from end to end; "
                f"every design takes at least {cycles:,}"
            )
        return f"{wish} at {clock:g} MHz: no design is so fast"
    over = {}
    for name, amount in budget.items():
        outcome = search.solve(anything, _only(name))
        if outcome.bound is not None and outcome.bound > amount and outcome.chosen is not None:
            over[name] = (int(outcome.bound), amount, outcome.chosen)
    if over:
        name = max(over, key=lambda n: over[n][0] / max(over[n][1], 1))
        least_of_it, amount, chosen = over[name]
        return (
            f"{wish} on {board.name} at {clock:g} MHz needs at least {least_of_it:,} {name.upper()}; "
            f"{amount:,} may be used ({least_of_it - amount:,} are missing). "
            f"Most of them go into {_dearest(search.space, chosen, name)}"
        )
    outcome = search.solve(replace(anything, budget=budget), "share")
    if outcome.bound is not None and outcome.bound > 1 and outcome.chosen is not None:
        total = search.space.total(outcome.chosen)
        pairs = zip(total.items(), budget.items(), strict=True)
        used = [f"{a:,} {n.upper()} of {b:,}" for (n, a), (_, b) in pairs if a > b]
        return (
            f"{wish} on {board.name} at {clock:g} MHz: there is enough of each resource, but not of all at once; "
            f"every design exceeds one of them, the most balanced takes {', '.join(used)}"
        )
    if search.clock.left <= 0:
        return f"{wish} on {board.name} at {clock:g} MHz: none was found in the {goals.seconds:g} s of the solver"
    return (
        f"{wish} on {board.name} at {clock:g} MHz: as far as latency can be bounded, a design would be fast enough, "
        "but none of those that were laid out is"
    )


def _only(name: str) -> tuple[float, ...]:
    return tuple(float(other == name) for other, _ in Resources.zero().items())


def _dearest(space: Space, chosen: Sequence[int], name: str) -> str:
    """The layers that take the most of a resource."""
    number = [other for other, _ in Resources.zero().items()].index(name)
    amounts = {
        node.layer.name: int(node.amounts[choice, number])
        for node, choice in zip(space.nodes, chosen, strict=True)
        if node.layer is not None
    }
    most = sorted(amounts, key=lambda layer: -amounts[layer])[:_NAMED]
    return ", ".join(f"'{layer}' ({amounts[layer]:,})" for layer in most if amounts[layer])


def _smallest_board_for(search: Search, goals: Goals) -> str | None:
    """The known board with the fewest LUTs, no fewer than this one, on which a design meets the goals."""
    others = sorted((boards.load(n) for n in boards.known() if n != search.board.name), key=lambda b: b.resources.lut)
    for board in others:
        if board.resources.lut < search.board.resources.lut:
            continue
        clock = board.clock.default_mhz
        other = Search(search.layers, board, clock, goals.seconds)
        interval, latency = goals.interval(clock), goals.latency(clock)
        limits = Limits(other.intervals[-1] if interval is None else interval, latency, goals.budget(board))
        if other.cheapest(limits).best is not None:
            return board.name
    return None
