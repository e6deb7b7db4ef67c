# SPDX-License-Identifier: Apache-2.0
"""Finds adder graphs: by da4ml where it is installed, else by canonical signed digits.

da4ml (Sun et al., TRETS 2025, https://doi.org/10.1145/3777387) decomposes the matrix and shares what its columns
have in common. Signed digits share nothing but equal sums. Either graph is proved before it is used.
"""

import importlib.util
from functools import cache
from importlib.metadata import version

import numpy as np

from flow.errors import ExactnessError
from flow.ir.types import Ints
from flow.plan.adder_graph import AdderGraph, GraphBuilder, Term

MOST_DIGITS = 20_000
"""Signed digits up to which da4ml is asked: its time grows faster than they do, to about a minute here."""
_EXACT_WEIGHT = 1 << 24  # da4ml holds weights in float32
_DEPTH_MARGIN = 2  # levels that da4ml may add to the least depth


def solve(matrix: Ints, lo: Ints, hi: Ints) -> AdderGraph:
    """An adder graph for ``x @ matrix``, proved.

    Args:
        matrix: (inputs, outputs).
        lo: The least value of each input; what is added first depends on it.
        hi: The greatest.
    """
    return _solved(
        matrix.shape, np.ascontiguousarray(matrix, np.int64).tobytes(), tuple(lo.tolist()), tuple(hi.tolist())
    )


@cache
def _solved(shape: tuple[int, int], matrix: bytes, lo: tuple[int, ...], hi: tuple[int, ...]) -> AdderGraph:
    weights = np.frombuffer(matrix, np.int64).reshape(shape)
    small = count_digits(weights) <= MOST_DIGITS and int(np.abs(weights).max(initial=0)) < _EXACT_WEIGHT
    found = by_da4ml(weights, lo, hi) if small and has_da4ml() else by_signed_digits(weights)
    found.prove(weights)
    return found


def has_da4ml() -> bool:
    """Whether da4ml is installed."""
    return importlib.util.find_spec("da4ml") is not None


def count_digits(matrix: Ints) -> int:
    """Nonzero canonical signed digits: one for each set bit of ``x ^ 3x`` (every other bit of which is a carry)."""
    magnitude = np.abs(matrix)
    return int(np.bitwise_count(magnitude ^ (3 * magnitude)).sum())


def signed_digits(value: int) -> list[tuple[int, int]]:
    """(place, sign) of the canonical signed digits, of which no two are neighbours, from the lowest."""
    digits = []
    place = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            digits.append((place, digit))
            value -= digit
        value >>= 1
        place += 1
    return digits


def by_signed_digits(matrix: Ints) -> AdderGraph:
    """Every output a balanced tree over the digits of its weights."""
    builder = GraphBuilder(matrix.shape[0])
    outputs: list[Term | None] = []
    for column in matrix.T.tolist():
        terms: list[Term | None] = [
            Term(i, *digit) for i, weight in enumerate(column) for digit in signed_digits(weight)
        ]
        while len(terms) > 1:
            odd = terms[len(terms) & ~1 :]
            terms = [builder.add(a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)] + odd
        outputs.append(terms[0] if terms else None)
    return builder.finish(outputs, "canonical signed digits")


def by_da4ml(matrix: Ints, lo: tuple[int, ...], hi: tuple[int, ...]) -> AdderGraph:
    """What ``da4ml.cmvm.solve`` finds: two stages of additions, the second on the outputs of the first."""
    from da4ml.cmvm import solve as solve_by_da4ml

    # it leaves out what is always zero, which the proof would find
    intervals = [(float(low), float(max(high, low + 1)), 1.0) for low, high in zip(lo, hi, strict=True)]
    # adders are counted by their bits
    found = solve_by_da4ml(
        matrix.astype(np.float32), qintervals=intervals, adder_size=1, carry_size=-1, hard_dc=_DEPTH_MARGIN
    )
    builder = GraphBuilder(matrix.shape[0])
    values: list[Term | None] = [Term(node, 0, 1) for node in range(matrix.shape[0])]
    for stage in found.solutions:
        nodes: list[Term | None] = []
        for op in stage.ops:
            match op.opcode:
                case -1:  # an input
                    nodes.append(_scaled(values[op.id0], int(stage.inp_shifts[op.id0]), 1))
                case 0 | 1:  # plus or minus
                    second = _scaled(nodes[op.id1], int(op.data), -1 if op.opcode else 1)
                    nodes.append(builder.add(nodes[op.id0], second))
                case _:
                    raise ExactnessError(
                        f"da4ml {version('da4ml')} gave an operation of kind {op.opcode} for a sum",
                        "install the version of da4ml that the project asks for, or none",
                    )
        ends = zip(stage.out_idxs, stage.out_shifts, stage.out_negs, strict=True)
        values = [_scaled(nodes[i], int(s), -1 if n else 1) if i >= 0 else None for i, s, n in ends]
    if any(term is not None and term.shift < 0 for term in values):
        raise ExactnessError("an adder graph of da4ml ends in a fraction", "this is a defect; please report it")
    return builder.finish(values, f"da4ml {version('da4ml')}")


def _scaled(term: Term | None, shift: int, sign: int) -> Term | None:
    return None if term is None else Term(term.node, term.shift + shift, term.sign * sign)
