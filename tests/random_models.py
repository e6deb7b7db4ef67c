# SPDX-License-Identifier: Apache-2.0
"""Random small dense QONNX models, and inputs for them.

One construction, two sources of choices: ``random_model(seed)`` draws from a numpy Generator (thousands of
graphs in seconds), ``models()`` draws from hypothesis (graphs that shrink). In about half of the models every
number is dyadic and the activation scales lie close to the accumulators' grid, so that ties are frequent.

The tensor that enters a graph is always ``x``, the one that leaves it ``y``; the declared batch size is 1
(``set_batch`` gives a copy with another one).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")

QUANT_DOMAIN = "qonnx.custom_op.general"
# what qonnx 1.0.0 executes; it does not know ROUND_TO_ZERO, which Brevitas writes and which equals DOWN
MODES = ("ROUND", "HALF_EVEN", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
ALL_MODES = (*MODES, "ROUND_TO_ZERO")
# inputs of models without an input Quant are multiples of 2**-10 in [-32, 32): fixed<16,6>
GRID_BITS, GRID_LIMIT = 10, 32
SHAPE_OPERATORS = ("Identity", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Dropout", "Cast")


# ---------------------------------------------------------------------------------------- sources of choices


class Source(Protocol):
    """Where the choices come from. Smaller integers are simpler: hypothesis shrinks towards them."""

    def integer(self, low: int, high: int) -> int: ...

    def integers(self, low: int, high: int, count: int) -> np.ndarray: ...


class NumpySource:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def integers(self, low: int, high: int, count: int) -> np.ndarray:
        return self.rng.integers(low, high, count, endpoint=True)


class HypothesisSource:
    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def integers(self, low: int, high: int, count: int) -> np.ndarray:
        if count <= 16:  # one by one, so that they shrink
            return np.array([self.integer(low, high) for _ in range(count)], dtype=np.int64)
        rng = np.random.default_rng(self.integer(0, 2**32 - 1))
        return rng.integers(low, high, count, endpoint=True)


def choice(src: Source, options: Sequence[T]) -> T:
    return options[src.integer(0, len(options) - 1)]


def chance(src: Source, percent: int) -> bool:
    return src.integer(0, 99) >= 100 - percent


def weighted(src: Source, options: dict[T, int]) -> T:
    """One of the options, each as often as its weight says; the first is the simplest."""
    at = src.integer(0, sum(options.values()) - 1)
    for option, weight in options.items():
        if at < weight:
            return option
        at -= weight
    raise AssertionError("the weights add up")


# ---------------------------------------------------------------------------------------------- construction


class Graph:
    """An ONNX graph under construction, and what is known about its current tensor ``at``."""

    def __init__(self, src: Source, modes: Sequence[str]) -> None:
        self.src = src
        self.modes = modes
        self.dyadic = not chance(src, 40)  # every number of the model is dyadic, with few bits
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.infos: list[onnx.ValueInfoProto] = []
        self.count = 0
        self.at = "x"
        self.shape: list[int] = []
        self.magnitude = 1.0  # about the greatest value
        self.grid = 2.0**-6  # dyadic models: every value is a multiple of this, as far as that is known
        self.irrational = False  # a root has been taken since the last Quant

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, value: Any, stem: str, dtype: Any = np.float32) -> str:
        name = self.name(stem)
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def node(self, op: str, inputs: Sequence[str], shape: Sequence[int], stem: str = "t", **kw: Any) -> str:
        """Append a node; the name of its output."""
        out = self.name(stem)
        kind = kw.pop("elem_type", TensorProto.FLOAT)
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}_{self.count}", **kw))
        self.infos.append(helper.make_tensor_value_info(out, kind, list(shape)))
        return out

    def step(self, op: str, *others: str, first: bool = True, shape: Sequence[int] | None = None, **kw: Any) -> None:
        """Put a node behind the current tensor, which is its first input (or, if not ``first``, its last)."""
        self.shape = list(shape) if shape is not None else self.shape
        inputs = [self.at, *others] if first else [*others, self.at]
        self.at = self.node(op, inputs, self.shape, **kw)
        if chance(self.src, 4):
            self.at = self.node("Identity", [self.at], self.shape)

    # -- numbers

    def power_of_two(self, near: float, spread: int = 0) -> float:
        return 2.0 ** (math.floor(math.log2(near)) + self.src.integer(-spread, spread))

    def scale(self, near: float, spread: int = 1) -> float:
        """A scale of about this size: a power of two, or in models that are not dyadic mostly any float32."""
        base = self.power_of_two(near, spread)
        if self.dyadic or chance(self.src, 25):
            return base
        return float(np.float32(base * (1 + self.src.integer(0, 2**23 - 1) / 2**23)))

    def numbers(self, count: int, size: float, unit: float) -> np.ndarray:
        """Constants up to about ``size``: multiples of ``unit`` in dyadic models, else any float32."""
        if self.dyadic:
            steps = size / unit
            if steps > 64 and chance(self.src, 70):
                unit *= 2.0 ** self.src.integer(0, int(math.log2(steps)) - 5)
            limit = max(1, min(2**12, int(size / unit)))
            return (self.src.integers(-limit, limit, count) * unit).astype(np.float32)
        return (self.src.integers(-(2**23), 2**23, count) / 2**23 * size).astype(np.float32)

    def scalar_shape(self) -> list[int]:
        return choice(self.src, [[], [], [1]])

    # -- quantisers

    def quant_node(
        self, x: str, shape: Sequence[int], scale: Any, zero_point: Any, bits: int, signed: int, narrow: int
    ) -> str:
        mode = choice(self.src, self.modes) if chance(self.src, 60) else "ROUND"
        inputs = [
            x,
            self.constant(scale, "scale"),
            self.constant(zero_point, "zero_point"),
            self.constant(bits, "bits"),
        ]
        return self.node(
            "Quant", inputs, shape, "q", domain=QUANT_DOMAIN, signed=signed, narrow=narrow, rounding_mode=mode
        )

    def quantise(self) -> None:
        """An activation Quant (or BipolarQuant) behind the current tensor."""
        src = self.src
        if chance(src, 10):
            scale = self.scale(self.magnitude / 2)
            self.at = self.node(
                "BipolarQuant",
                [self.at, self.constant(np.full(self.scalar_shape(), scale), "scale")],
                self.shape,
                "q",
                domain=QUANT_DOMAIN,
            )
            self.magnitude, self.grid, self.irrational = scale, scale, False
            return
        bits = weighted(src, {4: 6, 2: 4, 3: 4, 8: 6, 1: 3, 5: 2, 6: 2, 7: 1, 9: 1, 10: 1, 11: 1, 12: 1})
        signed = src.integer(0, 1)
        narrow = int(chance(src, 30)) if (bits > 1 or signed) else int(chance(src, 5))
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        near = max(self.magnitude, 2.0**-20) / 2 ** max(bits - 1, 0)
        if self.dyadic and chance(src, 75):  # a step of few grid points: many ties, and much saturation
            scale = min(self.grid * 2 ** src.integer(1, 3), 8 * near)
            scale = 2.0 ** math.floor(math.log2(scale))
        else:
            scale = self.scale(near)
        scales: Any = np.full(self.scalar_shape(), scale)
        if chance(src, 12):  # per channel, in ratios that are powers of two
            scales = scale * 2.0 ** src.integers(-1, 2, self.shape[-1])
            scales = scales.reshape([1] * (len(self.shape) - 1) + [-1])
        zero_point: Any = 0
        if chance(src, 30):
            zero_point = src.integer(low, max(high, low))
        zero_point = np.full(self.scalar_shape(), zero_point)
        self.at = self.quant_node(self.at, self.shape, scales, zero_point, bits, signed, narrow)
        self.magnitude = max(float(np.max(scales)) * 2**bits / 2, 2.0**-20)
        self.grid, self.irrational = float(np.min(scales)), False
        if chance(src, 4):
            self.at = self.node("Identity", [self.at], self.shape)

    def weights(self, rows: int, columns: int, channel_axis: int) -> tuple[str, float, float]:
        """A quantised weight matrix: its tensor, about its greatest value, and its grid."""
        src = self.src
        shape = [rows, columns]
        n = rows * columns
        scale = self.scale(2.0 ** -src.integer(0, 6))
        scales: Any = np.full(self.scalar_shape(), scale)
        if chance(src, 40):
            ratios = 2.0 ** src.integers(-2, 1, shape[channel_axis])
            if not self.dyadic:
                ratios = ratios * (1 + src.integers(0, 2**10, shape[channel_axis]) / 2**10)
            scales = scale * ratios.reshape([-1, 1] if channel_axis == 0 else [1, -1])
        scales = scales.astype(np.float32)
        greatest, least = float(scales.max()), float(scales.min())
        if chance(src, 15):
            values = (src.integers(-3, 3, n).reshape(shape) * np.float32(least)).astype(np.float32)
            inputs = [self.constant(values, "weight"), self.constant(scales, "scale")]
            return self.node("BipolarQuant", inputs, shape, "w", domain=QUANT_DOMAIN), greatest, least
        bits = weighted(src, {4: 5, 2: 5, 3: 3, 8: 5, 1: 4, 5: 1, 6: 2, 7: 1, 9: 1, 10: 1, 11: 1, 12: 1})
        # Up to a fifth beyond the range. On steps and ties they are exact in dyadic models; in others float32
        # sets them next to a boundary, where qonnx's executor goes astray: mostly they keep away from there.
        near = self.dyadic or chance(src, 15)
        parts, offset = (choice(src, [1, 2, 8]), 0.0) if near else (choice(src, [1, 7]), 1 / 3)
        limit = max(1, int(parts * 2 ** (bits - 1) * 1.2))
        values = ((src.integers(-limit, limit, n).reshape(shape) + offset) / parts * scales).astype(np.float32)
        zero_point = src.integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if chance(src, 10) else 0
        narrow = int(chance(src, 50))
        zero = np.full(self.scalar_shape(), zero_point)
        weight = self.quant_node(self.constant(values, "weight"), shape, scales, zero, bits, 1, narrow)
        return weight, greatest * 2 ** (bits - 1) * (2 if zero_point else 1), least

    # -- layers

    def dense(self, outputs: int) -> None:
        """A matrix product with quantised weights, and perhaps a bias."""
        src = self.src
        inputs = self.shape[-1]
        form = choice(src, ["MatMul", "Gemm transB", "MatMul Transpose", "Gemm"])
        by_rows = form in ("Gemm transB", "MatMul Transpose")  # the matrix is stored as (outputs, inputs)
        if by_rows:
            w, size, grid = self.weights(outputs, inputs, 0)
        else:
            w, size, grid = self.weights(inputs, outputs, 1)
        self.magnitude = max(self.magnitude * size * math.sqrt(inputs), 2.0**-20)
        self.grid *= grid
        shape = [1, outputs]
        bias_kind = weighted(src, {"none": 4, "float": 4, "quantised": 2})
        bias = None
        if bias_kind != "none":
            # a dyadic bias keeps the grid, or halves it
            values = self.numbers(outputs, self.magnitude, self.grid / src.integer(1, 2))
            bias = self.constant(values, "bias")
            if bias_kind == "quantised":
                bits = choice(src, [8, 4, 6, 16])
                scale = self.scale(self.magnitude / 2**bits) if chance(src, 50) else self.grid
                bias = self.quant_node(bias, [outputs], np.float32(scale), 0, bits, 1, int(chance(src, 20)))
        if form.startswith("Gemm"):
            attributes: dict[str, Any] = {"transB": int(by_rows)} if by_rows or chance(src, 50) else {}
            if chance(src, 8):
                attributes["alpha"] = choice(src, [0.5, 2.0, 0.75])
            if chance(src, 8):
                attributes["beta"] = choice(src, [0.5, 2.0, -1.0])
            inside = bias is not None and chance(src, 70)
            self.step("Gemm", w, *([bias] if inside and bias else []), shape=shape, **attributes)
            bias = None if inside else bias
        else:
            if by_rows:
                w = self.node("Transpose", [w], [inputs, outputs], "w", perm=[1, 0])
            self.step("MatMul", w, shape=shape)
        if bias is not None:
            self.step("Add", bias, first=chance(src, 70))

    def affine(self) -> None:
        """Add, Sub, Mul or Div by a constant, scalar or per channel, in either order."""
        src = self.src
        op = choice(src, ["Mul", "Add", "Sub", "Div"])
        count = self.shape[-1] if chance(src, 50) else 1
        shape = ([count], [1, count])[src.integer(0, 1)] if count > 1 else self.scalar_shape()
        if op in ("Add", "Sub"):
            values = self.numbers(count, self.magnitude / 2, self.grid)
            self.step(op, self.constant(values.reshape(shape), "c"), first=not chance(src, 40))
            return
        factors = 2.0 ** src.integers(-2, 2, count)
        if not self.dyadic:
            factors = factors * (1 + src.integers(0, 2**20, count) / 2**20)
        elif op == "Mul" and chance(src, 30):
            factors = factors * 3
        if chance(src, 25):
            factors = -factors
        c = self.constant(factors.reshape(shape), "c")
        self.step(op, c, first=op == "Div" or not chance(src, 40))
        sizes = 1 / np.abs(factors) if op == "Div" else np.abs(factors)
        self.grid *= float(sizes.min())
        self.magnitude *= float(sizes.max())

    def batch_normalization(self) -> None:
        src = self.src
        n = self.shape[-1]
        m = self.magnitude
        epsilon = choice(src, [1e-5, 2.0**-10, 1e-3])
        mean = self.numbers(n, m / 4, self.grid)
        if self.dyadic and chance(src, 60):  # a rational root: var + epsilon is a power of four
            epsilon = 2.0**-10
            power = min(max(math.floor(math.log2(m)), -3), 6)
            var = 4.0 ** (power + src.integers(-1, 1, n)) - epsilon
        else:
            var = src.integers(1, 2**12, n) / 2**12 * m * m
        gamma = self.numbers(n, 2.0, 0.25)
        gamma = np.where(gamma == 0, np.float32(1), gamma)
        beta = self.numbers(n, 1.0, 2.0**-4)
        parameters = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        names = [self.constant(value, stem) for stem, value in parameters.items()]
        self.step("BatchNormalization", *names, epsilon=epsilon)
        factors = np.abs(gamma) / np.sqrt(var + epsilon)
        self.magnitude, self.irrational = max(m * float(factors.max()), 1.0), True
        self.grid = min(self.grid * 2.0 ** math.floor(math.log2(factors.min())), 2.0**-4)

    def activation(self) -> None:
        src = self.src
        op = weighted(src, {"none": 3, "Relu": 4, "Clip": 2, "LeakyRelu": 1, "Sigmoid": 1, "Tanh": 1})
        if op == "Clip":
            low, high = choice(src, [(-1.0, 1.0), (0.0, 6.0), (-0.5, 2.0), (None, 1.0), (0.0, None)])
            bounds = [("" if v is None else self.constant(v, "bound")) for v in (low, high)]
            self.step("Clip", *(bounds if bounds[1] else bounds[:1]))
            self.magnitude = min(self.magnitude, 6.0)
        elif op == "LeakyRelu":
            self.step(op, alpha=choice(src, [0.125, 0.01, 0.5, 0.1]))
            self.grid /= 8
        elif op != "none":
            self.step(op)
            if op != "Relu":
                self.magnitude, self.grid = 1.0, 2.0**-6

    def post(self) -> None:
        """What stands between a product and the next Quant."""
        src = self.src
        for kind in (weighted(src, {"none": 5, "affine": 2, "norm": 3}) for _ in range(src.integer(0, 2))):
            # two roots could make a rational number in a way that intervals never prove: one is enough
            if kind == "norm" and not self.irrational:
                self.batch_normalization()
            elif kind == "affine":
                self.affine()
        self.activation()
        if chance(src, 10):
            self.affine()

    def front(self) -> None:
        """The input, its Quant, and a Flatten or Reshape before or behind it."""
        src = self.src
        style = weighted(src, {"flat": 6, "Flatten": 2, "Reshape": 2, "view": 1, "Squeeze": 1})
        size = src.integer(1, 12)
        self.shape = [1, size]
        if style in ("Flatten", "Reshape", "view"):
            a, b = choice(src, [(1, 4), (2, 3), (3, 2), (2, 2), (3, 4), (2, 5), (1, 1)])
            self.shape, size = [1, a, b], a * b
        elif style == "Squeeze":
            self.shape = [1, 1, size]
        self.input_shape = list(self.shape)
        early = chance(src, 50)
        if early:
            self.first_quant()
        if chance(src, 8):
            self.step("Identity")
        if style == "Flatten":
            self.step("Flatten", shape=[1, size], **({"axis": 1} if chance(src, 50) else {}))
        elif style == "Reshape":
            target = choice(src, [[-1, size], [0, -1], [0, size]])  # the batch stays free
            self.step("Reshape", self.constant(target, "reshape", np.int64), shape=[1, size])
        elif style == "view":  # what PyTorch exports for x.view(x.size(0), -1)
            i64 = {"elem_type": TensorProto.INT64}
            whole = self.node("Shape", [self.at], [len(self.shape)], "shape", **i64)
            index = self.constant(0, "index", np.int64)
            batch = self.node("Gather", [whole, index], [], "shape", axis=0, **i64)
            axes = self.constant([0], "axes", np.int64)
            batch = self.node("Unsqueeze", [batch, axes], [1], "shape", **i64)
            rest = self.constant([-1], "rest", np.int64)
            target_name = self.node("Concat", [batch, rest], [2], "shape", axis=0, **i64)
            self.step("Reshape", target_name, shape=[1, size])
        elif style == "Squeeze":
            self.step("Squeeze", self.constant([1], "axes", np.int64), shape=[1, size])
        if not early:
            self.first_quant()

    def first_quant(self) -> None:
        if self.input_quant:
            self.magnitude, self.grid = 2.0 ** self.src.integer(-1, 4), 2.0**-4
            self.quantise()
        else:
            self.magnitude, self.grid = float(GRID_LIMIT), 2.0**-GRID_BITS

    input_quant = True


def build(src: Source, *, input_quant: bool = True, modes: Sequence[str] = MODES) -> onnx.ModelProto:
    """One random model from the choices of a source."""
    g = Graph(src, modes)
    g.input_quant = input_quant
    if not input_quant:
        g.dyadic = True
    g.front()
    layers = src.integer(1, 4)
    for layer in range(layers):
        g.dense(src.integer(1, 12))
        if layer + 1 < layers:
            g.post()
            g.quantise()
            if chance(src, 12):
                g.quantise()
    end = weighted(src, {"Quant": 5, "post Quant": 3, "none": 3, "post": 1})
    if end.startswith("post"):
        g.post()
    if end.endswith("Quant"):
        g.quantise()
    if chance(src, 12):
        g.step("Softmax", axis=choice(src, [-1, 1]))
    # the last tensor becomes the output "y"
    g.nodes[-1].output[0] = "y"
    g.infos.pop()
    graph = helper.make_graph(
        g.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, g.input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, g.shape)],
        g.initializers,
        value_info=g.infos,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QUANT_DOMAIN, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="random_models")


def random_model(seed: int, *, input_quant: bool = True, modes: Sequence[str] = MODES) -> onnx.ModelProto:
    """The random model of this number."""
    return build(NumpySource(np.random.default_rng(seed)), input_quant=input_quant, modes=modes)


@st.composite
def models(
    draw: Callable[[st.SearchStrategy[Any]], Any], *, input_quant: bool = True, modes: Sequence[str] = MODES
) -> onnx.ModelProto:
    """Random models; with an input Quant unless told otherwise."""
    return build(HypothesisSource(draw), input_quant=input_quant, modes=modes)


def models_without_input_quant() -> st.SearchStrategy[onnx.ModelProto]:
    """Random models whose input meets dyadic weights unquantised: their inputs are fixed<16,6> numbers."""
    return models(input_quant=False)


# ---------------------------------------------------------------------------------------- batches and inputs


def set_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy whose declared shapes have another batch size than 1."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    carried = {i.name for i in graph.input}  # tensors with a batch axis
    for node in graph.node:
        if node.op_type not in ("Shape", "Gather", "Unsqueeze", "Concat") and carried.intersection(node.input):
            carried.update(node.output)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.name in carried:
            info.type.tensor_type.shape.dim[0].dim_value = batch
    return model


def input_steps(model: onnx.ModelProto) -> tuple[np.ndarray, int, int] | None:
    """The scale of the input Quant (any shape) and its least and greatest t = x / scale, or None."""
    constants = {t.name: t for t in model.graph.initializer}
    at = model.graph.input[0].name
    for node in model.graph.node:
        if not node.input or node.input[0] != at:
            continue
        if node.op_type == "BipolarQuant":
            return numpy_helper.to_array(constants[node.input[1]]), -1, 1
        if node.op_type in ("Quant", "IntQuant"):
            scale, zero_point, bits = (numpy_helper.to_array(constants[name]) for name in node.input[1:4])
            signed = next(a.i for a in node.attribute if a.name == "signed")
            span = 2 ** int(bits)
            low = (-span // 2 if signed else 0) - int(zero_point.max())
            return scale, low, low + span
        if node.op_type in SHAPE_OPERATORS:
            at = node.output[0]
        elif node.op_type != "Shape":
            return None
    return None


def draw_feeds(src: Source, model: onnx.ModelProto, batch: int) -> dict[str, np.ndarray]:
    (entry,) = model.graph.input
    shape = [batch, *(d.dim_value for d in entry.type.tensor_type.shape.dim[1:])]
    n = math.prod(shape)
    steps = input_steps(model)
    if steps is None:
        limit = GRID_LIMIT * 2**GRID_BITS
        coarse = 2 ** choice(src, [GRID_BITS, GRID_BITS - 2, 0])
        values = src.integers(-limit // coarse, limit // coarse - 1, n) * coarse
        return {entry.name: (values / 2**GRID_BITS).astype(np.float32).reshape(shape)}
    scale, low, high = steps
    margin = (high - low) // 4 + 2  # how far to go beyond the range
    kind = weighted(src, {"ties": 8, "steps": 2, "any": 5, "extremes": 1})
    if kind == "ties":  # every tie and every integer, in float32 exactly so where the scale is a power of two
        t = src.integers(2 * (low - margin), 2 * (high + margin), n) / 2
    elif kind == "steps":
        t = src.integers(low, high, n).astype(np.float64)
    elif kind == "any":
        t = low - margin + src.integers(0, 2**40, n) / 2**40 * (high - low + 2 * margin)
    else:
        t = np.array([low - 0.5, high + 0.5, 0.0, -1e30, 1e30, 2.0**-130, -(2.0**-130), 1e4])
        t = t[src.integers(0, len(t) - 1, n)]
    t = t.reshape(shape)
    if scale.size > 1 and scale.shape[-1] != shape[-1]:  # the Quant stands behind a Flatten
        x = (t.reshape(batch, -1) * scale.astype(np.float64).reshape(1, -1)).reshape(shape)
    else:
        x = t * scale.astype(np.float64)
    return {entry.name: x.astype(np.float32)}


@st.composite
def feeds(
    draw: Callable[[st.SearchStrategy[Any]], Any], model: onnx.ModelProto, batch: int | None = None
) -> dict[str, np.ndarray]:
    """An input batch of 1 to 4 frames: ties and steps of the input Quant, any floats, or extremes."""
    src = HypothesisSource(draw)
    return draw_feeds(src, model, batch or src.integer(1, 4))


def random_feeds(model: onnx.ModelProto, seed: int, batch: int = 8) -> dict[str, np.ndarray]:
    """The same from a number, with the kinds mixed over the frames."""
    src = NumpySource(np.random.default_rng(seed))
    frames = [draw_feeds(src, model, 1) for _ in range(batch)]
    return {name: np.concatenate([f[name] for f in frames]) for name in frames[0]}
