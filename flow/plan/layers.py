# SPDX-License-Identifier: Apache-2.0
"""The dataflow graph as layers: a product with the step function behind it is one piece of hardware."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from flow.errors import Unsupported, UnsupportedModelError
from flow.ir.dataflow import DataflowGraph, Dense, Flatten, Source, Step, TensorType, infer_types
from flow.ir.step_forms import Certificate, Form, candidates, prove
from flow.ir.types import Bipolar


@dataclass(frozen=True, slots=True)
class Layer:
    """One process of the design.

    Attributes:
        name: Of the tensor that it makes.
        dense: Its matrix product, if it has one.
        step: Its step function, if it has one.
        x: The type of what it reads, flat.
        acc: The type of what its product gives; that of ``x`` without a product.
        y: The type of what it makes.
        forms: The forms in which its step function can be built, each with its proof; empty without one.
    """

    name: str
    dense: Dense | None
    step: Step | None
    x: TensorType
    acc: TensorType
    y: TensorType
    forms: Mapping[str, tuple[Form, Certificate]]

    @property
    def kind(self) -> str:
        return "dense" if self.dense is not None else "step"

    @property
    def inputs(self) -> int:
        """Elements that one output is computed from."""
        return int(self.dense.weight.shape[0]) if self.dense is not None else 1

    @property
    def outputs(self) -> int:
        """Channels: outputs of the product, or elements of a frame of a bare step function."""
        if self.dense is not None:
            return int(self.dense.weight.shape[1])
        return prod(self.x.shape)

    @property
    def positions(self) -> int:
        """How many times the product is applied in a frame."""
        return prod(self.x.shape[:-1]) if self.dense is not None else 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a frame."""
        return self.positions * self.inputs * self.outputs if self.dense is not None else 0

    @property
    def xnor(self) -> bool:
        """Whether both operands of the product are bipolar."""
        return (
            self.dense is not None
            and isinstance(self.dense.weight_type, Bipolar)
            and isinstance(self.x.element, Bipolar)
        )


def layers_of(graph: DataflowGraph) -> tuple[Layer, ...]:
    """The layers of a chain, in order.

    Raises:
        UnsupportedModelError: A tensor has two readers.
        ExactnessError: A form differs from its step function (a defect of this program).
    """
    types = infer_types(graph)
    branched = [name for name, users in graph.users.items() if len(users) > 1]
    if branched:
        raise UnsupportedModelError(
            [
                Unsupported((n,), "branch", "two layers read it", "this version builds chains of layers")
                for n in branched
            ]
        )
    layers: list[Layer] = []
    pending: Dense | None = None
    for node in graph.nodes:
        match node:
            case Dense():
                if pending is not None:
                    layers.append(_layer(pending, None, types))
                pending = node
            case Step() if pending is not None and node.x == pending.name:
                layers.append(_layer(pending, node, types))
                pending = None
            case Step():
                layers.append(_layer(None, node, types))
            case Source() | Flatten():
                pass
    if pending is not None:
        layers.append(_layer(pending, None, types))
    return tuple(layers)


def _layer(dense: Dense | None, step: Step | None, types: dict[str, TensorType]) -> Layer:
    first = dense if dense is not None else step
    last = step if step is not None else dense
    assert first is not None
    assert last is not None
    x = types[first.x]
    forms = {form.name: (form, prove(step, form)) for form in candidates(step)} if step is not None else {}
    return Layer(last.name, dense, step, x, types[dense.name] if dense else x, types[last.name], forms)
