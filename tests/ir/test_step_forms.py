# SPDX-License-Identifier: Apache-2.0
"""Every form against the function at every input of the interval, and ``prove`` against forms with a fault."""

import itertools
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest

from flow.errors import ExactnessError
from flow.ir.dataflow import NEVER, Step
from flow.ir.rounding import Rounding, round_exact
from flow.ir.step_forms import (
    MAX_SHIFT,
    MultiplyShift,
    Search,
    Shift,
    Table,
    Thresholds,
    Wire,
    candidates,
    prove,
    solve_multiply_shift,
    solve_shift,
    solve_table,
    solve_wire,
)
from flow.ir.types import parse_type


def step(rows, start, stride, lo, hi, element="i16"):
    thresholds = np.full((len(rows), max(len(row) for row in rows)), NEVER, np.int64)
    for channel, row in enumerate(rows):
        thresholds[channel, : len(row)] = row
    arrays = [np.atleast_1d(np.array(a, np.int64)) for a in (start, stride, lo, hi)]
    return Step("s", "x", thresholds, *arrays, parse_type(element))


def step_of(functions, lo, hi, unit=1):
    """The step function of monotone functions on [lo, hi], one for each channel."""
    rows, starts, strides = [], [], []
    for function in functions:
        values = [function(x) for x in range(lo, hi + 1)]
        row = []
        for place, (a, b) in enumerate(itertools.pairwise(values)):
            row += [lo + place + 1] * (abs(b - a) // unit)
        rows.append(row)
        starts.append(values[0])
        strides.append(unit if values[-1] >= values[0] else -unit)
    return step(rows, starts, strides, [lo] * len(rows), [hi] * len(rows))


def rounded(slope, offset, mode, least, greatest):
    return lambda x: min(max(round_exact(slope * x + offset, mode), least), greatest)


def equal_everywhere(s, form):
    """By trying every input of every channel."""
    for c in range(s.channels):
        x = np.arange(s.lo[c], s.hi[c] + 1)
        rows = np.repeat(x[:, None], s.channels, axis=1)
        if form.evaluate(rows)[:, c].tolist() != s.evaluate(rows)[:, c].tolist():
            return False
    return True


def random_steps(count=120):
    rng = np.random.default_rng(7)
    for number in range(count):
        channels = int(rng.integers(1, 4))
        lo, hi = int(rng.integers(-60, 1)), int(rng.integers(1, 60))
        kind = number % 6
        mode = list(Rounding)[int(rng.integers(0, 7))]
        if kind == 0:  # powers of two: shifts
            slope = Fraction(1, 2 ** int(rng.integers(0, 4)))
            functions = [rounded(slope, Fraction(int(rng.integers(-20, 20)), 4), mode, -8, 7) for _ in range(channels)]
        elif kind in (1, 2):  # uniform slopes of both directions
            functions = [
                rounded(Fraction(int(rng.integers(-30, 31)), 37), Fraction(int(rng.integers(-99, 99)), 13), mode, -8, 7)
                for _ in range(channels)
            ]
        elif kind == 3:  # bipolar
            cuts = rng.integers(lo - 1, hi + 2, channels)
            signs = rng.choice([-1, 1], channels)
            functions = [lambda x, c=c, s=s: int(s if x >= c else -s) for c, s in zip(cuts, signs, strict=True)]
            yield step_of(functions, lo, hi, unit=2)
            continue
        elif kind == 4:  # constants among others
            functions = [rounded(Fraction(1, 4), Fraction(0), mode, -3, 3)] * (channels - 1)
            constant = int(rng.integers(-3, 4))
            functions.append(lambda x, v=constant: v)
        else:  # no pattern
            rows = [sorted(rng.integers(lo - 3, hi + 4, int(rng.integers(0, 7))).tolist()) for _ in range(channels)]
            yield step(
                rows, rng.integers(-4, 4, channels), rng.choice([-1, 1], channels), [lo] * channels, [hi] * channels
            )
            continue
        yield step_of(functions, lo, hi)


STEPS = list(random_steps())


def test_every_candidate_equals_its_function_everywhere_and_is_certified():
    found = dict.fromkeys(("wire", "shift", "multiply_shift", "thresholds", "search", "table"), 0)
    for s in STEPS:
        for form in candidates(s):
            assert equal_everywhere(s, form), (form.name, s)
            certificate = prove(s, form)
            inside = int(((s.thresholds > s.lo[:, None]) & (s.thresholds <= s.hi[:, None])).sum())
            assert (certificate.form, certificate.channels) == (form.name, s.channels)
            assert certificate.boundaries == inside
            everywhere = s.channels * (int((s.hi - s.lo).max()) + 1)
            assert certificate.points == (everywhere if form.name == "table" else 2 * s.channels + 2 * inside)
            found[form.name] += 1
    assert found["thresholds"] == found["table"] == len(STEPS)
    assert found["shift"] >= 15
    assert found["multiply_shift"] >= 50
    assert found["search"] >= 60


def test_a_certificate_in_words():
    s = step([[0, 4], [1]], [0, 0], [1, 1], [-8, -8], [7, 7])
    assert (
        str(prove(s, Thresholds(s.thresholds, s.start, s.stride)))
        == "thresholds: proved on 3 boundaries over 2 channels"
    )


def test_search_where_there_are_more_than_three_thresholds():
    for count in range(1, 7):
        names = [form.name for form in candidates(step([list(range(count))], 0, 1, -8, 8))]
        assert ("search" in names) == (count > 3)


# ------------------------------------------------------------------------------------------------- the forms


def test_wires():
    assert solve_wire(step([[-1, 0, 1]], -2, 1, -2, 1)) == Wire()
    assert solve_wire(step([[-1, 0, 1]], -1, 1, -2, 1)) is None
    assert solve_wire(step([[-1, 0, 1]], 1, -1, -2, 1)) is None
    assert solve_wire(step([[-1, 0]], -2, 1, -2, 1)) is None  # saturates
    assert solve_wire(step([[0, 1]], -1, 1, -2, 1)) is None
    assert solve_wire(step([[-1, 0, 1], [-1, 0, 1]], [-2, -1], [1, 1], [-2, -2], [1, 1])) is None


@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("mode", list(Rounding))
@pytest.mark.parametrize("offset", [0, 1, -5])
def test_a_shift_of_every_rounding_on_one_side(shift, mode, offset):
    # AWAY and TO_ZERO, and the two halves, are floors on either side of zero
    lo, hi = (0, 63) if mode is not Rounding.FLOOR else (-64, 63)
    lo = -64 if mode in (Rounding.CEIL, Rounding.HALF_EVEN) else lo
    s = step_of([rounded(Fraction(1, 2**shift), Fraction(abs(offset), 2**shift), mode, -16, 40)], lo, hi)
    form = solve_shift(s)
    assert form is not None
    assert form.shift == shift
    assert form.rounding is (Rounding.HALF_EVEN if mode is Rounding.HALF_EVEN else Rounding.FLOOR)
    assert equal_everywhere(s, form)


def test_half_even_shifts_with_odd_and_even_first_values_in_channels():
    s = step_of([rounded(Fraction(1, 4), Fraction(k), Rounding.HALF_EVEN, -9, 9) for k in range(-3, 4)], -30, 30)
    form = solve_shift(s)
    assert form.rounding is Rounding.HALF_EVEN
    assert (form.shift, form.bias.tolist()) == (2, [-12, -8, -4, 0, 4, 8, 12])
    assert equal_everywhere(s, form)


def test_no_shift_for_falling_bipolar_or_other_slopes():
    assert solve_shift(step_of([rounded(Fraction(-1, 4), Fraction(0), Rounding.FLOOR, -8, 7)], -20, 20)) is None
    assert solve_shift(step([[0]], -1, 2, -5, 5, "b1")) is None
    assert solve_shift(step_of([rounded(Fraction(1, 3), Fraction(0), Rounding.FLOOR, -8, 7)], -20, 20)) is None


def test_constant_channels_beside_a_shift():
    for mode in (Rounding.FLOOR, Rounding.HALF_EVEN):
        ramp = rounded(Fraction(1, 8), Fraction(0), mode, -2, 3)
        s = step_of([ramp, lambda x: 3], -40, 40)
        form = solve_shift(s)
        assert form is not None
        assert equal_everywhere(s, form)


def test_tables_reach_to_their_limit():
    s = step([[0]], 0, 1, -5, 4)
    assert solve_table(s, largest=10).entries.shape == (1, 10)
    assert solve_table(s, largest=9) is None
    s = step([[0], [3]], [0, 5], [1, -1], [-2, 1], [1, 4])
    table = solve_table(s)
    assert (table.lo, table.entries.shape) == (-2, (2, 7))
    assert equal_everywhere(s, table)
    big = step([[0]], 0, 1, 0, 4095)
    assert solve_table(big) is not None
    assert solve_table(step([[0]], 0, 1, 0, 4096)) is None


# --------------------------------------------------------------------------------------------- least shift


def feasible(s, shift, reach):
    """By trying every factor: whether each channel has a multiply-shift of this shift."""
    ends = np.concatenate(s.ends())
    lo, hi = int(ends.min()), int(ends.max())
    for c in range(s.channels):
        x = np.arange(s.lo[c], s.hi[c] + 1)
        y = s.evaluate(np.repeat(x[:, None], s.channels, axis=1))[:, c]
        for factor in range(-reach, reach + 1):
            # y <= (x f + b) >> S < y + 1, open at a clipped end
            least = [(v << shift) - int(a) * factor for a, v in zip(x, y.tolist(), strict=True) if v > lo]
            most = [((v + 1) << shift) - 1 - int(a) * factor for a, v in zip(x, y.tolist(), strict=True) if v < hi]
            if not least or not most or max(least) <= min(most):
                break
        else:
            return False
    return True


def test_no_smaller_shift_would_do():
    shifts = []
    rng = np.random.default_rng(1)
    for _ in range(60):
        channels = int(rng.integers(1, 3))
        functions = [
            rounded(
                Fraction(int(rng.integers(-12, 13)), 13),
                Fraction(int(rng.integers(-30, 30)), 7),
                Rounding.HALF_EVEN,
                -4,
                3,
            )
            for _ in range(channels)
        ]
        s = step_of(functions, int(rng.integers(-12, 0)), int(rng.integers(1, 12)))
        form = solve_multiply_shift(s)
        assert form is not None
        assert equal_everywhere(s, form)
        shifts.append(form.shift)
        if form.shift:
            assert not feasible(s, form.shift - 1, 12 << form.shift)
    assert len(set(shifts)) >= 4


def test_without_a_multiply_shift():
    assert solve_multiply_shift(step([[0, 1, 9, 10]], 0, 1, -20, 20)) is None  # not uniform
    assert solve_multiply_shift(step([[0]], -1, 2, -5, 5, "b1")) is None
    assert not feasible(step([[0, 1, 9, 10]], 0, 1, -20, 20), 8, 1 << 9)


def test_a_jump_of_several_levels_and_thresholds_outside():
    s = step([[-30, 2, 2, 2, 30]], 0, 1, -20, 20)
    form = solve_multiply_shift(s)
    assert equal_everywhere(s, form)
    assert (form.lo, form.hi) == (1, 4)


def test_wide_accumulators_stay_in_int64():
    unit = 2**33 + 1
    s = step([[k * unit for k in range(-3, 4)]], -3, 1, -(2**40), 2**40)
    form = solve_multiply_shift(s)
    if form is not None:
        assert form.shift <= MAX_SHIFT
        prove(s, form)


# ----------------------------------------------------------------------------------------------- the prover


def perturbed(form):
    """The form with one number of one parameter changed by one, in turn."""
    for field in fields(form):
        value = getattr(form, field.name)
        if isinstance(value, np.ndarray):
            for place in np.ndindex(value.shape):
                if value[place] == NEVER:
                    continue
                for change in (-1, 1):
                    other = value.copy()
                    other[place] += change
                    yield field.name, replace(form, **{field.name: other})
        elif isinstance(value, Rounding):
            other = Rounding.FLOOR if value is Rounding.HALF_EVEN else Rounding.HALF_EVEN
            yield field.name, replace(form, rounding=other)
        elif field.name == "shift":
            yield field.name, replace(form, shift=value + 1)
            if value:
                yield field.name, replace(form, shift=value - 1)
        else:
            for change in (-1, 1):
                yield field.name, replace(form, **{field.name: value + change})


def test_prove_refuses_exactly_the_forms_that_differ():
    """A form that differs anywhere on the interval is refused; one that is still equal is accepted."""
    refused = {}
    for s in STEPS:
        for form in candidates(s):
            if form.name == "table":
                continue
            for name, other in perturbed(form):
                if name == "thresholds" and bool((np.diff(other.thresholds, axis=1) < 0).any()):
                    continue  # no form: a search needs them in order
                same = equal_everywhere(s, other)
                if same:
                    prove(s, other)
                    continue
                with pytest.raises(ExactnessError):
                    prove(s, other)
                refused[form.name, name] = refused.get((form.name, name), 0) + 1
    for form, names in {
        "shift": ("bias", "shift", "rounding", "lo", "hi"),
        "multiply_shift": ("factor", "bias", "shift", "lo", "hi"),
        "thresholds": ("thresholds", "start"),
        "search": ("thresholds", "start"),
    }.items():
        for name in names:
            assert refused.get((form, name), 0) > 5, (form, name)


def test_prove_refuses_a_table_with_a_fault_beside_a_boundary():
    s = step([[0, 3], [1]], [0, 5], [1, -1], [-4, -4], [5, 5])
    table = solve_table(s)
    near = [(0, x - table.lo) for x in (-4, -1, 0, 2, 3, 5)] + [(1, x - table.lo) for x in (-4, 0, 1, 5)]
    for place in near:
        entries = table.entries.copy()
        entries[place] += 1
        with pytest.raises(ExactnessError):
            prove(s, Table(table.lo, entries))
    with pytest.raises(ExactnessError):
        prove(s, Table(table.lo + 1, table.entries))


def test_prove_refuses_a_table_with_a_fault_between_boundaries():
    s = step([[5]], 0, 1, 0, 10)
    entries = solve_table(s).entries.copy()
    entries[0, 2] = 7
    with pytest.raises(ExactnessError):
        prove(s, Table(0, entries))


def test_a_stride_of_the_other_sign_and_a_wrong_wire():
    s = step([[0, 4]], 0, 1, -8, 7)
    for kind in (Thresholds, Search):
        with pytest.raises(ExactnessError):
            prove(s, kind(s.thresholds, s.start, -s.stride))
    with pytest.raises(ExactnessError):
        prove(s, Wire())


def test_the_message_names_channel_and_input():
    s = step([[0, 4], [1]], [0, 0], [1, 1], [-8, -8], [7, 7])
    wrong = s.thresholds.copy()
    wrong[1, 0] = 2
    with pytest.raises(ExactnessError) as error:
        prove(s, Thresholds(wrong, s.start, s.stride))
    assert str(error.value) == ("'s': the form 'thresholds' gives 0 for input 1 in channel 1, but the model defines 1")


def test_evaluation_by_hand():
    x = np.array([[-7], [-6], [-2], [0], [1], [2], [3], [6]])
    bias = np.array([0])
    assert Shift(bias, 2, Rounding.FLOOR, -1, 1).evaluate(x)[:, 0].tolist() == [-1, -1, -1, 0, 0, 0, 0, 1]
    found = Shift(bias, 2, Rounding.HALF_EVEN, -9, 9).evaluate(x)[:, 0].tolist()
    assert found == [round(v / 4) for v in x[:, 0].tolist()]
    assert Shift(bias + 1, 0, Rounding.HALF_EVEN, -9, 9).evaluate(x)[:, 0].tolist() == [-6, -5, -1, 1, 2, 3, 4, 7]
    form = MultiplyShift(np.array([3]), np.array([5]), 2, -4, 3)
    assert form.evaluate(x)[:, 0].tolist() == [max(-4, min(3, (3 * v + 5) // 4)) for v in x[:, 0].tolist()]
