# SPDX-License-Identifier: Apache-2.0
"""Random QONNX graphs of every operation: chains, branches and joins; every choice in them can be forced.

A graph is made from a ``Recipe``: a seed, the items (operations) that are left out, and the choices that are
forced to their simplest option. Every choice has a name and draws from the seed and that name alone, so that
leaving out one item changes the others as little as possible: that is what makes graphs shrink.
"""

import bisect
import itertools
import json
import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QUANT_DOMAIN = "qonnx.custom_op.general"
# what qonnx 1.0.0 executes
MODES = ("ROUND", "HALF_EVEN", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
MOST_ELEMENTS = 4096  # of a frame anywhere in a graph
INPUT_TYPES = ("i8", "u8", "i4", "u3", "fixed<8,3>", "u8/255", "b1")


@dataclass(frozen=True)
class Recipe:
    """What a graph is made from."""

    seed: int
    dropped: frozenset[int] = frozenset()
    forced: frozenset[str] = frozenset()

    def dump(self) -> str:
        return json.dumps([self.seed, sorted(self.dropped), sorted(self.forced)], separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> "Recipe":
        seed, dropped, forced = json.loads(text)
        return cls(seed, frozenset(dropped), frozenset(forced))


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph: its frame's shape, and what stands in it as far as that is known.

    Attributes:
        name: In the file.
        shape: Without the batch.
        size: About the greatest value.
        form: ``levels`` behind a Quant, ``affine`` behind products and sums of them, ``wide`` behind a function,
            which must be quantised before the next product.
        scale: Of the levels, where all channels have the same.
        zero: Whether some integer stands for zero.
        uniform: Whether all channels have the same scale, and the same number stands for zero in all.
    """

    name: str
    shape: tuple[int, ...]
    size: float
    form: str = "levels"
    scale: float | None = None
    zero: bool = True
    uniform: bool = True


@dataclass(frozen=True)
class Made:
    """A graph, and how its input arrives (None: the model quantises it)."""

    model: onnx.ModelProto
    input_type: str | None
    choices: tuple[str, ...]
    items: int


class Draw:
    """Named choices."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.item = "start"
        self.made: list[str] = []
        self.times: dict[str, int] = {}

    def key(self, name: str) -> str:
        base = f"{self.item}.{name}"
        self.times[base] = self.times.get(base, 0) + 1
        return f"{base}#{self.times[base]}" if self.times[base] > 1 else base

    def pick(self, name: str, options: Sequence[Any], weights: Sequence[int] | None = None) -> Any:
        """One of the options; the first is the simplest."""
        key = self.key(name)
        if len(options) == 1 or key in self.recipe.forced:
            return options[0]
        rng = random.Random(f"{self.recipe.seed}.{key}")
        if weights is None:
            at = rng.randrange(len(options))
        else:
            ends = list(itertools.accumulate(weights))
            at = bisect.bisect_right(ends, rng.randrange(ends[-1]))
        if at:
            self.made.append(key)
        return options[at]

    def chance(self, name: str, percent: int) -> bool:
        return bool(self.pick(name, [False, True], [100 - percent, percent]))

    def number(self, name: str, low: int, high: int) -> int:
        return int(self.pick(name, range(low, max(low, high) + 1)))

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.recipe.seed, zlib.crc32(self.key(name).encode())])


class Skip(Exception):  # noqa: N818 - an item that does not fit is left out
    """The item does not fit any tensor."""


@dataclass
class Builder:
    """A graph under construction."""

    draw: Draw
    opset: int
    dyadic: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    tensors: list[tuple[int, Tensor]] = field(default_factory=list)
    count: int = 0

    # -- nodes

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        self.count += 1
        names = [f"t{self.count}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{self.count}", **attributes))
        return names

    def put(self, op: str, x: Tensor, *others: str, **attributes: Any) -> Tensor:
        """A node behind ``x``; the shape, the size and so on are to be set by the caller."""
        (name,) = self.node(op, [x.name, *others], **attributes)
        return replace(x, name=name)

    def listed(self, op: str, x: Tensor, since: int, **values: Any) -> Tensor:
        """A node whose lists are inputs since an operator set, and attributes before."""
        if self.opset >= since:
            inputs = [self.constant(v, np.int64) if v is not None else "" for v in values.values()]
            return self.put(op, x, *inputs)
        return self.put(op, x, **{k: v for k, v in values.items() if v is not None})

    # -- numbers

    def some_scale(self, near: float) -> float:
        base = 2.0 ** (math.floor(math.log2(max(near, 2.0**-24))) + self.draw.pick("exponent", [0, -1, 1]))
        if self.dyadic or self.draw.chance("exactly", 25):
            return base
        return float(np.float32(base * (1 + self.draw.number("mantissa", 0, 2**16) / 2**16)))

    def ratios(self, count: int) -> Any:
        ratios = 2.0 ** self.draw.rng("ratios").integers(-2, 2, count)
        if not self.dyadic:
            ratios = ratios * (1 + self.draw.rng("more").integers(0, 2**8, count) / 2**8)
        return ratios.astype(np.float32)

    def by_channel(self, values: Any, rank: int) -> Any:
        """An array that broadcasts over frames (channels, *spatial)."""
        return np.asarray(values).reshape(1, -1, *[1] * (rank - 1))

    def quant_node(
        self, x: str, scale: Any, zero: Any, bits: int, signed: bool, narrow: bool, mode: str = "ROUND"
    ) -> str:
        inputs = [x, self.constant(scale), self.constant(zero), self.constant(float(bits))]
        said = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": mode, "domain": QUANT_DOMAIN}
        return self.node("Quant", inputs, **said)[0]

    def bits(self, greatest: int = 12) -> int:
        weights = {4: 8, 2: 5, 3: 5, 8: 5, 1: 2, 5: 2, 6: 2, 7: 1, 9: 1, 10: 1, 11: 1, 12: 1}
        weights = {b: w for b, w in weights.items() if b <= greatest}
        return int(self.draw.pick("bits", list(weights), list(weights.values())))

    def quantise(self, x: Tensor, *, plain: bool = False, scale: float | None = None) -> Tensor:
        """A Quant behind ``x``; ``plain``: zero has a level and all channels are alike."""
        draw, rank, channels = self.draw, len(x.shape), x.shape[0]
        if not plain and draw.chance("bipolar", 8):
            step = self.some_scale(x.size / 2)
            (name,) = self.node("BipolarQuant", [x.name, self.constant(step)], domain=QUANT_DOMAIN)
            return Tensor(name, x.shape, step, "levels", step, False, True)
        bits = self.bits()
        signed = draw.chance("signed", 60)
        narrow = draw.chance("narrow", 25) and bits > 1
        if plain and bits == 1:
            signed = False
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        near = scale or x.size / 2 ** max(bits - 1, 0)
        step = scale or self.some_scale(near)
        zero: Any = 0
        if draw.chance("zero point", 22) and (bits > 1 or not signed):
            zero = draw.number("zero", low, high)
        scales: Any = np.full(draw.pick("scale shape", [(), (1,)]), step)
        uniform = True
        if not plain and rank and draw.chance("by channel", 12 if self.dyadic else 4):
            scales = self.by_channel(step * self.ratios(channels), rank)
            uniform = False
            if draw.chance("zero by channel", 15) and bits > 1:
                zero = self.by_channel(draw.rng("zeros").integers(low, high + 1, channels), rank)
        mode = draw.pick("mode", MODES, [40, *[9] * (len(MODES) - 1)])
        name = self.quant_node(x.name, scales, zero, bits, signed, narrow, mode)
        size = float(np.max(scales)) * 2**bits / (2 if signed else 1)
        has_zero = not (bits == 1 and signed)
        return Tensor(name, x.shape, size, "levels", step if uniform else None, has_zero, uniform)

    def ready(self, x: Tensor, *, zero: bool = False, uniform: bool = False) -> Tensor:
        """Quantised as the next operation needs it; now and then not."""
        fits = x.form != "wide" and (x.zero or not zero) and (x.uniform or not uniform)
        if fits and (x.form == "levels" or not self.draw.chance("quantise", 60)):
            return x
        if self.draw.chance("forget", 3):
            return x
        return self.quantise(x, plain=zero or uniform)

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[str, float, bool]:
        """Quantised weights, about their greatest value, and whether all outputs have one scale."""
        draw = self.draw
        step = self.some_scale(2.0 ** -draw.number("weight size", 0, 5))
        scales: Any = np.asarray(step, np.float32)
        uniform = not draw.chance("by output", 35)
        if not uniform:
            scales = (step * self.ratios(shape[axis])).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        rng = draw.rng("weights")
        if draw.chance("bipolar weights", 12):
            values = rng.integers(-3, 4, shape) * np.float32(step)
            inputs = [self.constant(values), self.constant(scales)]
            (name,) = self.node("BipolarQuant", inputs, domain=QUANT_DOMAIN)
            return name, float(np.max(scales)), uniform
        bits = self.bits()
        limit = int(8 * 2 ** (bits - 1) * 1.1)
        values = ((rng.integers(-limit, limit + 1, shape) + 1 / 3) / 8 * scales).astype(np.float32)
        zero = draw.number("weight zero", 0, 2 ** (bits - 1) - 1) if draw.chance("weight zero point", 8) else 0
        mode = draw.pick("weight mode", MODES, [40, *[4] * (len(MODES) - 1)])
        name = self.quant_node(self.constant(values), scales, zero, bits, True, draw.chance("narrow w", 50), mode)
        return name, float(np.max(scales)) * 2 ** (bits - 1) * (2 if zero else 1), uniform

    # -- choosing operands

    def operand(self, fits: Callable[[Tensor], bool] = lambda x: True) -> Tensor:
        """The last tensor, or now and then one further back."""
        last = self.tensors[-1][1]
        reach = self.tensors
        if self.draw.chance("branch", 18):
            number = self.draw.number("from", 0, self.tensors[-1][0])
            reach = [(n, x) for n, x in self.tensors if n <= number] or self.tensors
        elif fits(last):
            return last
        for _, x in reversed(reach):
            if fits(x):
                return x
        raise Skip

    def beside(self, x: Tensor) -> Tensor:
        """Another tensor of the same shape, made from ``x`` where there is none."""
        others = [y for _, y in self.tensors if y.shape == x.shape and y.name != x.name]
        if others and not self.draw.chance("new branch", 40):
            return others[self.draw.number("other", 0, len(others) - 1)]
        if self.draw.chance("itself", 6):
            return x
        if len(x.shape) > 1 and self.draw.chance("by conv", 60):
            y = self.ready(x, zero=True)
            kernel = [self.draw.pick("side kernel", [1, 3]) for _ in x.shape[1:]]
            w, size, uniform = self.weights((x.shape[0], x.shape[0], *kernel), 0)
            pads = [(k - 1) // 2 for k in kernel] * 2
            y = self.put("Conv", y, w, pads=pads, kernel_shape=kernel)
            taps = x.shape[0] * math.prod(kernel)
            return replace(
                y, size=max(y.size * size * math.sqrt(taps), 1e-6), form="affine", uniform=uniform, scale=None
            )
        return self.function(x)

    def function(self, x: Tensor, op: str | None = None) -> Tensor:
        """An elementwise function of one operand."""
        draw = self.draw
        op = op or draw.pick("function", FUNCTIONS)
        bounded = {"Sigmoid", "Tanh", "HardSigmoid", "Sign"}
        made = replace(x, size=1.0 if op in bounded else x.size, form="wide", scale=None)
        channels, rank = x.shape[0], len(x.shape)
        if op in ("Relu", "Sigmoid", "Tanh", "Sign", "Softplus", "HardSigmoid"):
            attributes = {}
            if op == "HardSigmoid" and draw.chance("third", 50):
                attributes = {"alpha": draw.pick("alpha", [0.25, 1 / 6]), "beta": 0.5}
            return replace(made, name=self.put(op, x, **attributes).name)
        if op == "Elu":
            return replace(made, name=self.put(op, x).name)
        if op == "HardSwish":
            if self.opset >= 14 and draw.chance("native", 50):
                return replace(made, name=self.put(op, x).name)
            gate = self.put("HardSigmoid", x, alpha=1 / 6, beta=0.5)
            return replace(made, name=self.put("Mul", x, gate.name).name)
        if op == "SiLU":
            gate = self.put("Sigmoid", x)
            pair = [x.name, gate.name] if draw.chance("gate last", 50) else [gate.name, x.name]
            return replace(made, name=self.node("Mul", pair)[0])
        if op == "Gelu":
            if self.opset >= 20:
                kind = draw.pick("approximate", ["none", "tanh"])
                return replace(made, name=self.put("Gelu", x, approximate=kind).name)
            inner = self.put("Div", x, self.constant(math.sqrt(2)))
            inner = self.put("Add", self.put("Erf", inner), self.constant(1.0))
            inner = self.put("Mul", x, inner.name)
            return replace(made, name=self.put("Mul", inner, self.constant(0.5)).name)
        if op == "LeakyRelu":
            return replace(made, name=self.put(op, x, alpha=draw.pick("slope", [0.125, 0.01, 0.5, 0.1, 0.0])).name)
        if op == "PRelu":
            shape = (channels, *[1] * (rank - 1)) if draw.chance("slopes", 60) else (1,) * rank
            slope = draw.rng("slopes").integers(0, 9, shape) / (8 if self.dyadic else 10)
            return replace(made, name=self.put(op, x, self.constant(slope)).name)
        assert op == "Clip"
        low, high = draw.pick("bounds", [(-1.0, 1.0), (0.0, 6.0), (-0.5, 2.0), (None, 1.0), (0.0, None)])
        low, high = (None if v is None else v * max(1.0, x.size / 8) for v in (low, high))
        if self.opset < 11:
            said = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
            return replace(made, name=self.put(op, x, **said).name)
        names = [self.constant(v) if v is not None else "" for v in (low, high)]
        return replace(made, name=self.put(op, x, *(names if names[1] else names[:1])).name)

    def affine(self, x: Tensor) -> Tensor:
        """Add, Sub, Mul or Div by a constant, in either order."""
        draw, rank = self.draw, len(x.shape)
        op = draw.pick("affine", ["Mul", "Add", "Sub", "Div"])
        count = x.shape[0] if draw.chance("each channel", 50) else 1
        shape = (1, count, *[1] * (rank - 1)) if draw.chance("with batch", 50) else (count, *[1] * (rank - 1))
        rng = draw.rng("constants")
        if op in ("Mul", "Div"):
            factors = 2.0 ** rng.integers(-2, 3, count) * np.where(rng.random(count) < 0.2, -1, 1)
            if not self.dyadic:
                factors = factors * (1 + rng.integers(0, 2**10, count) / 2**10)
            values = factors
            size = x.size * float(np.abs(values if op == "Mul" else 1 / values).max())
        else:
            unit = x.scale or x.size / 16
            values = rng.integers(-8, 9, count) * unit / draw.pick("fraction", [1, 2, 3])
            size = x.size + float(np.abs(values).max())
        c = self.constant(values.reshape(shape))
        pair = [c, x.name] if op != "Div" and draw.chance("constant first", 30) else [x.name, c]
        zero = x.zero and op in ("Mul", "Div")
        uniform = x.uniform and count == 1
        form = "wide" if x.form == "wide" else "affine"
        return replace(x, name=self.node(op, pair)[0], size=size, form=form, zero=zero, uniform=uniform, scale=None)

    def batch_norm(self, x: Tensor) -> Tensor:
        draw, channels = self.draw, x.shape[0]
        rng, size = draw.rng("norm"), x.size
        gamma = rng.integers(-8, 17, channels) / 8
        gamma[gamma == 0] = 1
        beta = rng.integers(-16, 17, channels) / 16
        mean = rng.integers(-8, 9, channels) / 32 * size
        epsilon = draw.pick("epsilon", [1e-5, 2.0**-10, 1e-3])
        var = rng.integers(1, 2**10, channels) / 2**10 * size * size
        if self.dyadic and draw.chance("rational", 50):
            epsilon = 2.0**-10
            var = 4.0 ** (min(max(math.floor(math.log2(size)), -3), 6) + rng.integers(-1, 2, channels)) - epsilon
        made = self.put("BatchNormalization", x, *(self.constant(v) for v in (gamma, beta, mean, var)), epsilon=epsilon)
        return replace(made, size=4.0, form="wide", zero=False, uniform=False, scale=None)


FUNCTIONS = (
    "Relu",
    "Clip",
    "LeakyRelu",
    "PRelu",
    "Sigmoid",
    "Tanh",
    "HardSigmoid",
    "HardSwish",
    "SiLU",
    "Gelu",
    "Elu",
    "Softplus",
    "Sign",
)


# -- items: each adds an operation, and what it needs in front of it -----------------------------------------------


def spatial(x: Tensor) -> bool:
    return len(x.shape) in (2, 3)


def image(x: Tensor) -> bool:
    return len(x.shape) == 3


def windows(b: Builder, x: Tensor, greatest: int = 3) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations and pads that fit."""
    draw = b.draw
    kernel, strides, dilations, before, after = [], [], [], [], []
    alike = draw.pick("stride", [1, 2, 3], [6, 3, 1])
    for size in x.shape[1:]:
        k = draw.pick("kernel", list(range(1, greatest + 1)))
        d = draw.pick("dilation", [1, 2], [5, 1])
        p, q = (draw.pick(f"pad {side}", [0, 1, 2], [5, 3, 1]) for side in ("before", "after"))
        span = (k - 1) * d + 1
        p, q = min(p, span - 1), min(q, span - 1)
        if span > size + p + q:
            k, d, p, q = 1, 1, 0, 0
        kernel.append(k)
        strides.append(draw.pick("other stride", [alike, 1, 2], [8, 1, 1]))
        dilations.append(d)
        before.append(p)
        after.append(q)
    return kernel, strides, dilations, before + after


def outputs_of(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int], pads: list[int]) -> list[int]:
    rank = len(kernel)
    return [
        (size + pads[a] + pads[a + rank] - (kernel[a] - 1) * dilations[a] - 1) // strides[a] + 1
        for a, size in enumerate(x.shape[1:])
    ]


def summed(made: Tensor, shape: Sequence[int], size: float, taps: int, uniform: bool, bias: bool) -> Tensor:
    size = min(max(made.size * size * math.sqrt(taps), 2.0**-12), 2.0**30)
    zero = made.zero and not bias
    return replace(
        made, shape=tuple(shape), size=size, form="affine", uniform=uniform and not bias, scale=None, zero=zero
    )


def bias_of(b: Builder, outputs: int, size: float) -> list[str]:
    kind = b.draw.pick("bias", ["none", "float", "quantised"], [5, 3, 2])
    if kind == "none":
        return []
    values = b.draw.rng("bias").integers(-16, 17, outputs) / 16 * size
    name = b.constant(values)
    return [name if kind == "float" else b.quant_node(name, np.float32(b.some_scale(size / 64)), 0, 8, True, False)]


def conv(b: Builder) -> Tensor:
    x = b.operand(spatial)
    kernel, strides, dilations, pads = windows(b, x)
    channels = x.shape[0]
    groups = b.draw.pick("groups", [1, channels, *(g for g in (2, 4) if channels % g == 0)], None)
    if groups != channels and b.draw.chance("ungrouped", 50):
        groups = 1
    x = b.ready(x, zero=any(pads), uniform=groups == 1)
    outputs = groups * b.draw.pick("outputs", [1, 2, 3, 4, 8], [4, 4, 3, 2, 1])
    if outputs > 32:
        outputs = groups
    w, size, uniform = b.weights((outputs, channels // groups, *kernel), 0)
    taps = channels // groups * math.prod(kernel)
    bias = bias_of(b, outputs, x.size * size)
    said: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "group": groups}
    if b.draw.chance("auto", 8) and set(dilations) == {1}:
        said["auto_pad"] = b.draw.pick("auto pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
        if said["auto_pad"] == "VALID":
            pads = [0] * len(pads)
            shape = outputs_of(x, kernel, strides, dilations, pads)
            if min(shape) < 1:
                raise Skip
        else:
            shape = [-(-n // s) for n, s in zip(x.shape[1:], strides, strict=True)]
    else:
        said["pads"] = pads
        shape = outputs_of(x, kernel, strides, dilations, pads)
    made = b.put("Conv", x, w, *bias, **said)
    return summed(made, (outputs, *shape), size, taps, uniform and x.uniform, bool(bias))


def conv_transpose(b: Builder) -> Tensor:
    x = b.operand(lambda x: spatial(x) and math.prod(x.shape) <= 512)
    x = b.ready(x, zero=True, uniform=True)
    channels, rank = x.shape[0], len(x.shape) - 1
    kernel = [b.draw.number("kernel", 1, 4) for _ in range(rank)]
    stride = b.draw.pick("stride", [1, 2, 3], [4, 4, 1])
    strides = [b.draw.pick("other stride", [stride, 1], [14, 1]) for _ in range(rank)]
    extra = [b.draw.number("extra", 0, s - 1) if b.draw.chance("output padding", 25) else 0 for s in strides]
    dilations = [b.draw.pick("dilation", [1, 2], [6, 1]) for _ in range(rank)]
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [b.draw.number("crop", 0, min(2, s - 1)) if b.draw.chance("crops", 40) else 0 for s in span * 2]
    sizes = [(n - 1) * strides[a] + extra[a] + span[a] - pads[a] - pads[a + rank] for a, n in enumerate(x.shape[1:])]
    if min(sizes) < 1:
        raise Skip
    groups = b.draw.pick("groups", [1, channels], [3, 1])
    parts = b.draw.pick("outputs", [1, 2, 3])
    w, size, uniform = b.weights((channels, parts, *kernel), 1)
    uniform = uniform and parts * groups == parts
    bias = bias_of(b, parts * groups, x.size * size)
    said = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "group": groups, "pads": pads}
    if any(extra):
        said["output_padding"] = extra
    made = b.put("ConvTranspose", x, w, *bias, **said)
    taps = channels // groups * math.prod(kernel)
    return summed(made, (parts * groups, *sizes), size, taps, uniform, bool(bias))


def pool(b: Builder) -> Tensor:
    x = b.operand(spatial)
    op = b.draw.pick("pool", ["MaxPool", "AveragePool"])
    kernel, strides, dilations, pads = windows(b, x)
    if b.draw.chance("apart", 40):
        strides = list(kernel)
    if op == "AveragePool" or b.opset < 10:
        dilations = [1] * len(kernel)
    pads = [min(p, k - 1) for p, k in zip(pads, kernel * 2, strict=True)]  # what onnxruntime executes
    shape = outputs_of(x, kernel, strides, dilations, pads)
    if min(shape) < 1:
        raise Skip
    said: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if any(d > 1 for d in dilations):
        said["dilations"] = dilations
    if op == "AveragePool":
        x = b.ready(x, zero=any(pads))
        if any(pads) and not b.draw.chance("leave out", 8):
            said["count_include_pad"] = 1
        made = b.put(op, x, **said)
        return replace(made, shape=(x.shape[0], *shape), form="affine", scale=None)
    if x.form == "wide" and not b.draw.chance("wide pool", 25):
        x = b.ready(x)
    made = b.put(op, x, **said)
    return replace(made, shape=(x.shape[0], *shape))


def ceiled(b: Builder) -> Tensor:
    """A pool with ceil_mode, whose window may leave the input behind."""
    x = b.operand(spatial)
    op = b.draw.pick("pool", ["MaxPool", "AveragePool"], [3, 1])
    if b.opset < 10:
        raise Skip
    x = b.ready(x)
    kernel = [min(b.draw.number("kernel", 1, 3), n) for n in x.shape[1:]]
    strides = [min(b.draw.number("strides", 1, 3), k) for k in kernel]
    shape = [math.ceil((n - k) / s) + 1 for n, k, s in zip(x.shape[1:], kernel, strides, strict=True)]
    made = b.put(op, x, kernel_shape=kernel, strides=strides, ceil_mode=1)
    form, scale = (x.form, x.scale) if op == "MaxPool" else ("affine", None)
    return replace(made, shape=(x.shape[0], *shape), form=form, scale=scale)


def reduced(b: Builder) -> Tensor:
    x = b.ready(b.operand(spatial))
    kinds = ["GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax"]
    op = b.draw.pick("reduce", kinds, [4, 2, 3, 3, 1])
    rank, places = len(x.shape), math.prod(x.shape[1:])
    size = x.size * (places if op == "ReduceSum" else 1)
    form, scale = (x.form, x.scale) if op in ("GlobalMaxPool", "ReduceMax") else ("affine", None)
    if op.startswith("Global"):
        return replace(b.put(op, x), shape=(x.shape[0], *[1] * (rank - 1)), size=size, form=form, scale=scale)
    keep = b.draw.chance("keep", 50)
    axes = list(range(2, rank + 1)) if b.draw.chance("positive axes", 60) else [-a for a in range(1, rank)]
    if b.draw.chance("over channels", 8):
        axes = [1]
    since = {"ReduceMean": 18, "ReduceSum": 13, "ReduceMax": 18}[op]
    if b.opset >= since:
        made = b.put(op, x, b.constant(axes, np.int64), keepdims=int(keep))
    else:
        made = b.put(op, x, axes=axes, keepdims=int(keep))
    gone = {a - 1 if a > 0 else rank + a for a in axes}
    shape = [1 if a in gone else n for a, n in enumerate(x.shape) if keep or a not in gone]
    return replace(made, shape=tuple(shape), size=size, form=form, scale=scale)


def dense(b: Builder) -> Tensor:
    x = b.operand(lambda x: len(x.shape) == 1) if not b.draw.chance("any rank", 20) else b.operand()
    rank = len(x.shape)
    x = b.ready(x, uniform=True)
    outputs = b.draw.pick("outputs", [1, 2, 3, 4, 5, 8, 16, 32], [4, 4, 4, 4, 3, 3, 1, 1])
    if rank == 2 and b.draw.chance("from the left", 30):
        rows, columns = x.shape
        w, size, _ = b.weights((outputs, rows), 0)
        return summed(replace(x, name=b.node("MatMul", [w, x.name])[0]), (outputs, columns), size, rows, False, False)
    rows = x.shape[-1]
    form = b.draw.pick("dense", ["MatMul", "Gemm", "Gemm transB"]) if rank == 1 else "MatMul"
    turned = form == "Gemm transB"
    w, size, uniform = b.weights((outputs, rows) if turned else (rows, outputs), 0 if turned else 1)
    bias = bias_of(b, outputs, x.size * size)
    if form == "MatMul":
        made = b.put("MatMul", x, w)
        made = b.put("Add", made, *bias) if bias else made
    elif bias or b.opset >= 11:
        made = b.put("Gemm", x, w, *bias, transB=int(turned))
    else:
        made = b.put("Gemm", x, w, b.constant(np.zeros(outputs)), transB=int(turned))
    return summed(made, (*x.shape[:-1], outputs), size, rows, uniform and rank == 1, bool(bias))


def function(b: Builder) -> Tensor:
    x = b.operand()
    made = b.function(x)
    if b.draw.chance("quantise it", 75):
        return b.quantise(made)
    return made


def affine(b: Builder) -> Tensor:
    return b.affine(b.operand())


def norm(b: Builder) -> Tensor:
    x = b.operand(lambda x: len(x.shape) in (1, 2, 3))
    made = b.batch_norm(x)
    kind = b.draw.pick("then", ["quantise", "function", "nothing"], [6, 3, 1])
    if kind == "function":
        made = b.function(made, b.draw.pick("which", ["Relu", "LeakyRelu", "Clip", "PRelu", "Tanh"]))
    return made if kind == "nothing" else b.quantise(made)


def quantiser(b: Builder) -> Tensor:
    return b.quantise(b.operand())


def joined(b: Builder) -> Tensor:
    x = b.operand()
    y = b.beside(x)
    op = b.draw.pick("join", ["Add", "Sub", "Mul", "Concat"], [5, 2, 2, 3])
    if b.draw.chance("as they are", 12):
        a, c = x, y
    elif op == "Mul":
        a, c = b.quantise(x, plain=True), b.quantise(y, plain=True)
    elif op == "Concat":
        a, c = b.ready(x), b.ready(y)
    else:  # one step, or steps that differ by a power of two
        near = x.scale if x.form == "levels" and x.scale else b.some_scale(max(x.size, y.size) / 8)
        a = x if x.form == "levels" and x.scale == near else b.quantise(x, plain=True, scale=near)
        c = b.quantise(y, plain=True, scale=near * b.draw.pick("ratio", [1.0, 0.5, 2.0, 4.0]))
    pair = [a.name, c.name] if b.draw.chance("in order", 60) else [c.name, a.name]
    size = {"Mul": a.size * c.size, "Concat": max(a.size, c.size)}.get(op, a.size + c.size)
    zero = a.zero and c.zero
    if op == "Concat":
        axis = b.draw.pick("axis", [1, 2], [12, 1]) if len(x.shape) > 1 else 1
        shape = list(x.shape)
        shape[axis - 1] *= 2
        (name,) = b.node(op, pair, axis=axis)
        uniform = a.uniform and c.uniform and a.scale is not None and a.scale == c.scale
        form = "wide" if "wide" in (a.form, c.form) else "affine"
        return Tensor(name, tuple(shape), size, form, None, zero, uniform)
    (name,) = b.node(op, pair)
    form = "wide" if "wide" in (a.form, c.form) else "affine"
    return Tensor(name, x.shape, size, form, None, zero, a.uniform and c.uniform)


def excited(b: Builder) -> Tensor:
    """Squeeze and excite: an image times one number for each channel."""
    x = b.ready(b.operand(image), zero=True)
    gate = b.put("GlobalAveragePool", x)
    gate = b.quantise(replace(gate, shape=(x.shape[0], 1, 1), form="affine"), plain=True)
    w, size, _ = b.weights((x.shape[0], x.shape[0], 1, 1), 0)
    gate = b.put("Conv", gate, w, kernel_shape=[1, 1])
    gate = replace(gate, size=max(gate.size * size, 1e-6))
    gate = b.quantise(b.function(gate, b.draw.pick("gate", ["Sigmoid", "HardSigmoid", "Relu"])), plain=True)
    made = b.put("Mul", x, gate.name)
    return replace(made, size=x.size * gate.size, form="affine", scale=None)


def sliced(b: Builder) -> Tensor:
    x = b.operand()
    if x.form == "wide":
        x = b.ready(x)
    axis = b.draw.number("axis", 1, len(x.shape))
    size = x.shape[axis - 1]
    if b.draw.chance("gather", 25):
        places = b.draw.rng("places").permutation(size)
        made = b.put("Gather", x, b.constant(places, np.int64), axis=axis)
        return replace(made, scale=None, uniform=x.uniform)
    step = b.draw.pick("step", [1, 2], [4, 1])
    start = b.draw.number("start", 0, size - 1)
    end = b.draw.pick("end", [2**31, size, -1] if start < size - 1 else [2**31])
    count = len(range(size)[start:end:step])
    shape = (*x.shape[: axis - 1], count, *x.shape[axis:])
    if b.opset >= 10:
        made = b.listed("Slice", x, 10, starts=[start], ends=[end], axes=[axis], steps=[step])
    elif step == 1:
        made = b.put("Slice", x, starts=[start], ends=[end], axes=[axis])
    else:
        raise Skip
    return replace(made, shape=shape)


def split(b: Builder) -> Tensor:
    """Two parts, of which one is used later, or both are joined in another order."""
    x = b.operand(lambda x: x.shape[0] > 1)
    if x.form == "wide":
        x = b.ready(x)
    first = b.draw.number("part", 1, x.shape[0] - 1)
    sizes = [first, x.shape[0] - first]
    if b.opset >= 13:
        left, right = b.node("Split", [x.name, b.constant(sizes, np.int64)], 2, axis=1)
    else:
        left, right = b.node("Split", [x.name], 2, axis=1, split=sizes)
    parts = [replace(x, name=n, shape=(s, *x.shape[1:])) for n, s in zip((left, right), sizes, strict=True)]
    if b.draw.chance("apart", 40):
        b.tensors.append((b.tensors[-1][0], parts[0]))
        return parts[1]
    if b.draw.chance("changed", 50):
        parts[1] = b.ready(b.function(parts[1]))
    pair = [p.name for p in (parts if b.draw.chance("same order", 50) else parts[::-1])]
    return replace(x, name=b.node("Concat", pair, axis=1)[0], form="affine", scale=None, uniform=False)


def padded(b: Builder) -> Tensor:
    x = b.ready(b.operand(spatial), zero=True)
    rank = len(x.shape)
    before, after = ([0, 0, *(b.draw.pick("pad", [0, 1, 2]) for _ in range(rank - 1))] for _ in range(2))
    value = 0.0
    if b.draw.chance("by value", 15) and x.scale:
        value = x.scale * b.draw.pick("value", [1, 0.5])
    if b.opset >= 11:
        made = b.put("Pad", x, b.constant(before + after, np.int64), b.constant(value))
    else:
        made = b.put("Pad", x, pads=before + after, value=value)
    shape = tuple(p + n + q for p, n, q in zip(before[1:], x.shape, after[1:], strict=True))
    return replace(made, shape=shape)


def resized(b: Builder) -> Tensor:
    x = b.operand(lambda x: spatial(x) and math.prod(x.shape) <= 512)
    if x.form == "wide":
        x = b.ready(x)
    factors = [b.draw.pick("factor", [2, 1, 3], [5, 2, 1]) for _ in x.shape[1:]]
    scales = np.array([1, 1, *factors], np.float32)
    shape = (x.shape[0], *(n * f for n, f in zip(x.shape[1:], factors, strict=True)))
    if b.opset < 10:
        made = b.put("Upsample", x, b.constant(scales), mode="nearest")
    elif b.opset < 11:
        made = b.put("Resize", x, b.constant(scales), mode="nearest")
    else:
        modes = [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "floor")]
        how, near = b.draw.pick("how", modes, [4, 4, 1])
        said = {"mode": "nearest", "coordinate_transformation_mode": how, "nearest_mode": near}
        if b.opset >= 13 and b.draw.chance("sizes", 30):
            made = b.put("Resize", x, "", "", b.constant([1, *shape], np.int64), **said)
        else:
            roi = "" if b.opset >= 13 else b.constant(np.zeros(0))
            made = b.put("Resize", x, roi, b.constant(scales), **said)
    return replace(made, shape=shape)


def pixels(b: Builder) -> Tensor:
    """DepthToSpace or SpaceToDepth."""
    down = b.draw.chance("down", 35)
    if down:
        x = b.operand(lambda x: image(x) and x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0)
        x = b.ready(x)
        made = b.put("SpaceToDepth", x, blocksize=2)
        return replace(made, shape=(x.shape[0] * 4, x.shape[1] // 2, x.shape[2] // 2))
    x = b.operand(lambda x: image(x) and math.prod(x.shape) <= 512)
    if x.shape[0] % 4:
        x = b.ready(x, uniform=True)
        w, size, _ = b.weights((4, x.shape[0], 1, 1), 0)
        x = b.put("Conv", x, w, kernel_shape=[1, 1])
        x = summed(x, (4, *x.shape[1:]), size, x.shape[0], False, False)
    x = b.ready(x, uniform=True)
    said = {"mode": b.draw.pick("order", ["DCR", "CRD"])} if b.opset >= 11 else {}
    made = b.put("DepthToSpace", x, blocksize=2, **said)
    return replace(made, shape=(x.shape[0] // 4, x.shape[1] * 2, x.shape[2] * 2))


def shuffled(b: Builder) -> Tensor:
    """Channels in another order, pixels of channels, channels of pixels: each a reshape, a transposition, a reshape."""
    x = b.operand(lambda x: spatial(x) and math.prod(x.shape) <= 512)
    channels, *sizes = x.shape
    kind = b.draw.pick("shuffle", ["channels", "unshuffle", "shuffle"], [4, 3, 2])
    blocks = [b.draw.pick("block", [k for k in (1, 2, 3) if kind != "unshuffle" or n % k == 0]) for n in sizes]
    parts = math.prod(blocks)
    if kind == "channels":
        parts = b.draw.pick("groups", [k for k in (2, 3, 4, 1) if channels % k == 0 and channels > k] or [1])
    if (kind == "shuffle" and channels % parts) or parts == 1:
        raise Skip
    rank = len(sizes)
    if kind == "channels":
        split, order, shape = (parts, channels // parts, *sizes), (1, 0, *range(2, rank + 2)), x.shape
    elif kind == "unshuffle":
        x = b.ready(x)
        split = (channels, *(p for n, k in zip(sizes, blocks, strict=True) for p in (n // k, k)))
        pixels, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
        order = (0, *inner, *pixels) if b.draw.chance("channels outside", 60) else (*inner, 0, *pixels)
        shape = (channels * parts, *(n // k for n, k in zip(sizes, blocks, strict=True)))
    else:
        x = b.ready(x, uniform=True)
        split = (channels // parts, *blocks, *sizes)
        pairs = [axis for place in range(rank) for axis in (1 + rank + place, 1 + place)]
        order, shape = (0, *pairs), (channels // parts, *(n * k for n, k in zip(sizes, blocks, strict=True)))
    made = b.put("Reshape", x, b.constant([1, *split], np.int64))
    made = b.put("Transpose", made, perm=[0, *(axis + 1 for axis in order)])
    made = b.put("Reshape", made, b.constant([1, *shape], np.int64))
    return replace(made, shape=shape)


def flattened(b: Builder) -> Tensor:
    x = b.operand(spatial)
    flat = (math.prod(x.shape),)
    how = b.draw.pick("flatten", ["Flatten", "Reshape", "rows", "Transpose"], [5, 4, 1, 1])
    if x.shape[0] > 1 and not x.uniform:
        x = b.ready(x, uniform=True)
    if how == "Flatten":
        return replace(b.put("Flatten", x, axis=1), shape=flat)
    if how == "Reshape":
        target = b.draw.pick("target", [[1, -1], [0, -1], [1, flat[0]]])
        return replace(b.put("Reshape", x, b.constant(target, np.int64)), shape=flat)
    if how == "rows":
        shape = (x.shape[0], math.prod(x.shape[1:]))
        return replace(b.put("Reshape", x, b.constant([1, *shape], np.int64)), shape=shape)
    order = list(range(1, len(x.shape) + 1))
    b.draw.rng("order").shuffle(order)
    made = b.put("Transpose", x, perm=[0, *order])
    return replace(made, shape=tuple(x.shape[a - 1] for a in order), uniform=x.uniform, zero=x.zero)


def squeezed(b: Builder) -> Tensor:
    """Takes out axes of size one, or puts one in behind."""
    x = b.operand(lambda x: len(x.shape) < 3 or x.shape[1:] == (1,) * (len(x.shape) - 1))
    ones = [a + 1 for a, n in enumerate(x.shape) if a and n == 1]
    if ones:
        made = b.listed("Squeeze", x, 13, axes=ones)
        return replace(made, shape=tuple(n for a, n in enumerate(x.shape) if a + 1 not in ones))
    if len(x.shape) > 2:
        raise Skip
    made = b.listed("Unsqueeze", x, 13, axes=[len(x.shape) + 1])
    return replace(made, shape=(*x.shape, 1))


ITEMS: dict[Callable[[Builder], Tensor], int] = {
    quantiser: 6,
    conv: 12,
    dense: 6,
    function: 10,
    affine: 5,
    norm: 5,
    joined: 8,
    pool: 6,
    ceiled: 1,
    reduced: 4,
    conv_transpose: 4,
    excited: 2,
    sliced: 3,
    split: 3,
    padded: 3,
    resized: 3,
    pixels: 3,
    shuffled: 3,
    flattened: 3,
    squeezed: 1,
}


def make(recipe: Recipe) -> Made:
    """The graph of a recipe."""
    draw = Draw(recipe)
    opset = draw.pick("opset", [20, 13, 17, 11, 9, 10], [6, 6, 4, 2, 1, 1])
    b = Builder(draw, opset, draw.chance("dyadic", 60))
    rank = draw.pick("rank", [3, 1, 2], [6, 2, 2])
    channels = draw.pick("channels", [1, 2, 3, 4, 5, 8, 16, 32], [4, 5, 5, 4, 2, 2, 1, 1])
    sizes = [draw.pick("size", [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32], [1, 2, 5, 6, 6, 5, 4, 4, 1, 1, 1])]
    sizes.append(sizes[0] if draw.chance("square", 50) else draw.number("width", 1, 8))
    shape = (channels, *sizes[: rank - 1])
    x = Tensor("x", shape, 4.0, "wide")
    given = draw.chance("typed input", 10)
    input_type = draw.pick("input type", INPUT_TYPES) if given else None
    if given:
        zero = input_type != "b1"
        b.tensors.append(
            (0, Tensor("x", shape, {"u8/255": 1.0, "b1": 1.0}.get(str(input_type), 16.0), "affine", None, zero))
        )
    else:
        if draw.chance("front", 6):
            x = b.affine(x)
        b.tensors.append((0, b.quantise(x)))
    count = draw.pick("items", list(range(1, 15)), [16, 18, 18, 14, 10, 8, 6, 5, 4, 3, 2, 2, 1, 1])
    for item in range(1, count + 1):
        if item in recipe.dropped:
            continue
        draw.item = str(item)
        before = len(b.nodes), len(b.constants), len(b.tensors)
        try:
            if item == 1 and rank > 1 and draw.chance("conv first", 60):
                made = conv(b)
            else:
                made = draw.pick("what", list(ITEMS), list(ITEMS.values()))(b)
            if math.prod(made.shape) > MOST_ELEMENTS:
                raise Skip
            b.tensors.append((item, replace(made, size=min(max(made.size, 2.0**-16), 2.0**24))))
        except Skip:
            del b.nodes[before[0] :], b.constants[before[1] :], b.tensors[before[2] :]
    draw.item = "end"
    last = b.tensors[-1][1]
    if last.form != "levels" and not draw.chance("bare end", 6 if last.form == "wide" else 25):
        last = b.quantise(last)
    model = finished(b, shape, last)
    if not any(node.op_type.endswith("Quant") for node in model.graph.node):
        model = finished(b, shape, b.quantise(last))
    return Made(model, input_type, tuple(draw.made), count)


def finished(b: Builder, shape: tuple[int, ...], last: Tensor) -> onnx.ModelProto:
    """The model, without what its output does not depend on."""
    wanted, kept = {last.name}, []
    for node in reversed(b.nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    held = [c for c in b.constants if c.name in wanted]
    graph = helper.make_graph(
        kept[::-1],
        "fuzz",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info(last.name, TensorProto.FLOAT, [1, *last.shape])],
        held,
    )
    opsets = [helper.make_opsetid("", b.opset), helper.make_opsetid(QUANT_DOMAIN, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fuzz")
