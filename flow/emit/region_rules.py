# SPDX-License-Identifier: Apache-2.0
"""The rules of the top function's body, by its style.

A dataflow region is in canonical form (UG1399, "Canonical Forms"; UG1448, "Dataflow Canonical Rules"): local streams
with one producer, then one consumer, each process called once. A pipelined one holds arrays in registers, each written
by one call before others read it; every function in it is inlined and every loop of theirs unrolled, since a pipeline
of a function takes no other loop (UG1399, "pragma HLS pipeline").
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_STREAM = re.compile(r"^hls::stream<\w+> (\w+);$")
_ARRAY = re.compile(r"^[\w:<>]+ (\w+)\[\d+\];$")
_CALL = re.compile(r"^(\w+)\(([\w, ]*)\);$")


@dataclass
class Function:
    """A function that a file defines.

    Attributes:
        name: Its name.
        parameters: The names of its parameters.
        lines: Its statements without comments, each with its line number.
        pragmas: Its own, not those of its loops, each by its name and variable.
        pipelined: Whether it or one of its loops is pipelined.
    """

    name: str
    parameters: tuple[str, ...]
    lines: list[tuple[int, str]] = field(default_factory=list)
    pragmas: list[str] = field(default_factory=list)
    pipelined: bool = False


def region_problems(functions: dict[str, Function], top: str) -> Iterator[str]:
    """What the body of the top function breaks of its rules."""
    if top not in functions:
        yield f"hls/top.cpp: no function '{top}'"
        return
    region = functions[top]
    pipelined = "pipeline" in region.pragmas
    if pipelined == ("dataflow" in region.pragmas):
        yield f"hls/top.cpp: '{top}' is neither a dataflow region nor a pipeline, or both"
        return
    kind, local = ("array", _ARRAY) if pipelined else ("stream", _STREAM)
    names: list[str] = []
    written: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    called: Counter[str] = Counter()
    for number, line in region.lines:
        where = f"hls/top.cpp:{number}"
        if line == "}":
            continue
        if declared := local.match(line):
            names.append(declared[1])
            continue
        call = _CALL.match(line)
        if call is None:
            yield f"{where}: not a local {kind} and not a call: {line}"
            continue
        name, arguments = call[1], call[2].split(", ")
        called[name] += 1
        if name not in functions:
            yield f"{where}: '{name}' is not defined"
            continue
        if pipelined:
            yield from (f"{where}: {problem}" for problem in _not_in_a_pipeline(functions[name]))
        if len(arguments) != len(functions[name].parameters):
            yield f"{where}: '{name}' has {len(functions[name].parameters)} parameters"
            continue
        for argument, parameter in zip(arguments, functions[name].parameters, strict=True):
            if argument not in names and argument not in region.parameters:
                yield f"{where}: '{argument}' is neither a local {kind} nor a port"
            reads, writes = _uses(functions[name], parameter)
            if reads == writes:
                yield f"{where}: '{name}' {'both reads and writes' if reads else 'does not use'} '{parameter}'"
            if reads and argument in names and not written[argument]:
                yield f"{where}: '{argument}' is read before it is written: feedback"
            taken[argument] += reads
            written[argument] += writes
    for name in [name for name, count in called.items() if count > 1]:
        yield f"hls/top.cpp: '{name}' is called {called[name]} times"
    for name in names:
        if written[name] != 1 or not taken[name] or (taken[name] > 1 and not pipelined):
            yield f"hls/top.cpp: '{name}' has {written[name]} producers and {taken[name]} consumers"
        if pipelined and f"array_partition {name}" not in region.pragmas:
            yield f"hls/top.cpp: '{name}' is not partitioned: a memory gives two values a cycle"
    for name in region.parameters:
        if written[name] + taken[name] != 1:
            yield f"hls/top.cpp: port '{name}' is used {written[name] + taken[name]} times"


def _not_in_a_pipeline(function: Function) -> Iterator[str]:
    if "inline" not in function.pragmas:
        yield f"'{function.name}' is not inlined"
    if function.pipelined:
        yield f"'{function.name}' has a pipeline of its own"


def _uses(function: Function, parameter: str) -> tuple[bool, bool]:
    """Whether a function reads a stream or an array, and whether it writes to it."""
    text = "\n".join(line for _, line in function.lines)
    element = rf"(?<![\w.]){parameter}\[[^\]]*\]"
    return (
        bool(re.search(rf"(?<![\w.]){parameter}\.read\(\)|{element}(?! = )", text)),
        bool(re.search(rf"(?<![\w.]){parameter}\.write\(|{element} = ", text)),
    )
