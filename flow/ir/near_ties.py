# SPDX-License-Identifier: Apache-2.0
"""Compares a float32 execution with the exact reference, segment by segment, and proves each difference.

Every quantiser is given the levels that the float execution itself had in front of it, so that one flipped
level is counted once and not again in everything behind it. A float32 level may differ from the exact one only
where the rounding boundary between them lies within the bound of float32's error; anything else is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flow.ir.model import BipolarQuant, Input, ModelGraph, Quant, Quantizer, constants
from flow.ir.reference import DOUBLE, SINGLE, Evaluation, boundary_distance, quantize_array
from flow.ir.types import Ints, Reals


@dataclass(frozen=True, slots=True)
class NearTie:
    """One level that float32 rounds the other way.

    Attributes:
        tensor: The quantiser.
        frame: The frame of the batch; None for a parameter, which float32 rounds the same way in every frame.
        element: The element of the frame (of the parameter), counted in row-major order.
        exact: The level that the model defines.
        float32: The level that the float32 execution gave.
        ulps: The distance from the boundary between them, in units in the last place of float32.
    """

    tensor: str
    frame: int | None
    element: int
    exact: int
    float32: int
    ulps: float


@dataclass(frozen=True, slots=True)
class FloatComparison:
    """What a float32 execution and the exact reference have in common.

    Attributes:
        compared: Levels and unquantised outputs that were compared.
        near_ties: Differences that are proved to be near-ties.
        errors: Differences that float32's error does not explain, in words.
    """

    compared: int
    near_ties: tuple[NearTie, ...]
    errors: tuple[str, ...]

    @property
    def parameter_ties(self) -> tuple[NearTie, ...]:
        """The near-ties of parameters: they change every frame."""
        return tuple(tie for tie in self.near_ties if tie.frame is None)


def activation_quantizers(graph: ModelGraph) -> tuple[str, ...]:
    """The quantisers of tensors that depend on the input, in order."""
    parameters = constants(graph)
    return tuple(n.name for n in graph.nodes if isinstance(n, Quant | BipolarQuant) and n.name not in parameters)


def parameter_quantizers(graph: ModelGraph) -> tuple[str, ...]:
    """The quantisers of weights and other parameters, in order."""
    parameters = constants(graph)
    return tuple(n.name for n in graph.nodes if isinstance(n, Quant | BipolarQuant) and n.name in parameters)


def compare_float32(
    graph: ModelGraph,
    frames: Reals,
    float32: Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"],
) -> FloatComparison:
    """Compares a float32 execution with the reference.

    Args:
        graph: The model as imported.
        frames: (frames, *shape), the input of both.
        float32: The values that the execution gave to the quantisers and to the output. A quantiser that it
            does not have, since it is a part of a node, decides exactly.
    """
    name = next(n.name for n in graph.nodes if isinstance(n, Input))
    parameters = parameter_quantizers(graph)
    quantizers = [graph[q] for q in (*parameters, *activation_quantizers(graph)) if q in float32]
    errors: list[str] = []
    forced = {q.name: _levels_of(q, float32[q.name], errors) for q in quantizers}  # type: ignore[arg-type]
    exact = Evaluation(graph, {name: frames}, precision=DOUBLE, forced=forced)
    single = Evaluation(graph, {name: frames}, precision=SINGLE, forced=forced)
    ties: list[NearTie] = []
    compared = 0
    for q in quantizers:
        assert isinstance(q, Quant | BipolarQuant)
        compared += forced[q.name].size
        _compare_levels(q, exact, single, forced[q.name], ties, errors, framed=q.name not in parameters)
    output = graph.outputs[0]
    if output not in forced:
        compared += float32[output].size
        _compare_values(output, single, float32[output].astype(np.float64), errors)
    return FloatComparison(compared, tuple(ties), tuple(errors))


def _levels_of(node: Quantizer, value: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", errors: list[str]) -> Ints:
    """The levels that quantised float values stand for; values that are none are errors."""
    position = value.astype(np.float64) / node.scale + node.zero_point
    levels = np.rint(position)
    # the product, the difference and a scale that the file computes are rounded to float32: some 2^-24 each
    between = np.abs(position - levels) > 2.0**-20 * (np.abs(levels) + np.abs(node.zero_point)) + 2.0**-149
    for index in np.argwhere(between)[:1]:
        at = tuple(int(i) for i in index)
        errors.append(f"'{node.name}' at {at}: float32 gave {value[at]:.9g}, which is none of its levels")
    return levels.astype(np.int64)


def _compare_levels(
    node: Quantizer,
    exact: Evaluation,
    single: Evaluation,
    found: Ints,
    ties: list[NearTie],
    errors: list[str],
    *,
    framed: bool,
) -> None:
    decision, bound = exact.decisions[node.name], single.decisions[node.name]
    differ = decision.levels != found
    if not bool(differ.any()):
        return
    error = np.broadcast_to(bound.error, found.shape) + np.broadcast_to(decision.error, found.shape)
    low = quantize_array(node, decision.position - error)
    high = quantize_array(node, decision.position + error)
    explained = (found >= low) & (found <= high)
    distance = boundary_distance(node, decision.position)
    ulp = np.spacing(np.maximum(np.abs(decision.position), 2.0**-126).astype(np.float32)).astype(np.float64)
    for index in np.argwhere(differ):
        at = tuple(int(i) for i in index)
        frame, inner, shape = (at[0], at[1:], found.shape[1:]) if framed else (None, at, found.shape)
        element = int(np.ravel_multi_index(inner, shape)) if shape else 0
        if explained[at]:
            ties.append(
                NearTie(
                    node.name,
                    frame,
                    element,
                    int(decision.levels[at]),
                    int(found[at]),
                    float(distance[at] / ulp[at]),
                )
            )
        else:
            errors.append(
                f"'{node.name}', frame {frame}, element {element}: the model defines level "
                f"{decision.levels[at]} (position {decision.position[at]:.9g}), float32 gave {found[at]}; its "
                f"error is at most {error[at]:.3g}"
            )


def _compare_values(name: str, single: Evaluation, found: Reals, errors: list[str]) -> None:
    approximation = single.tensors[name]
    error = np.broadcast_to(approximation.error, found.shape)
    for index in np.argwhere(~(np.abs(found - approximation.value) <= error)):
        at = tuple(int(i) for i in index)
        errors.append(
            f"'{name}' at {at}: the model defines {approximation.value[at]:.9g}, float32 gave {found[at]:.9g}; "
            f"its error is at most {error[at]:.3g}"
        )
