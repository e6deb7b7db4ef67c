# SPDX-License-Identifier: Apache-2.0
"""Refits the cost model to blocks of the user's own builds, and says how far it is off before and after.

The coefficients in use are the prior: they pull weakly, so that a coefficient which few blocks hold stays near what it
was. Every build weighs the same. Coefficients of no block stay as they are, as do facts about the device. DSP slices
and memories are counted by rules without a coefficient; they are compared, not fitted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from flow.errors import CalibrationError
from flow.plan.cost_coefficients import Coefficients, CostFile, Interval, Kind, OwnError, using
from flow.plan.cost_fit import factor, features, positive_fit, ratio, smape, within
from flow.plan.resources import Resources

FITTED = ("lut", "ff")
COUNTED = ("dsp", "bram18", "uram")
SHARE = 0.8
"""Of the blocks that an interval holds, as for the coefficients that come with the program."""
LEAST_BLOCKS = 10
"""Left-out blocks of a kind from which its interval is taken from them: with fewer, a factor says little."""
_DIGITS = 4  # significant ones, of what is written


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a design, as it came out of placement and routing.

    Attributes:
        build: Of which build: what is left out together.
        name: Its function, or the variable of its stream.
        kind: As in the intervals; of a layer the kind of most of its LUTs.
        price: What it takes with the coefficients in use.
        measured: Each resource; None where the report does not say it.
    """

    build: str
    name: str
    kind: Kind
    price: Callable[[], Resources]
    measured: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Compared:
    """One resource of one block.

    Attributes:
        build: Of which build.
        name: Of the block.
        resource: Which.
        measured: After placement and routing.
        before: The estimate with the coefficients that were in use.
        after: The estimate with the new ones: fitted without this build where there are several. The same as
            ``before`` for what is counted.
    """

    build: str
    name: str
    resource: str
    measured: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Error:
    """How far the estimates of a resource are off.

    Attributes:
        resource: Which.
        blocks: How many were compared; those with nothing measured or estimated have no ratio and do not count.
        before: SMAPE in percent, and the median of estimate / measured.
        after: The same with the new coefficients.
    """

    resource: str
    blocks: int
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Count:
    """How well a counted resource agrees.

    Attributes:
        resource: Which.
        blocks: Those that were measured or estimated to have any.
        exact: Percent of them whose count is right.
        within_one: Percent that is at most one off.
    """

    resource: str
    blocks: int
    exact: float
    within_one: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A refitted model.

    Attributes:
        file: The new coefficients, with their origins and errors.
        builds: What they were fitted to.
        blocks: How many blocks that are.
        changed: The coefficients that were fitted: old and new value.
        errors: Of what is fitted.
        counts: Of what is counted; only resources that some block has.
        compared: Block by block.
    """

    file: CostFile
    builds: tuple[str, ...]
    blocks: int
    changed: Mapping[str, tuple[float, float]]
    errors: tuple[Error, ...]
    counts: tuple[Count, ...]
    compared: tuple[Compared, ...]

    @property
    def validated(self) -> bool:
        """Whether the errors after the fit are of builds that took no part in it."""
        return len(self.builds) > 1


def calibrate(blocks: Sequence[Block], base: CostFile) -> Calibration:
    """Refits to blocks.

    Args:
        blocks: Of all builds.
        base: The coefficients to begin with.

    Raises:
        CalibrationError: No block has LUTs, or none flip-flops.
    """
    builds = tuple(dict.fromkeys(block.build for block in blocks))
    found = _fit(blocks, base)
    compared: list[Compared] = []
    for build in builds:
        others = [block for block in blocks if block.build != build]
        fitted = _with(base, _fit(others, base) if others else found)
        for block in blocks:
            if block.build == build:
                compared += _compared(block, base, fitted)
    errors = tuple(_error(resource, compared) for resource in FITTED)
    own = OwnError(len(builds), len(blocks), *(_rounded(value) for error in errors for value in error.after))
    source = f"{len(blocks)} blocks of {len(builds)} own build{'s' if len(builds) > 1 else ''}, by flow calibrate"
    file = replace(
        _with(base, found),
        origins=base.origins | dict.fromkeys(found, "fitted"),
        sources=base.sources | dict.fromkeys(found, source),
        intervals=base.intervals | (_intervals(blocks, compared) if len(builds) > 1 else {}),
        own=own,
    )
    old = asdict(base.coefficients)
    changed = {name: (old[name], value) for name, value in found.items()}
    counts = tuple(_counts(compared))
    return Calibration(file, builds, len(blocks), changed, errors, counts, tuple(compared))


def _with(base: CostFile, values: Mapping[str, float]) -> CostFile:
    return replace(base, coefficients=replace(base.coefficients, **values))


def _price(block: Block, file: CostFile) -> Resources:
    with using(file):
        return block.price()


def _fit(blocks: Sequence[Block], base: CostFile) -> dict[str, float]:
    """The coefficients that some block holds."""
    found: dict[str, float] = {}
    old = asdict(base.coefficients)
    for resource in FITTED:
        chosen = [b for b in blocks if b.measured.get(resource) and getattr(_price(b, base), resource)]
        names = [n for n, origin in base.origins.items() if n.endswith(f"_{resource}") and origin != "architecture"]
        prices = [_pricer(block, resource, base) for block in chosen]
        offset, counted = features(prices, names, base.coefficients)
        held = [place for place, name in enumerate(names) if counted[:, place].any() and old[name] > 0]
        if not held:
            continue
        each = [1 / sum(other.build == block.build for other in chosen) for block in chosen]
        values = positive_fit(
            counted[:, held],
            offset,
            np.array([block.measured[resource] for block in chosen], float),
            np.array([old[names[place]] for place in held]),
            np.array(each),
        )
        found |= {names[place]: _rounded(value) for place, value in zip(held, values.tolist(), strict=True)}
    return found


def _pricer(block: Block, resource: str, base: CostFile) -> Callable[[Coefficients], float]:
    return lambda values: float(getattr(_price(block, replace(base, coefficients=values)), resource))


def _compared(block: Block, base: CostFile, fitted: CostFile) -> list[Compared]:
    before, after = _price(block, base), _price(block, fitted)
    return [
        Compared(block.build, block.name, resource, amount, getattr(before, resource), getattr(after, resource))
        for resource in (*FITTED, *COUNTED)
        if (amount := block.measured.get(resource)) is not None
    ]


def _error(resource: str, compared: Sequence[Compared]) -> Error:
    of = [c for c in compared if c.resource == resource and c.measured and c.before]
    before, after = ([(float(getattr(c, when)), float(c.measured)) for c in of] for when in ("before", "after"))
    if not of:
        raise CalibrationError(
            f"no block of these builds has any {resource.upper()}, estimated and placed",
            "give builds whose layers have instances of their own in hls_work/ooc/routed_hierarchy.rpt",
        )
    return Error(resource, len(of), (smape(before), ratio(before)), (smape(after), ratio(after)))


def _counts(compared: Sequence[Compared]) -> list[Count]:
    found = []
    for resource in COUNTED:
        pairs = [(float(c.after), float(c.measured)) for c in compared if c.resource == resource]
        pairs = [pair for pair in pairs if any(pair)]
        if pairs:
            found.append(Count(resource, len(pairs), within(pairs, 0), within(pairs, 1)))
    return found


def _intervals(blocks: Sequence[Block], compared: Sequence[Compared]) -> dict[Kind, Interval]:
    """Of the kinds with enough left-out blocks."""
    found: dict[Kind, Interval] = {}
    kinds = {(block.build, block.name): block.kind for block in blocks}

    def factor_of(resource: str, kind: Kind) -> float | None:
        of = [c for c in compared if c.resource == resource and kinds[c.build, c.name] == kind]
        of = [c for c in of if c.measured and c.after]
        builds = [c.build for c in of]
        enough = len(of) >= LEAST_BLOCKS and len(set(builds)) > 1
        return _rounded(factor([(c.after, c.measured) for c in of], builds, SHARE)) if enough else None

    for kind in dict.fromkeys(kinds.values()):
        lut, ff = factor_of("lut", kind), factor_of("ff", kind)
        if lut is not None and ff is not None:
            of = [block.build for block in blocks if block.kind == kind]
            found[kind] = Interval(lut, ff, len(of), len(set(of)))
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
