# SPDX-License-Identifier: Apache-2.0
"""What a plan shall reach, and what "cheap" means.

The cost of a design is the sum, over all resources, of the share of the board that it uses; a resource that the
board lacks has no share and must not be used. A linear measure with one meaning on every board: what is scarce is
dear, 220 DSPs as much as 53,200 LUTs. It is counted in billionths of a board, with whole prices, so that the costs
of two designs are compared exactly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from flow.errors import OptionError
from flow.plan.board import Board
from flow.plan.resources import Resources

UTILIZATION = 0.7
"""The share of a board that the fastest design may use: beyond it, routing gets slow or fails."""
SOLVER_SECONDS = 60.0
_WHOLE = 10**9
_NAMES = tuple(name for name, _ in Resources.zero().items())


@dataclass(frozen=True, slots=True)
class Goals:
    """What is asked of a plan.

    Without a frame rate or a latency the fastest design that fits is planned; with one of them, or with
    ``min_resources``, the cheapest that meets them.

    Attributes:
        target_fps: Frames a second, at least.
        max_latency_us: From the first word in to the last word out, at most, under ``flow.plan.timing``.
        max_fps: The fastest that fits, and of those the cheapest.
        min_resources: The cheapest, however slow.
        utilization: The share of each resource that may be used; for those not named 70 % for the fastest, all
            for the cheapest design.
        seconds: How long the solver may take.
        reserved: What is kept free of that, for what the search does not reckon with.
    """

    target_fps: float | None = None
    max_latency_us: float | None = None
    max_fps: bool = False
    min_resources: bool = False
    utilization: Mapping[str, float] = field(default_factory=dict)
    seconds: float = SOLVER_SECONDS
    reserved: Resources = field(default_factory=Resources.zero)

    def __post_init__(self) -> None:
        if self.target_fps is not None and not self.target_fps > 0:
            raise OptionError(
                f"a frame rate of {self.target_fps:g} means nothing", "give a positive number of frames/s"
            )
        if self.max_latency_us is not None and not self.max_latency_us > 0:
            raise OptionError(
                f"a latency of {self.max_latency_us:g} us means nothing", "give a positive number of microseconds"
            )
        if not 0 < self.seconds < math.inf:
            raise OptionError(f"{self.seconds:g} seconds for the solver mean nothing", "give a positive number")
        if self.max_fps and (self.target_fps is not None or self.min_resources):
            other = "a target frame rate" if self.target_fps is not None else "the least resources"
            raise OptionError(
                f"the greatest frame rate and {other} are asked for at once",
                "choose one: --max-fps alone, or --target-fps, which plans the cheapest design that meets it",
            )

    @property
    def fastest(self) -> bool:
        """Whether speed is what counts most."""
        asked = self.target_fps is not None or self.max_latency_us is not None or self.min_resources
        return self.max_fps or not asked

    @property
    def shares(self) -> dict[str, float]:
        """The share of each resource that may be used."""
        rest = UTILIZATION if self.fastest else 1.0
        return {name: self.utilization.get(name, rest) for name in _NAMES}

    def budget(self, board: Board) -> Resources:
        """How much of each resource may be used."""
        shares, kept = self.shares, dict(self.reserved.items())
        # 57 % of 100 are 57, whatever floating point makes of it
        return Resources(
            **{name: max(int(amount * shares[name] + 1e-6) - kept[name], 0) for name, amount in board.resources.items()}
        )

    def interval(self, clock_mhz: float) -> int | None:
        """The cycles that the frame rate leaves for a frame; None where none is asked for."""
        if self.target_fps is None:
            return None
        # a rate that was worked out from a number of cycles means that number; bounded: no design is that slow
        return int(min(clock_mhz * 1e6 / self.target_fps * (1 + 1e-12), 1e15))

    def latency(self, clock_mhz: float) -> int | None:
        """The cycles that the latency leaves; None where none is asked for."""
        if self.max_latency_us is None:
            return None
        return int(min(self.max_latency_us * clock_mhz * (1 + 1e-12), 1e15))


def parse_utilization(text: str) -> dict[str, float]:
    """``70%`` for all resources, or ``lut=60%,bram18=80%``.

    Raises:
        OptionError: It is neither, or a share is not above 0 % and at most 100 %; all problems at once.
    """
    shares: dict[str, float] = {}
    problems: list[str] = []
    for part in text.split(","):
        name, found, number = part.strip().lower().rpartition("=")
        share = _share(number)
        if found and name not in _NAMES:
            problems.append(f"'{part.strip()}': no resource '{name}'; the resources are {', '.join(_NAMES)}")
        elif share is None:
            problems.append(f"'{part.strip()}': a share must be above 0 % and at most 100 %")
        elif found and name in shares:
            problems.append(f"'{part.strip()}': {name} is given twice")
        elif not found and ("," in text):
            problems.append(f"'{part.strip()}': of which resource?")
        else:
            shares |= {name: share} if found else dict.fromkeys(_NAMES, share)
    if problems:
        raise OptionError(
            f"--max-utilization {text}: " + "; ".join(problems),
            "give one share for all, such as 70%, or some by name, such as lut=60%,bram18=80%",
        )
    return shares


def _share(text: str) -> float | None:
    """Of ``70%``; None where it is none. A number without ``%`` is a percentage, too."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        return None
    return share if 0 < share <= 1 else None


def prices(board: Board) -> tuple[int, ...]:
    """Of one unit of each resource, in billionths of the board."""
    return tuple(_WHOLE // max(amount, 1) for _, amount in board.resources.items())


def cost(resources: Resources, board: Board) -> int:
    """Of a design, in billionths of the board."""
    return sum(price * amount for price, (_, amount) in zip(prices(board), resources.items(), strict=True))


def share_of_board(cost: float) -> float:
    """A cost as a sum of shares."""
    return cost / _WHOLE
