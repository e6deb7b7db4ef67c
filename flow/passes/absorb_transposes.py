# SPDX-License-Identifier: Apache-2.0
"""Keep every activation in the order of axes in which it is made and read: transpositions vanish in between.

A file with channels first transposes around every convolution. Here each tensor is followed as a stored tensor
and the order in which its axes are meant; elementwise operations work on the stored one, their parameters
transposed. What needs a certain order (a window, a matrix product, a reshape, the output) gets it, which
is the stored one nearly everywhere. Where nothing needs one, padding, resizing, pooling over all pixels, joins and
parameters show which axis holds the channels, and the input is stored with it last.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import prod

import numpy as np

from flow.ir.graph import Graph
from flow.ir.model import (
    ArgMax,
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Input,
    LeakyRelu,
    MatMul,
    ModelGraph,
    ModelOp,
    Pad,
    Permute,
    Pool,
    Quant,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
    Unary,
    Upsample,
    constants,
)
from flow.ir.model_rules import infer_shapes
from flow.ir.types import Reals

_ANY_ORDER = (
    Unary,
    Clip,
    LeakyRelu,
    BatchNorm,
    Quant,
    BipolarQuant,
    Binary,
    Concat,
    Slice,
    Permute,
    Pad,
    Upsample,
    Reduce,
)
"""What works on the axes in whatever order they are stored, and leaves them in it."""
_CHANNELS_LAST = (Conv, ConvTranspose, Pool, DepthToSpace, SpaceToDepth, MatMul)
"""What needs the channels last."""
_IMAGES = (2, 3)  # axes of a sequence, of an image


def absorb_transposes(graph: ModelGraph) -> ModelGraph:
    """The input is transposed at once, into the order that its first reader wants; the output keeps its order."""
    result = _Absorber(graph, constants(graph)).run()
    return graph if result.same(graph) else result


class _Absorber:
    def __init__(self, graph: ModelGraph, parameters: set[str]) -> None:
        self.graph = graph
        self.parameters = parameters
        self.shapes = infer_shapes(graph)
        self.nodes: list[ModelOp] = []
        # of every activation: the tensor that is stored, and for each of its axes the axis there
        self.stored: dict[str, tuple[str, Shape]] = {}
        self.moved: dict[tuple[str, Shape], str] = {}
        self.taken = {node.name for node in graph.nodes}

    def run(self) -> ModelGraph:
        for node in self.graph.nodes:
            if node.name in self.parameters:
                self.nodes.append(node)
            elif isinstance(node, Input):
                self._input(node)
            elif isinstance(node, Transpose):
                name, axes = self.stored[node.x]
                self.stored[node.name] = name, tuple(axes[axis] for axis in node.order)
            else:
                self._operation(node)
        return Graph(*self._with_outputs())

    def _input(self, node: Input) -> None:
        self.nodes.append(node)
        plain = _plain(node.shape)
        self.stored[node.name] = node.name, plain
        readers = list(self._readers(node.name, plain))
        needed = (order for user, order in readers if isinstance(user, _CHANNELS_LAST))
        shown = (
            (*order[:axis], *order[axis + 1 :], order[axis])
            for user, order in readers
            if (axis := self._channel_axis(user)) is not None
        )
        order = next(needed, None) or next(shown if len(plain) in _IMAGES else iter(()), plain)
        if order != plain:
            self.stored[node.name] = self._transposed(node.name, node.name, order), _inverse(order)

    def _readers(self, name: str, order: Shape) -> Iterator[tuple[ModelOp, Shape]]:
        """What reads the input, or what is behind it with as many axes, and the order of its axes in which it does.

        Args:
            name: A tensor behind transpositions and operations on the input that take any order.
            order: What the transpositions made of the axes so far.
        """
        seen = set()
        waiting = [(user, order) for user in reversed(self.graph.users[name])]
        while waiting:
            user, order = waiting.pop()
            if user.name in seen:
                continue
            seen.add(user.name)
            yield user, order
            if isinstance(user, Transpose):
                order = tuple(order[axis] for axis in user.order)
            if isinstance(user, (Transpose, *_ANY_ORDER)) and len(self.shapes[user.name]) == len(order):
                waiting += [(each, order) for each in reversed(self.graph.users[user.name])]

    def _channel_axis(self, node: ModelOp) -> int | None:
        """Along which axis of what it reads an operation in any order has its channels; None where it does not show.

        Of several axes that are left alone it is the first, which ONNX has the channels in.
        """
        match node:
            case Concat(axis=axis) | Permute(axis=axis):
                return axis
            case Pad(before=before, after=after):
                return _left_alone([bool(b or a) for b, a in zip(before, after, strict=True)])
            case Upsample(factors=factors):
                return _left_alone([factor > 1 for factor in factors])
            case Reduce(axes=axes, x=x):
                apart = set(range(len(self.shapes[x]))) - set(axes)
                return apart.pop() if len(apart) == 1 else None
            case Quant() | BipolarQuant():
                parameters = [node.scale.shape, node.zero_point.shape]
            case BatchNorm(gamma=gamma):
                parameters = [gamma.shape]
            case LeakyRelu(slope=slope):
                parameters = [slope.shape]
            case Binary():
                parameters = [self.shapes[name] for name in node.inputs if name in self.parameters]
            case _:
                return None
        rank = len(self.shapes[node.name])
        varying = {rank - len(shape) + axis for shape in parameters for axis, size in enumerate(shape) if size > 1}
        return varying.pop() if len(varying) == 1 else None

    def _operation(self, node: ModelOp) -> None:
        activations = [name for name in node.inputs if name not in self.parameters]
        axes = self.stored[activations[0]][1]
        match node:
            case Unary() | Clip() | LeakyRelu() | BatchNorm() | Quant() | BipolarQuant():
                self._keep(_with_parameters(node, axes), activations, axes)
            case Binary():
                self._binary(node, activations)
            case Concat(axis=axis):
                renamed = {name: self._parameter(name, axes) for name in node.inputs if name in self.parameters}
                xs = tuple(renamed.get(name, name) for name in node.xs)
                self._keep(replace(node, xs=xs, axis=axes[axis]), activations, axes)
            case Permute(axis=axis):
                self._keep(replace(node, axis=axes[axis]), activations, axes)
            case Softmax(axis=axis):
                self._keep(replace(node, axis=axes[axis]), activations, axes)
            case Slice(start=start, stop=stop, step=step):
                moved = replace(node, start=_to(start, axes), stop=_to(stop, axes), step=_to(step, axes))
                self._keep(moved, activations, axes)
            case Pad(before=before, after=after):
                self._keep(replace(node, before=_to(before, axes), after=_to(after, axes)), activations, axes)
            case Upsample(factors=factors):
                self._keep(replace(node, factors=_to(factors, axes)), activations, axes)
            case Reduce(axes=gone, keep=keep):
                moved_axes = tuple(sorted(axes[axis] for axis in gone))
                self._keep(replace(node, axes=moved_axes), activations, axes, () if keep else gone)
            case ArgMax(axis=axis, keep=keep):
                self._keep(replace(node, axis=axes[axis]), activations, axes, () if keep else (axis,))
            case _:  # it works on the axes as they are meant
                plain = {name: self._in_order(name, _plain(self.shapes[name])) for name in activations}
                self.nodes.append(node.with_inputs(plain))  # type: ignore[arg-type]
                self.stored[node.name] = node.name, _plain(self.shapes[node.name])

    def _keep(self, node: ModelOp, activations: list[str], axes: Shape, gone: Iterable[int] = ()) -> None:
        """Adds a node that works on stored tensors, and leaves the axes where they are."""
        arranged = {name: self._in_order(name, axes) for name in activations}
        self.nodes.append(node.with_inputs(arranged))  # type: ignore[arg-type]
        kept = [axis for place, axis in enumerate(axes) if place not in set(gone)]
        self.stored[node.name] = node.name, tuple(sorted(kept).index(axis) for axis in kept)

    def _binary(self, node: Binary, activations: list[str]) -> None:
        rank = len(self.shapes[node.name])
        if any(len(self.shapes[name]) != rank for name in activations):  # broadcast from fewer axes: as it is meant
            plain = {name: self._in_order(name, _plain(self.shapes[name])) for name in activations}
            self.nodes.append(node.with_inputs(plain))  # type: ignore[arg-type]
            self.stored[node.name] = node.name, _plain(self.shapes[node.name])
            return
        greatest = max(activations, key=lambda name: prod(self.shapes[name]))
        axes = self.stored[greatest][1]
        renamed = {name: self._parameter(name, axes) for name in node.inputs if name in self.parameters}
        self._keep(node.with_inputs(renamed), activations, axes)  # type: ignore[arg-type]

    def _parameter(self, name: str, axes: Shape) -> str:
        shape = self.shapes[name]
        if axes == _plain(axes) or prod(shape) == 1:
            return name
        whole = (1,) * (len(axes) - len(shape)) + shape
        key = (name, axes)
        if key not in self.moved:
            source = name
            if whole != shape:
                source = self._fresh(f"{name}:shaped")
                self.nodes.append(Reshape(source, name, whole))
            self.moved[key] = self._fresh(f"{name}:arranged")
            self.nodes.append(Transpose(self.moved[key], source, _inverse(axes)))
        return self.moved[key]

    def _in_order(self, name: str, wanted: Shape) -> str:
        """The tensor stored so that its axis ``i`` is axis ``wanted[i]`` there."""
        stored, axes = self.stored[name]
        order = tuple(axes[place] for place in _inverse(wanted))
        return stored if order == _plain(order) else self._transposed(stored, name, order)

    def _transposed(self, stored: str, name: str, order: Shape) -> str:
        """The stored tensor with its axes in another order: a reshape where only axes of size one change places."""
        key = (stored, order)
        if key not in self.moved:
            axes = self.stored[name][1]
            shape = _to(self.shapes[name], axes)
            self.moved[key] = self._fresh(f"{stored}:arranged")
            moving = [axis for axis in order if shape[axis] > 1]
            if moving == sorted(moving):
                self.nodes.append(Reshape(self.moved[key], stored, tuple(shape[axis] for axis in order)))
            else:
                self.nodes.append(Transpose(self.moved[key], stored, order))
        return self.moved[key]

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name

    def _with_outputs(self) -> tuple[tuple[ModelOp, ...], tuple[str, ...]]:
        """The nodes, each output under its own name in the order in which it is meant."""
        for output in self.graph.outputs:
            stored, axes = self.stored[output]
            if stored == output and axes == _plain(axes):
                continue
            wanted = self._in_order(output, _plain(axes))
            inner = self._fresh(f"{output}:stored")
            renamed = {output: inner} if any(node.name == output for node in self.nodes) else {}
            self.nodes = [
                replace(node, name=inner) if node.name in renamed else node.with_inputs(renamed)  # type: ignore[misc]
                for node in self.nodes
            ]
            wanted = renamed.get(wanted, wanted)
            last = next(node for node in self.nodes if node.name == wanted)
            alone = not any(wanted in node.inputs for node in self.nodes)
            if wanted in self.moved.values() and alone:
                self.nodes[self.nodes.index(last)] = replace(last, name=output)
            else:
                self.nodes.append(Unary(output, "identity", wanted))
        return tuple(self.nodes), self.graph.outputs


def _left_alone(touched: list[bool]) -> int | None:
    """The axis that holds the channels, where an operation works on the others; None where it works on none, or all."""
    if not any(touched) or all(touched):
        return None
    return 0 if not touched[0] else len(touched) - 1 if not touched[-1] else None


def _plain(shape: Shape) -> Shape:
    return tuple(range(len(shape)))


def _inverse(order: Shape) -> Shape:
    return tuple(int(i) for i in np.argsort(order))


def _to(values: tuple[int, ...], axes: Shape) -> tuple[int, ...]:
    """What belongs to each axis as it is meant, by the axes of the stored tensor."""
    return tuple(values[place] for place in _inverse(axes))


def _with_parameters(node: ModelOp, axes: Shape) -> ModelOp:
    if axes == _plain(axes):
        return node
    match node:
        case LeakyRelu():
            return replace(node, slope=_arranged(node.slope, axes))
        case BatchNorm():
            return replace(
                node,
                gamma=_arranged(node.gamma, axes),
                beta=_arranged(node.beta, axes),
                mean=_arranged(node.mean, axes),
                variance=_arranged(node.variance, axes),
            )
        case Quant() | BipolarQuant():
            return replace(node, scale=_arranged(node.scale, axes), zero_point=_arranged(node.zero_point, axes))
        case _:
            return node


def _arranged(array: Reals, axes: Shape) -> Reals:
    if array.size == 1:
        return array
    whole = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
    return whole.transpose(_inverse(axes)).copy()
