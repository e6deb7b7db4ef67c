# SPDX-License-Identifier: Apache-2.0
"""The baseline of all searches: assignments at random, within the budget."""

import random

from flow.quant.methods.search import Problem, Search

_TRIES = 200  # for each evaluation: in a small or narrow problem most have been drawn before, or do not fit


class Random(Search):
    """Draws each layer's width by itself, all choices alike."""

    def search(self, problem: Problem) -> None:
        """Scores what fits."""
        drawn = random.Random(self.seed)
        for _ in range(_TRIES * problem.evaluations):
            widths = tuple(drawn.choice(problem.choices) for _ in problem.layers)
            if problem.fits(widths):
                problem.score(widths)
