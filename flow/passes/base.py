# SPDX-License-Identifier: Apache-2.0
"""What a pass is, and the runner that holds it to its contract.

A pass may expect a valid graph and must return a valid one that computes the same; a pass that changes nothing
returns the same object. The runner checks this after every pass and names the one that broke it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.errors import PassError, VerifyError
from flow.ir.graph import Graph

G = TypeVar("G", bound=Graph[Any])
Outputs = Mapping[str, NDArray[Any]]


class Pass(Protocol[G]):
    """A function from graph to graph, known by its name."""

    __name__: str

    def __call__(self, graph: G, /) -> G: ...


def run_passes(
    graph: G,
    passes: Sequence[Pass[G]],
    *,
    verify: Callable[[G], None],
    probe: Callable[[G], Outputs],
    observe: Callable[[str, G], None] = lambda name, graph: None,
) -> G:
    """Applies the passes in order.

    Args:
        graph: A valid graph.
        passes: In the order in which they run.
        verify: Raises VerifyError where a graph is not valid.
        probe: Evaluates a graph on fixed inputs; its outputs must not change, nor anything else that it gives and
            that is still there.
        observe: Is shown the graph after every pass.

    Raises:
        PassError: A pass returned an invalid graph, or one that computes something else.
    """
    before, outputs = probe(graph), graph.outputs
    for each in passes:
        changed = each(graph)
        if changed is not graph:
            _check(each.__name__, changed, before, outputs, verify, probe)
        graph = changed
        observe(each.__name__, graph)
    return graph


def _check(
    name: str,
    graph: G,
    before: Outputs,
    outputs: tuple[str, ...],
    verify: Callable[[G], None],
    probe: Callable[[G], Outputs],
) -> None:
    try:
        verify(graph)
    except VerifyError as error:
        raise PassError(f"pass '{name}' returned an invalid graph: {error}", _REPORT) from error
    after = probe(graph)
    for output, expected in before.items():
        found = after.get(output)
        if found is None and output not in outputs:
            continue  # a quantiser that the pass took out; what stands behind it is compared
        if found is None or found.shape != expected.shape:
            raise PassError(f"pass '{name}' lost or reshaped the output '{output}'", _REPORT)
        if not np.array_equal(found, expected):
            place = tuple(int(i) for i in np.argwhere(found != expected)[0])
            raise PassError(
                f"pass '{name}' changed the output '{output}': at {place} it was {expected[place]} "
                f"and is {found[place]}",
                _REPORT,
            )


_REPORT = "this is a defect of flow; please report it with the model"
