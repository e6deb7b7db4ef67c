# SPDX-License-Identifier: Apache-2.0
"""All assignments: what every other search is measured against on small networks."""

import itertools

from flow.errors import OptionError
from flow.quant.methods.search import Problem, Search


class Exhaustive(Search):
    """Scores every assignment within the budget."""

    def check(self, problem: Problem) -> None:
        """Counts them.

        Raises:
            OptionError: There are more than may be scored.
        """
        if problem.size > problem.evaluations:
            raise OptionError(
                f"there are {problem.size} assignments of {len(problem.choices)} widths to {len(problem.layers)} "
                f"layers, and evaluations = {problem.evaluations}",
                "allow more evaluations, offer fewer choices, or take greedy",
            )

    def search(self, problem: Problem) -> None:
        """In order."""
        for widths in itertools.product(problem.choices, repeat=len(problem.layers)):
            if problem.fits(widths):
                problem.score(widths)
