# SPDX-License-Identifier: Apache-2.0
"""Graphs as text that parses back to the same graph.

One node a line, ``%name = Op(field=value, ...)``, and a last line ``return %a, %b``. Small arrays are written
out; large ones are compressed (``zlib:`` and base 85), with their range beside them for the reader.
"""

import ast
import base64
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

import numpy as np

from flow.errors import VerifyError
from flow.ir.dataflow import DATAFLOW_OPS
from flow.ir.graph import Graph, Node
from flow.ir.model import MODEL_OPS
from flow.ir.rounding import Rounding
from flow.ir.types import Bipolar, IntType, parse_type
from flow.ir.window import Window, parse_window

_SMALL = 16
_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    AssertionError,
    IndexError,
    OverflowError,
    AttributeError,
    zlib.error,
)
"""What reading a wrong line can raise."""
_OPS: dict[str, type[Node]] = {op.__name__: op for op in (*MODEL_OPS, *DATAFLOW_OPS)}
_ENUMS = {"Rounding": Rounding}


def print_graph(graph: Graph[Any]) -> str:
    """The text of a graph of either language."""
    lines = [_print_node(node) for node in graph.nodes]
    return "\n".join([*lines, "return " + ", ".join(_name(name) for name in graph.outputs)]) + "\n"


def parse_graph(text: str) -> Graph[Any]:
    """The graph that prints as ``text``; VerifyError names the line that is wrong."""
    nodes: list[Node] = []
    outputs: tuple[str, ...] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            if line.startswith("return "):
                outputs = tuple(json.loads(name[1:]) for name in _split_names(line[len("return ") :]))
            else:
                nodes.append(_parse_node(line))
        except _MALFORMED as error:
            raise VerifyError(f"line {number}: {error}: {line[:80]}") from error
    if outputs is None:
        raise VerifyError("the text has no line 'return ...'")
    return Graph(tuple(nodes), outputs)


def _name(name: str) -> str:
    return "%" + json.dumps(name, ensure_ascii=False)


def _print_node(node: Node) -> str:
    parts = [
        f"{f.name}={_print_operand(value) if f.name in node.operands else _print_value(value)}"
        for f in fields(node)
        if f.name != "name"
        for value in [getattr(node, f.name)]
    ]
    return f"{_name(node.name)} = {type(node).__name__}({', '.join(parts)})"


def _print_operand(value: str | tuple[str, ...]) -> str:
    return _name(value) if isinstance(value, str) else f"({''.join(f'{_name(v)}, ' for v in value)})"


def _print_value(value: Any) -> str:
    match value:
        case Window():
            return f"window('{value}')"
        case np.ndarray():
            return _print_array(value)
        case IntType() | Bipolar():
            return f"type('{value}')"
        case Enum():
            return f"{type(value).__name__}('{value.value}')"
        case float():
            return f"real('{value.hex()}')" if np.isfinite(value) else f"real('{value}')"
        case _:
            return repr(value)


def _print_array(array: np.ndarray[Any, Any]) -> str:
    kind, shape = array.dtype.name, list(array.shape)
    if array.size <= _SMALL:
        flat = array.reshape(-1).tolist()
        values = [v.hex() if np.isfinite(v) else str(v) for v in flat] if kind.startswith("float") else flat
        return f"array('{kind}', {shape}, {values})"
    packed = base64.b85encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode()
    return f"array('{kind}', {shape}, 'zlib:{packed}', least={array.min()}, greatest={array.max()})"


def _parse_node(line: str) -> Node:
    match = re.match(r'%("(?:[^"\\]|\\.)*") = (\w+)\(', line)
    if match is None:
        raise ValueError("expected '%\"name\" = Op(...)'")
    operation = _OPS[match[2]]
    body = _as_python(line[match.end(2) :])
    call = ast.parse("f" + body, mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError("expected an operation")
    values = {str(k.arg): _value(k.value) for k in call.keywords}
    return operation(json.loads(match[1]), **values)


def _as_python(text: str) -> str:
    """The text without the % in front of names; a % inside a text (packed data, a hostile name) stays."""
    kept: list[str] = []
    quote = ""
    place = 0
    while place < len(text):
        letter = text[place]
        if quote and letter == "\\":
            kept.append(text[place : place + 2])
            place += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "%":
            place += 1
            continue
        kept.append(letter)
        place += 1
    return "".join(kept)


def _value(tree: ast.expr) -> Any:
    if not isinstance(tree, ast.Call):
        return ast.literal_eval(tree)
    assert isinstance(tree.func, ast.Name)
    arguments = [ast.literal_eval(a) for a in tree.args]
    match tree.func.id:
        case "type":
            return parse_type(arguments[0])
        case "real":
            return _real(arguments[0])
        case "window":
            return parse_window(arguments[0])
        case "array":
            return _array(*arguments)
        case enum:
            return _ENUMS[enum](arguments[0])


def _real(text: str) -> float:
    return float.fromhex(text) if "0x" in text else float(text)


def _array(kind: str, shape: Sequence[int], data: str | list[Any]) -> np.ndarray[Any, Any]:
    if isinstance(data, str):
        raw = zlib.decompress(base64.b85decode(data.removeprefix("zlib:")))
        return np.frombuffer(raw, kind).reshape(shape).copy()
    values = [_real(v) for v in data] if kind.startswith("float") else data
    return np.array(values, kind).reshape(shape)


def _split_names(text: str) -> list[str]:
    names = re.findall(r'%"(?:[^"\\]|\\.)*"', text)
    if ", ".join(names) != text.strip():
        raise ValueError("expected names after 'return'")
    return names
