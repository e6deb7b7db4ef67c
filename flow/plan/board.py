# SPDX-License-Identifier: Apache-2.0
"""Boards are data: one TOML file each, read into one frozen value, all mistakes in it reported at once."""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from flow import resources as folders
from flow.errors import BoardError
from flow.plan.resources import Resources


class Family(StrEnum):
    """Which shell carries the accelerator."""

    ZYNQ7000 = "zynq7000"
    ZYNQMP = "zynqmp"
    ARTIX7 = "artix7"
    ALVEO = "alveo"


class Dsp(StrEnum):
    """Which DSP slice the part has: a multiplier of 25 x 18 bits (E1) or of 27 x 18 bits (E2)."""

    DSP48E1 = "DSP48E1"
    DSP48E2 = "DSP48E2"

    @property
    def ports(self) -> tuple[int, int]:
        """Bits of the two signed operands of its multiplier, the wide one first (UG479, UG579)."""
        return (25, 18) if self is Dsp.DSP48E1 else (27, 18)


@dataclass(frozen=True, slots=True)
class Clock:
    """Frequencies of the accelerator's one clock, in MHz: the default, and the ceiling for a plan."""

    default_mhz: float
    max_mhz: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The board's DRAM: kind, size in bytes, peak rate over all channels in bytes per second."""

    name: str
    bytes: int
    peak_bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Vitis:
    """A data centre card as ``v++`` knows it: the platform, and the memories that hold frames and results."""

    platform: str
    frames: str
    results: str


@dataclass(frozen=True, slots=True)
class Board:
    """Everything about a board that decides a plan or appears in a script.

    Attributes:
        name: What the user types; lower case.
        title: The product's name, for reports.
        vendor: Who sells the board.
        part: The full part, package and speed grade included.
        board_part: The id of the Vivado board file, or None where no such file is known.
        family: Which shell carries the accelerator.
        dsp: Which DSP slice the part has.
        resources: All that the part has; a shell takes its share of this.
        lutram: How many of the LUTs can be memory or shift registers.
        clock: Frequencies of the accelerator's clock.
        axis_bits: Data width of the AXI streams into and out of the accelerator.
        memory: The board's DRAM.
        running_watts: The least and the most that the whole board was measured to take while it ran accelerators;
            None where nobody has measured it.
        vitis: How a design is linked for it; None for a board that is not linked by ``v++``.
    """

    name: str
    title: str
    vendor: str
    part: str
    board_part: str | None
    family: Family
    dsp: Dsp
    resources: Resources
    lutram: int
    clock: Clock
    axis_bits: int
    memory: Memory
    running_watts: tuple[float, float] | None
    vitis: Vitis | None = None


def known() -> tuple[str, ...]:
    """The names of the boards that come with the program, sorted."""
    return tuple(sorted(path.stem for path in folders.boards().glob("*.toml")))


def load(name: str) -> Board:
    """Reads a board by its name, or a user's own board file by its path.

    Args:
        name: One of `known()`, or a path that ends in ``.toml``.

    Raises:
        BoardError: No such board or file, or the file is wrong; all that is wrong in it is listed.
    """
    if name.endswith(".toml"):
        return _read(Path(name), label=name)
    boards = known()
    if name not in boards:
        closest = difflib.get_close_matches(name.lower(), boards, n=1)
        hint = f"did you mean '{closest[0]}'? " if closest else ""
        raise BoardError(
            f"unknown board '{name}'; the known boards are {', '.join(boards)}",
            f"{hint}For a board of your own, give the path of its .toml file.",
        )
    return _read(folders.boards() / f"{name}.toml", label=f"{name}.toml")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a key's value must be: in words for the message, and as a test."""

    expected: str
    accepts: Callable[[object], bool]
    required: bool = True


def _count(least: int) -> _Rule:
    return _Rule(
        f"a whole number, {least} or more",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
    )


def _text(expected: str, pattern: str, *, required: bool = True) -> _Rule:
    return _Rule(
        expected,
        lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value, re.ASCII)),
        required,
    )


def _choice(options: type[StrEnum]) -> _Rule:
    values = [option.value for option in options]
    return _Rule("one of " + ", ".join(f"'{value}'" for value in values), lambda value: value in values)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_positive, value)) and value[0] <= value[1]


_WIDTHS = tuple(2**power for power in range(3, 11))
_ANY_TEXT = _text("one line of text", r".*\S.*")
_MEMORY = _text("a memory of the platform such as 'DDR[0]'", r"(DDR|HBM|PLRAM)\[\d+\]", required=False)
_FREQUENCY = _Rule("a number of MHz above 0", _is_positive)

# table -> key -> rule; the keys that stand in no table come first, under ""
_SCHEMA: Mapping[str, Mapping[str, _Rule]] = {
    "": {
        "name": _text("lower case letters, digits and hyphens", r"[a-z0-9]+(-[a-z0-9]+)*"),
        "title": _ANY_TEXT,
        "vendor": _ANY_TEXT,
        "part": _text("a full part such as 'xc7z020clg400-1'", r"x[a-z][a-z0-9]+(-[A-Za-z0-9]+)+"),
        "board_part": _text(
            "a Vivado board file such as 'tul.com.tw:pynq-z2:part0:1.0'",
            r"[\w.-]+(:[\w.-]+){3}",
            required=False,
        ),
        "family": _choice(Family),
        "dsp": _choice(Dsp),
    },
    "resources": {
        "lut": _count(1),
        "ff": _count(1),
        "dsp": _count(0),
        "bram18": _count(0),
        "uram": _count(0),
        "lutram": _count(0),
    },
    "clock": {"default_mhz": _FREQUENCY, "max_mhz": _FREQUENCY},
    "stream": {
        "axis_bits": _Rule("a power of two from 8 to 1024", lambda value: type(value) is int and value in _WIDTHS)
    },
    "memory": {"name": _ANY_TEXT, "bytes": _count(1), "peak_bytes_per_second": _count(1)},
    "power": {"running_watts": _Rule("two numbers of watts above 0, the lower first", _is_range, required=False)},
    "vitis": {
        "platform": _text("a platform's name, or the path of its .xpfm", r"\w+|\S+\.xpfm", required=False),
        "frames": _MEMORY,
        "results": _MEMORY,
    },
}

_TABLES = tuple(table for table in _SCHEMA if table)

# a key that may not exceed another one, as (table, key, the key that bounds it)
_ORDERED = (("resources", "lutram", "lut"), ("clock", "default_mhz", "max_mhz"))


def _read(path: Path, *, label: str) -> Board:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BoardError(f"no board file at '{label}'", "check the path") from None
    except OSError as error:
        raise BoardError(f"cannot read the board file '{label}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BoardError(f"{label} is not TOML: byte {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{label} is not TOML: {error}") from error
    problems = [*_shape_problems(data), *_order_problems(data), *_vitis_problems(data)]
    if problems:
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        listing = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        raise BoardError(
            f"{label} is not a board file ({count}):\n{listing}", "boards/README.md says what each key means"
        )
    return _board(data)


def _shape_problems(data: Mapping[str, object]) -> Iterator[str]:
    for table, rules in _SCHEMA.items():
        if table:
            prefix, keys, values = f"{table}.", list(rules), data.get(table, {})
        else:
            prefix, keys, values = "", [*rules, *_TABLES], {k: v for k, v in data.items() if k not in _TABLES}
        if not isinstance(values, dict):
            yield f"{table}: expected a table, found {values!r}"
            continue
        for key, rule in rules.items():
            if key not in values:
                if rule.required:
                    yield f"{prefix}{key}: expected {rule.expected}, found nothing"
            elif not rule.accepts(values[key]):
                yield f"{prefix}{key}: expected {rule.expected}, found {values[key]!r}"
        for key in values:
            if key not in keys:
                yield f"{prefix}{key}: unknown key, expected one of {', '.join(keys)}"


def _order_problems(data: Mapping[str, object]) -> Iterator[str]:
    """Compares only values that are right by themselves; the others are reported already."""
    for table, key, bound in _ORDERED:
        values, rules = data.get(table), _SCHEMA[table]
        if not isinstance(values, dict) or not all(rules[name].accepts(values.get(name)) for name in (key, bound)):
            continue
        if values[key] > values[bound]:
            yield f"{table}.{key}: expected at most {table}.{bound} = {values[bound]}, found {values[key]}"


def _vitis_problems(data: Mapping[str, object]) -> Iterator[str]:
    """The table may be absent, but not incomplete."""
    values = data.get("vitis", {})
    if values and isinstance(values, dict):
        for key, rule in _SCHEMA["vitis"].items():
            if key not in values:
                yield f"vitis.{key}: expected {rule.expected}, found nothing"


def _board(data: Mapping[str, Any]) -> Board:
    """Expects data without problems."""
    amounts = data["resources"]
    return Board(
        name=data["name"],
        title=data["title"],
        vendor=data["vendor"],
        part=data["part"],
        board_part=data.get("board_part"),
        family=Family(data["family"]),
        dsp=Dsp(data["dsp"]),
        resources=Resources(**{name: amounts[name] for name, _ in Resources.zero().items()}),
        lutram=amounts["lutram"],
        clock=Clock(**data["clock"]),
        axis_bits=data["stream"]["axis_bits"],
        memory=Memory(**data["memory"]),
        running_watts=tuple(watts) if (watts := data.get("power", {}).get("running_watts")) else None,
        vitis=Vitis(**vitis) if (vitis := data.get("vitis")) else None,
    )
