# SPDX-License-Identifier: Apache-2.0
"""Integer programming: what each layer loses at each width, measured by itself, and the best sum of them."""

from collections.abc import Mapping

import numpy as np

from flow.errors import OptionError
from flow.quant.methods.search import Problem, Search, Widths

_RUNGS = 8

Losses = Mapping[tuple[int, int], float]
"""What a layer (by its place) loses at a width."""


class Ilp(Search):
    """Scores each layer at each width alone, the others at their highest, then solves for widths within a budget.

    The losses of layers are taken to add up. Without a budget it solves for a ladder of budgets. What it finds is
    scored, and the best by measurement wins.
    """

    def check(self, problem: Problem) -> None:
        """Counts the measurements.

        Raises:
            OptionError: They are more than may be scored.
        """
        needed = len(problem.layers) * (len(problem.choices) - 1) + 2
        if needed > problem.evaluations:
            raise OptionError(
                f"{len(problem.layers)} layers at {len(problem.choices)} widths take {needed} evaluations, and "
                f"evaluations = {problem.evaluations}",
                "allow more evaluations, or offer fewer choices",
            )

    def search(self, problem: Problem) -> None:
        """Measures, solves, and scores what was found."""
        losses = self.losses(problem)
        for budget in self.ladder(problem):
            problem.score(allocate(problem, losses, budget))

    def ladder(self, problem: Problem) -> list[float]:
        """The budgets that are solved for, in bits a weight."""
        if problem.budget is not None:
            return [problem.budget]
        rungs: list[float] = np.linspace(problem.choices[0], problem.choices[-1], _RUNGS + 1).tolist()
        return rungs[:-1]

    def losses(self, problem: Problem) -> Losses:
        """By how much the score falls."""
        at = problem.score(problem.highest)
        return {
            (place, bits): at - problem.score((*problem.highest[:place], bits, *problem.highest[place + 1 :]))
            for place in range(len(problem.layers))
            for bits in problem.choices
        }


def allocate(problem: Problem, losses: Losses, budget: float) -> Widths:
    """The widths with the least sum of losses within a budget in bits a weight: an integer program, solved exactly."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    pairs = [(place, bits) for place in range(len(problem.layers)) for bits in problem.choices]
    total = sum(layer.weights for layer in problem.layers)
    bits_of = np.array([problem.layers[place].weights * bits / total for place, bits in pairs])
    one_each = np.array([[place == p for p, _ in pairs] for place in range(len(problem.layers))], dtype=float)
    # of equal losses the fewer bits, by less than any loss that a score can tell
    cost = np.array([losses[pair] for pair in pairs]) + 1e-7 * bits_of
    constraints = [LinearConstraint(one_each, 1, 1), LinearConstraint(bits_of[None], -np.inf, budget + 1e-9)]
    solved = milp(cost, constraints=constraints, integrality=np.ones(len(pairs)), bounds=Bounds(0, 1))
    assert solved.x is not None, solved.message
    chosen = [pair for pair, taken in zip(pairs, solved.x, strict=True) if taken > 0.5]
    return tuple(bits for _, bits in sorted(chosen))
