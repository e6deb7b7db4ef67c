# SPDX-License-Identifier: Apache-2.0
"""C++ spellings: types, literals, identifiers, constant tables."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flow.ir.types import Bipolar, ElementType, Ints, IntType

_RESERVED = frozenset(  # the words of C++, and the names that the templates use
    {
        "alignas",
        "alignof",
        "all",
        "and",
        "and_eq",
        "asm",
        "auto",
        "bitand",
        "bitor",
        "bits",
        "bool",
        "bounded",
        "break",
        "c",
        "case",
        "catch",
        "char",
        "class",
        "compare",
        "compl",
        "const",
        "const_cast",
        "constexpr",
        "continue",
        "count",
        "decltype",
        "default",
        "delete",
        "depths",
        "do",
        "double",
        "dynamic_cast",
        "else",
        "enum",
        "expected",
        "explicit",
        "export",
        "extern",
        "false",
        "float",
        "flow",
        "fold",
        "folder",
        "for",
        "frame",
        "frames",
        "friend",
        "given",
        "got",
        "goto",
        "held",
        "hls",
        "i",
        "if",
        "in",
        "index",
        "inline",
        "inputs",
        "int",
        "k",
        "kept",
        "left",
        "long",
        "main",
        "mutable",
        "namespace",
        "nearest",
        "network",
        "neuron",
        "neurons",
        "new",
        "noexcept",
        "not",
        "not_eq",
        "nullptr",
        "operator",
        "or",
        "or_eq",
        "out",
        "p",
        "packed",
        "part",
        "place",
        "position",
        "positions",
        "private",
        "product",
        "protected",
        "public",
        "q",
        "register",
        "reinterpret_cast",
        "result",
        "return",
        "short",
        "signed",
        "sizeof",
        "slice",
        "slot",
        "static",
        "static_assert",
        "static_cast",
        "std",
        "streams",
        "struct",
        "stuck",
        "sum",
        "switch",
        "synapse",
        "synapses",
        "taken",
        "template",
        "this",
        "thread_local",
        "throw",
        "total",
        "true",
        "try",
        "typedef",
        "typeid",
        "typename",
        "union",
        "unsigned",
        "using",
        "value",
        "values",
        "virtual",
        "void",
        "volatile",
        "w",
        "waiting",
        "want",
        "wchar_t",
        "while",
        "windows",
        "word",
        "words",
        "x",
        "xor",
        "xor_eq",
        "y",
    }
)
_LONGEST = 32
_WIDTH = 110


def type_name(element: ElementType) -> str:
    """The HLS type; a bipolar value is one bit, 1 for +1."""
    if isinstance(element, Bipolar):
        return "ap_uint<1>"
    return f"ap_{'' if element.signed else 'u'}int<{element.bits}>"


def rom_type(element: IntType) -> str:
    """The type of a word in a constant table."""
    return f"flow::rom_{'' if element.signed else 'u'}int<{element.bits}>"


def codes(values: Ints, element: ElementType) -> Ints:
    """The numbers as hardware stores them: a bipolar -1 as 0."""
    return (values + 1) // 2 if isinstance(element, Bipolar) else values


def uncoded(values: Ints, element: ElementType) -> Ints:
    """The inverse of ``codes``."""
    return values * 2 - 1 if isinstance(element, Bipolar) else values


def identifiers(names: Sequence[str]) -> list[str]:
    """A C++ name for each tensor, unique among them, as close to the tensor's as can be."""
    taken: set[str] = set()
    found = []
    for name in names:
        base = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_")[-_LONGEST:].strip("_")
        if not base or base[0].isdigit() or base in _RESERVED or re.fullmatch(r"(x|in|out)\d+", base):
            base = f"layer_{base}".rstrip("_")
        unique, number = base, 1
        while unique in taken:
            number += 1
            unique = f"{base}_{number}"
        taken.add(unique)
        found.append(unique)
    return found


@dataclass(frozen=True, slots=True)
class Table:
    """A constant array as C++ text."""

    name: str
    comment: str
    type: str
    dimensions: str
    lines: list[str]
    arrangement: tuple[tuple[str, int], ...] = ()
    """How HLS shall lay it out, so that all that is read in one cycle has a port: (kind, dimension)."""


def table(name: str, comment: str, values: Ints, element: IntType | None = None) -> Table:
    """A constant array of any rank, each word as wide as its values need."""
    holding = element or IntType.holding(int(values.min(initial=0)), int(values.max(initial=0)))
    dimensions = "".join(f"[{size}]" for size in values.shape)
    return Table(name, comment, rom_type(holding), dimensions, _rows(values, holding, 4))


def unsigned_table(
    name: str, comment: str, values: "np.ndarray[tuple[int, ...], np.dtype[np.uint64]]", bits: int
) -> Table:
    """A constant array of packed words."""
    dimensions = "".join(f"[{size}]" for size in values.shape)
    return Table(
        name,
        comment,
        f"flow::rom_uint<{bits}>",
        dimensions,
        _rows(values, IntType(bits, signed=False), 4, hexadecimal=True),
    )


def _rows(
    values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
    element: IntType,
    indent: int,
    *,
    hexadecimal: bool = False,
) -> list[str]:
    pad = " " * indent
    if values.ndim == 1:
        words = [_literal(int(v), element, hexadecimal=hexadecimal) for v in values.tolist()]
        return _wrapped(words, pad)
    lines: list[str] = []
    for row in values:
        inner = _rows(row, element, indent + 4, hexadecimal=hexadecimal)
        if len(inner) == 1:
            lines.append(f"{pad}{{{inner[0].strip().rstrip(',')}}},")
        else:
            lines += [f"{pad}{{", *inner, f"{pad}}},"]
    return lines


def _literal(value: int, element: IntType, *, hexadecimal: bool) -> str:
    suffix = ("" if element.signed else "U") + ("LL" if element.bits > 31 else "")
    if hexadecimal:
        return f"0x{value:x}{'ULL' if element.bits > 31 else ''}"
    return f"{value}{suffix if element.bits > 31 else ''}"


def _wrapped(words: Iterable[str], pad: str) -> list[str]:
    lines, line = [], pad
    for word in words:
        if len(line) + len(word) + 2 > _WIDTH and line.strip():
            lines.append(line.rstrip())
            line = pad
        line += word + ", "
    return [*lines, line.rstrip()]
