# SPDX-License-Identifier: Apache-2.0
"""A graph of named values, shared by both languages. A node is named like the one tensor that it makes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from flow.errors import VerifyError
from flow.ir.types import freeze


@dataclass(frozen=True, eq=False)
class Node:
    """One operation; ``name`` is also the name of its result. ``operands`` are the fields that name tensors."""

    operands: ClassVar[tuple[str, ...]] = ()

    name: str

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                freeze(value)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that it reads; a field may name several."""
        found: list[str] = []
        for field in self.operands:
            value = getattr(self, field)
            found += [value] if isinstance(value, str) else value
        return tuple(found)

    def with_inputs(self, renamed: Mapping[str, str]) -> "Node":
        """The same operation on renamed tensors; the same object where nothing changes."""
        if not any(name in renamed for name in self.inputs):
            return self
        changes: dict[str, str | tuple[str, ...]] = {}
        for field in self.operands:
            value = getattr(self, field)
            changes[field] = (
                renamed.get(value, value) if isinstance(value, str) else tuple(renamed.get(n, n) for n in value)
            )
        return replace(self, **changes)  # type: ignore[arg-type]

    def same(self, other: object) -> bool:
        """Equality of every field, arrays by content."""
        return type(self) is type(other) and all(
            _same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return np.array_equal(left, right) and left.dtype == right.dtype
    return bool(left == right)


N = TypeVar("N", bound=Node)


@dataclass(frozen=True)
class Graph(Generic[N]):
    """Nodes in an order in which they can be evaluated, and the tensors that leave."""

    nodes: tuple[N, ...]
    outputs: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, N]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def users(self) -> dict[str, tuple[N, ...]]:
        """The nodes that read each tensor, in order."""
        users: dict[str, list[N]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in users.items()}

    def __getitem__(self, name: str) -> N:
        return self.by_name[name]

    def check_wiring(self) -> None:
        """Every name once, every operand defined before it is read, every output defined; else VerifyError."""
        problems, seen = [], set[str]()
        for node in self.nodes:
            problems += [
                f"'{node.name}' reads '{name}', which is not defined before it"
                for name in node.inputs
                if name not in seen
            ]
            if node.name in seen:
                problems.append(f"'{node.name}' is defined twice")
            seen.add(node.name)
        problems += [f"output '{name}' is not defined" for name in self.outputs if name not in seen]
        if problems:
            raise VerifyError("\n".join(problems))

    def map(self, function: Callable[[N], N]) -> "Graph[N]":
        """The graph with each node replaced by ``function(node)``; the same object where nothing changes."""
        nodes = tuple(function(node) for node in self.nodes)
        if all(new is old for new, old in zip(nodes, self.nodes, strict=True)):
            return self
        return replace(self, nodes=nodes)

    def without(self, bypassed: Mapping[str, str]) -> "Graph[N]":
        """The graph without the nodes that ``bypassed`` names, their readers reading what it maps them to."""
        if not bypassed:
            return self
        final = {name: _follow(bypassed, name) for name in bypassed}
        nodes = tuple(node.with_inputs(final) for node in self.nodes if node.name not in bypassed)
        return Graph(nodes, tuple(final.get(name, name) for name in self.outputs))  # type: ignore[arg-type]

    def ancestors(self, name: str, *, stop: Iterable[str] = ()) -> "tuple[N, ...]":
        """The nodes that ``name`` depends on, itself last; those in ``stop`` are left out."""
        wanted, stops = {name}, set(stop)
        for node in reversed(self.nodes):
            if node.name in wanted and node.name not in stops:
                wanted.update(node.inputs)
        return tuple(node for node in self.nodes if node.name in wanted and node.name not in stops)

    def same(self, other: "Graph[N]") -> bool:
        """Equality of every node and of the outputs."""
        return (
            self.outputs == other.outputs
            and len(self.nodes) == len(other.nodes)
            and all(a.same(b) for a, b in zip(self.nodes, other.nodes, strict=True))
        )


def _follow(renamed: Mapping[str, str], name: str) -> str:
    while name in renamed:
        name = renamed[name]
    return name
