# SPDX-License-Identifier: Apache-2.0
"""The forms in which hardware can compute a step function, and the proof that a form equals the function.

Each ``solve_*`` looks for a realisation and gives None where there is none. ``prove`` then compares it with
the function at both ends and on both sides of every boundary: between two neighbouring boundaries the function
is constant and every form is monotone, so equality there is equality on the whole interval. A table, which
need not be monotone, is compared on every input.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.errors import ExactnessError
from flow.ir.dataflow import Lookup, Step
from flow.ir.rounding import Rounding
from flow.ir.types import Ints

Mask: TypeAlias = NDArray[np.bool_]

MAX_SHIFT = 31


@dataclass(frozen=True, slots=True)
class Wire:
    """``y = x``: nothing at all."""

    name = "wire"

    def evaluate(self, x: Ints) -> Ints:
        return x


@dataclass(frozen=True, slots=True)
class Shift:
    """``y = clip(round((x + bias) / 2**shift))``: an adder, a shift, and the rounding of the model.

    ``rounding`` is FLOOR (every rounding without regard to parity or sign is a floor with another bias)
    or HALF_EVEN.
    """

    name = "shift"

    bias: Ints
    shift: int
    rounding: Literal[Rounding.FLOOR, Rounding.HALF_EVEN]
    lo: int
    hi: int

    def evaluate(self, x: Ints) -> Ints:
        biased = x + self.bias
        if self.rounding is Rounding.HALF_EVEN and self.shift:
            biased = biased + (1 << (self.shift - 1)) - 1 + ((biased >> self.shift) & 1)
        result: Ints = np.clip(biased >> self.shift, self.lo, self.hi)
        return result


@dataclass(frozen=True, slots=True)
class MultiplyShift:
    """``y = clip((x * factor + bias) >> shift)``, factor and bias one for each channel."""

    name = "multiply_shift"

    factor: Ints
    bias: Ints
    shift: int
    lo: int
    hi: int

    def evaluate(self, x: Ints) -> Ints:
        result: Ints = np.clip((x * self.factor + self.bias) >> self.shift, self.lo, self.hi)
        return result


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``y = start + stride * (number of thresholds <= x)``, all compared at once."""

    name = "thresholds"

    thresholds: Ints
    start: Ints
    stride: Ints

    def evaluate(self, x: Ints) -> Ints:
        x = np.broadcast_to(x, np.broadcast_shapes(x.shape, self.start.shape))
        columns = [np.searchsorted(row, x[:, c], side="right") for c, row in enumerate(self.thresholds)]
        count: Ints = np.stack(columns, axis=1).astype(np.int64)
        return self.start + self.stride * count


@dataclass(frozen=True, slots=True)
class Search(Thresholds):
    """The same number, found by binary search: one comparison a level of the tree, thresholds in memory."""

    name = "search"


@dataclass(frozen=True, slots=True)
class Table:
    """``y = entries[channel, x - lo]``: a memory with one word for every input value."""

    name = "table"

    lo: int
    entries: Ints

    def evaluate(self, x: Ints) -> Ints:
        index = np.clip(x - self.lo, 0, self.entries.shape[1] - 1)
        channel = np.arange(self.entries.shape[0])
        return self.entries[np.broadcast_to(channel, index.shape), index]


@dataclass(frozen=True, slots=True)
class Ranges:
    """``y = values[channel, number of thresholds <= x]``: which range x lies in, and a value for each."""

    name = "ranges"

    thresholds: Ints
    values: Ints

    def evaluate(self, x: Ints) -> Ints:
        x = np.broadcast_to(x, np.broadcast_shapes(x.shape, (self.thresholds.shape[0],)))
        columns = [self.values[c][np.searchsorted(row, x[:, c], side="right")] for c, row in enumerate(self.thresholds)]
        return np.stack(columns, axis=1)


# Inputs of ``evaluate`` are (points, channels).
Form: TypeAlias = Wire | Shift | MultiplyShift | Thresholds | Search | Table | Ranges


@dataclass(frozen=True, slots=True)
class Certificate:
    """That a form equals its function on the whole interval of every channel.

    Attributes:
        form: The name of the form.
        channels: How many functions were compared; 1 where all channels share one.
        boundaries: Boundaries inside the intervals, over all channels.
        points: Inputs at which both were evaluated: each end and both sides of each boundary; all for a table.
    """

    form: str
    channels: int
    boundaries: int
    points: int

    def __str__(self) -> str:
        boundaries = f"{self.boundaries} {'boundary' if self.boundaries == 1 else 'boundaries'}"
        channels = f" over {self.channels} channels" if self.channels > 1 else ""
        return f"{self.form}: proved on {boundaries}{channels}"


def prove(step: Step | Lookup, form: Form) -> Certificate:
    """The certificate of ``form`` for ``step``.

    Raises:
        ExactnessError: They differ, at the named channel and input.
    """
    inside = step.inside
    if isinstance(form, Table):  # not monotone by its making: look at every input
        offsets = np.arange(int((step.hi - step.lo).max()) + 1)
        points = np.minimum(step.lo[:, None] + offsets, step.hi[:, None])
    else:
        after = np.where(inside, step.thresholds, step.lo[:, None])
        before = np.where(inside, step.thresholds - 1, step.hi[:, None])
        points = np.concatenate([step.lo[:, None], step.hi[:, None], before, after], axis=1)
    if isinstance(form, Ranges) and not np.array_equal(form.thresholds, step.thresholds):
        raise ExactnessError(f"'{step.name}': ranges with other thresholds cannot be proved at these")
    expected = _values(step, points)
    found = form.evaluate(points.T).T
    if not np.array_equal(expected, found):
        channel, place = np.argwhere(expected != found)[0]
        raise ExactnessError(
            f"'{step.name}': the form '{form.name}' gives {found[channel, place]} for input "
            f"{points[channel, place]} in channel {channel}, but the model defines {expected[channel, place]}"
        )
    count = points.size if isinstance(form, Table) else 2 * step.channels + 2 * int(inside.sum())
    return Certificate(form.name, step.channels, int(inside.sum()), count)


def _values(step: Step | Lookup, points: Ints) -> Ints:
    """The function at ``points``, (channels, points)."""
    rank = np.stack([np.searchsorted(row, x, side="right") for row, x in zip(step.thresholds, points, strict=True)])
    if isinstance(step, Lookup):
        return np.take_along_axis(step.values, rank, axis=1)
    found: Ints = step.start[:, None] + step.stride[:, None] * rank
    return found


def candidates(step: Step | Lookup) -> list[Form]:
    """Every form that can serve; the plan takes the one that costs least."""
    table = solve_table(step)
    if isinstance(step, Lookup):
        ranges = Ranges(step.thresholds, step.values)
        return [ranges] if table is None else [table, ranges]
    found = [solve_wire(step), solve_shift(step), solve_multiply_shift(step), table]
    forms: list[Form] = [form for form in found if form is not None]
    forms.append(Thresholds(step.thresholds, step.start, step.stride))
    if step.thresholds.shape[1] > 3:
        forms.append(Search(step.thresholds, step.start, step.stride))
    return forms


def _clip_range(step: Step) -> tuple[int, int]:
    ends = np.concatenate(step.ends())
    return int(ends.min()), int(ends.max())


def _boundaries(step: Step) -> tuple[Ints, Ints, Ints]:
    """Rising form of every channel: thresholds (NEVER where outside), the value after each, and the sign.

    A falling function of x is a rising one of -x; ``sign`` is -1 there.
    """
    sign: Ints = np.sign(step.stride)
    size = np.abs(step.stride)[:, None]
    count = step.thresholds.shape[1]
    rank = np.arange(count)[None, :]
    inside = step.inside
    value: Ints = (step.start[:, None] + size * (rank + 1)).astype(np.int64)
    falling = (sign < 0)[:, None]
    # value of the mirrored function after its threshold 1 - T: the value before T
    value = np.where(falling, step.start[:, None] - size * rank, value).astype(np.int64)
    threshold = np.where(falling, 1 - step.thresholds, step.thresholds)
    return np.where(inside, threshold, _OUTSIDE), value, sign


_OUTSIDE = np.iinfo(np.int64).min


def solve_wire(step: Step) -> Wire | None:
    shift = solve_shift(step)
    if shift is None or shift.shift or bool(shift.bias.any()):
        return None
    inside = int(step.lo.min()) >= shift.lo and int(step.hi.max()) <= shift.hi
    return Wire() if inside else None


def solve_shift(step: Step) -> Shift | None:
    """A shift that serves all channels, with a bias for each."""
    if bool((step.stride != 1).any()):
        return None
    lo, hi = _clip_range(step)
    for rounding in (Rounding.FLOOR, Rounding.HALF_EVEN):
        for shift in _likely_shifts(step):
            form = _shift_with_bias(step, shift, rounding, lo, hi)
            if form is not None and _agrees(step, form):
                return form
    return None


def _likely_shifts(step: Step) -> list[int]:
    """The shifts that the widest run of boundaries of any channel allows."""
    inside = step.inside
    runs = inside.sum(1)
    channel = int(runs.argmax())
    row = step.thresholds[channel][inside[channel]]
    if row.size < 2:
        return [0] if row.size == 0 else []
    spacing = (int(row[-1]) - int(row[0])) / (row.size - 1)
    nearest = int(np.rint(np.log2(spacing))) if spacing >= 1 else -1
    return [s for s in (nearest - 1, nearest, nearest + 1) if 0 <= s <= MAX_SHIFT]


def _shift_with_bias(
    step: Step, shift: int, rounding: Literal[Rounding.FLOOR, Rounding.HALF_EVEN], lo: int, hi: int
) -> Shift | None:
    inside = step.inside
    bias = np.zeros(step.channels, np.int64)
    half = (1 << shift) >> 1
    for channel in range(step.channels):
        places = np.flatnonzero(inside[channel])
        if places.size == 0:  # constant: a bias that saturates, or lands on the value
            value = int(step.ends()[0][channel])
            bias[channel] = (value << shift) - int(step.lo[channel]) + (half if shift else 0)
            if rounding is Rounding.FLOOR:
                bias[channel] = (value << shift) - int(step.lo[channel])
            continue
        place = int(places[0])
        value = int(step.start[channel]) + place + 1
        threshold = int(step.thresholds[channel, place])
        if rounding is Rounding.FLOOR:
            bias[channel] = (value << shift) - threshold
        else:  # the least x that rounds to value: value * 2^s - half, and one more where value is odd
            odd = (value & 1) if shift else 0
            bias[channel] = (value << shift) - half + odd - threshold
    return Shift(bias, shift, rounding, lo, hi)


def _agrees(step: Step, form: Form) -> bool:
    try:
        prove(step, form)
    except ExactnessError:
        return False
    return True


def solve_multiply_shift(step: Step) -> MultiplyShift | None:
    """The multiply-shift of least shift that serves all channels, None up to a shift of 31 bits.

    For a given shift each boundary T between values v-1 and v asks ``T M + B >= v 2^S`` and
    ``(T - 1) M + B < v 2^S``: an integer point (M, B) of a polygon. The room that M leaves for B is a concave
    function of M, so a ternary search finds the best M of each channel.
    """
    if bool((np.abs(step.stride) != 1).any()):
        return None
    lo, hi = _clip_range(step)
    polygon = _Polygon.of(step, lo, hi)
    above = polygon.greatest_shift
    if above < 0 or not bool(polygon.feasible(above)[0].all()):
        return None
    below = -1  # feasible at ``above``: doubling M and B serves every greater shift
    while above - below > 1:
        middle = (below + above) // 2
        if bool(polygon.feasible(middle)[0].all()):
            above = middle
        else:
            below = middle
    _, factor, bias = polygon.feasible(above)
    form = MultiplyShift(factor * polygon.sign, bias, above, lo, hi)
    return form if _agrees(step, form) else None


@dataclass(frozen=True, slots=True)
class _Polygon:
    """The constraints on factor and bias of every channel: at ``at_least[c, k]`` the result is >= ``least``."""

    sign: Ints
    at_least: Ints
    least: Ints
    at_most: Ints
    most: Ints
    has_least: Mask
    has_most: Mask

    @classmethod
    def of(cls, step: Step, clip_lo: int, clip_hi: int) -> "_Polygon":
        threshold, value, sign = _boundaries(step)
        inside = threshold != _OUTSIDE
        at_lo, at_hi = step.ends()
        first = np.where(sign > 0, step.lo, -step.hi)
        last = np.where(sign > 0, step.hi, -step.lo)
        low, high = np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi)
        safe = np.where(inside, threshold, 0)
        return cls(
            sign,
            np.column_stack([safe, first]),
            np.column_stack([value, low]),
            np.column_stack([safe - 1, last]),
            np.column_stack([value - 1, high]),
            np.column_stack([inside, low > clip_lo]),
            np.column_stack([inside, high < clip_hi]),
        )

    @property
    def greatest_shift(self) -> int:
        """The greatest shift at which no product below leaves int64."""
        input_bits = int(max(np.abs(self.at_least).max(), np.abs(self.at_most).max())).bit_length()
        span_bits = int((self.least.max(1) - self.least.min(1) + 2).max()).bit_length()
        return min(MAX_SHIFT, 60 - input_bits - span_bits)

    def room(self, factor: Ints, shift: int) -> tuple[Ints, Ints]:
        """The least and the greatest bias for a factor of each channel."""
        far = np.int64(1) << 61
        need = (self.least << shift) - self.at_least * factor[:, None]
        limit = ((self.most + 1) << shift) - 1 - self.at_most * factor[:, None]
        return (
            np.where(self.has_least, need, -far).max(1),
            np.where(self.has_most, limit, far).min(1),
        )

    def feasible(self, shift: int) -> tuple[Mask, Ints, Ints]:
        """Which channels have a point, and the factor and bias of the roomiest one."""
        lo = np.zeros(self.sign.size, np.int64)
        span = (self.least.max(1) - self.least.min(1) + 2) << shift
        hi = span.astype(np.int64)

        def gap(factor: Ints) -> Ints:
            least, greatest = self.room(factor, shift)
            return greatest - least

        while bool((hi - lo > 2).any()):
            left = lo + (hi - lo) // 3
            right = hi - (hi - lo) // 3
            rising = gap(left) < gap(right)
            lo = np.where(rising, left, lo)
            hi = np.where(rising, hi, right)
        options = np.stack([lo, np.minimum(lo + 1, hi), hi])
        gaps = np.stack([gap(option) for option in options])
        factor = np.take_along_axis(options, gaps.argmax(0)[None, :], 0)[0]
        least, greatest = self.room(factor, shift)
        bias = np.where(least > -(1 << 60), least, np.where(greatest < 1 << 60, greatest, 0))
        return greatest >= least, factor, bias


def solve_table(step: Step | Lookup, *, largest: int = 1 << 12) -> Table | None:
    """A memory over the whole input interval, where that has at most ``largest`` values."""
    lo, hi = int(step.lo.min()), int(step.hi.max())
    if hi - lo + 1 > largest:
        return None
    points = np.clip(np.arange(lo, hi + 1), step.lo[:, None], step.hi[:, None])
    return Table(lo, _values(step, points))
