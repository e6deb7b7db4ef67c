# SPDX-License-Identifier: Apache-2.0
"""Random layers and random branched networks in the dataflow language, as compiled C++ against the integers.

Every layer stands in a small design of its own, with a random folding; all are compiled together.
"""

import collections
import math

import numpy as np
import pytest
from random_designs import (
    compiled_library,
    layer_processes,
    random_case,
    random_inputs,
    random_step,
    source_of,
)

from flow.backend import tools
from flow.ir.dataflow import (
    ChannelShuffle,
    Concatenation,
    Convolution,
    Dense,
    Flatten,
    Gate,
    Lookup,
    Padding,
    PixelShuffle,
    PixelUnshuffle,
    Pooling,
    Repeat,
    Selection,
    Source,
    Sum,
    execute,
    infer_types,
    verify_dataflow,
)
from flow.ir.graph import Graph
from flow.ir.types import Bipolar, IntType
from flow.ir.window import Window
from flow.plan.processes import Fork, WindowProcess

pytestmark = pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
ELEMENTS = [Bipolar(), IntType(1, False), IntType(3, True), IntType(4, False), IntType(8, True)]
STEPS = ["shift", "half even", "affine", "root", "bipolar"]


class Network:
    """A graph that grows."""

    def __init__(self, rng, shape, element):
        self.rng = rng
        self.nodes = [Source("x", shape, element, np.array([element.min]), np.array([element.max]))]

    @property
    def types(self):
        return infer_types(self.graph(self.nodes[-1].name))

    def graph(self, output):
        return Graph(tuple(self.nodes), (output,))

    def add(self, node):
        self.nodes.append(node)
        return node.name

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def weight(self, shape):
        bits = self.pick(1, 2, 3, 4)
        if bits == 1:
            weight = self.rng.choice([-1, 1], shape)
            weight.flat[0] = -1
            return weight.astype(np.int64)
        return self.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)

    def window(self, spatial, kernels=(1, 2, 3), *, pads=True):
        """A window that fits, padded on any side."""
        while True:
            kernel = tuple(self.pick(*kernels) for _ in spatial)
            dilations = tuple(self.pick(1, 1, 2) for _ in spatial)
            before, after = (tuple(self.pick(0, 0, 1, 2) * pads for _ in spatial) for _ in range(2))
            found = Window(kernel, tuple(self.pick(1, 1, 2, 3) for _ in spatial), dilations, before, after)
            reaches = all(s <= n + b + a for s, n, b, a in zip(found.span, spatial, before, after, strict=True))
            inside = all(b < s and a < s for b, a, s in zip(before, after, found.span, strict=True))
            if reaches and inside:
                return found

    def step(self, x, kind=None):
        """A random step function behind ``x``."""
        name = f"s{len(self.nodes)}"
        return self.add(random_step(self.rng, name, (x, self.types[x]), kind or self.pick(*STEPS)))

    def convolution(self, x, *, groups=1, outputs=None, window=None):
        shape = self.types[x].shape
        window = window or self.window(shape[:2])
        outputs = outputs or groups * self.pick(1, 2, 3, 4)
        weight = self.weight((*window.kernel, shape[2] // groups, outputs))
        element = self.types[x].element
        pad = self.pick(0, element.min) if window.pads else 0
        name = f"c{len(self.nodes)}"
        lo, hi = Convolution(name, x, weight, window, groups, pad, IntType(40, True)).partial_range(self.types[x])
        return self.add(Convolution(name, x, weight, window, groups, pad, IntType.holding(min(lo, -1), max(hi, 1))))

    def pool(self, x, kind, window):
        lo = int(self.types[x].lo.min())
        return self.add(Pooling(f"p{len(self.nodes)}", x, kind, window, lo if kind == "max" else 0))

    def sum(self, *xs, by_channel=False):
        channels = self.types[xs[0]].shape[-1]
        size = (len(xs), channels if by_channel else 1)
        factors = self.rng.integers(-3, 4, size) if self.rng.random() < 0.7 else self.rng.choice([-1, 1], size)
        name = f"a{len(self.nodes)}"
        probe = Sum(name, xs, factors, IntType(40, True))
        lo, hi = probe.partial_range(*(self.types[x] for x in xs))
        return self.add(Sum(name, xs, factors, IntType.holding(min(lo, -1), max(hi, 1))))

    def gate(self, x, gate):
        offsets = (int(self.rng.integers(-3, 4)), int(self.rng.integers(-3, 4)))
        name = f"g{len(self.nodes)}"
        lo, hi = Gate(name, x, gate, *offsets, IntType(40, True)).ranges(self.types[x], self.types[gate])
        acc = IntType.holding(min(int(lo.min()), -1), max(int(hi.max()), 1))
        return self.add(Gate(name, x, gate, *offsets, acc))

    def dense(self, x, outputs):
        shape = self.types[x].shape
        weight = self.weight((shape[-1], outputs))
        name = f"d{len(self.nodes)}"
        lo, hi = Dense(name, x, weight, IntType(40, True)).partial_range(self.types[x])
        return self.add(Dense(name, x, weight, IntType.holding(min(lo, -1), max(hi, 1))))

    def flatten(self, x):
        return self.add(Flatten(f"f{len(self.nodes)}", x, (math.prod(self.types[x].shape),)))

    def maybe_step(self, x):
        return self.step(x) if self.rng.random() < 0.6 else x


def lookup(net, x):
    """A function that rises and falls, one for each channel or one for all."""
    tensor = net.types[x]
    channels = net.pick(1, tensor.shape[-1])
    lo, hi = int(tensor.lo.min()), int(tensor.hi.max())
    count = net.pick(1, 2, 5, 8)
    thresholds = np.sort(net.rng.integers(lo, hi + 2, (channels, count)), axis=1)
    values = net.rng.integers(-8, 8, (channels, count + 1))
    ends = np.full(channels, lo), np.full(channels, hi)
    return net.add(Lookup(f"l{len(net.nodes)}", x, thresholds, values, *ends, IntType(4, True)))


def selection(net, x):
    shape = net.types[x].shape
    start = tuple(int(net.rng.integers(size)) if net.rng.random() < 0.6 else 0 for size in shape)
    stop = tuple(
        int(net.rng.integers(a + 1, size + 1)) if net.rng.random() < 0.6 else size
        for a, size in zip(start, shape, strict=True)
    )
    if net.rng.random() < 0.5:  # cuts between words of several channels
        start, stop = (*start[:-1], start[-1] // 2 * 2), (*stop[:-1], -(-stop[-1] // 2) * 2)
        stop = (*stop[:-1], min(max(stop[-1], start[-1] + 1), shape[-1]))
    return net.add(Selection("sel", x, start, stop, tuple(net.pick(1, 1, 2) for _ in shape)))


def layer_network(seed):
    """One kind of layer after the other, each with what it needs in front."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in (rng.integers(2, 7), rng.integers(2, 7), rng.choice([1, 2, 4, 6])))
    net = Network(rng, (height, width, channels), ELEMENTS[seed // len(KINDS) % len(ELEMENTS)])
    last = KINDS[seed % len(KINDS)](net, "x", (height, width))
    graph = net.graph(last)
    verify_dataflow(graph)
    return graph


def apart(net, spatial):
    """A window whose places do not overlap."""
    kernel = tuple(int(net.rng.integers(1, n + 1)) for n in spatial)
    return Window.of(kernel, tuple(k + net.pick(0, 0, 1) for k in kernel))


def shuffled(net, x, depth_last):
    block = net.pick(1, 2, 3), net.pick(1, 2, 3)
    wide = net.step(net.convolution(x, outputs=math.prod(block) * net.pick(1, 4)))
    return net.add(PixelShuffle("shuffle", wide, block, depth_last))


def unshuffled(net, x, spatial):
    """Channels of unlike ranges."""
    block = tuple(net.pick(*(n for n in (1, 2, 3) if size % n == 0)) for size in spatial)
    return net.add(PixelUnshuffle("unshuffle", net.step(net.convolution(x, window=Window.of((1, 1)))), block))


def reordered(net, x, _):
    wide = net.step(net.convolution(x, outputs=net.pick(2, 4)))
    order = net.rng.permutation(net.types[wide].shape[-1])
    return net.add(ChannelShuffle("reorder", wide, tuple(order.tolist())))


def grouped(net, x, _):
    wide = net.step(net.convolution(x, outputs=net.pick(4, 6)))
    groups = net.types[wide].shape[-1] // 2
    return net.maybe_step(net.convolution(wide, groups=groups, outputs=2 * groups))


def multiplied(net, x, _):
    """A depthwise convolution with two outputs for each channel."""
    channels = net.types[x].shape[-1]
    return net.maybe_step(net.convolution(x, groups=channels, outputs=2 * channels))


def joined(net, x, _):
    other = net.step(net.convolution(x, window=Window.of((1, 1)), outputs=net.types[x].shape[-1]))
    return net.maybe_step(net.sum(x, other, *net.pick((), (x,)), by_channel=net.pick(False, True)))


def gated(net, x, _):
    other = net.step(net.convolution(x, window=Window.of((1, 1)), outputs=net.types[x].shape[-1]))
    return net.maybe_step(net.gate(x, other))


def excited(net, x, spatial):
    """Squeeze and excite."""
    whole = net.step(net.pool(x, "sum", Window.of(spatial)))
    return net.maybe_step(net.gate(x, net.step(net.dense(whole, net.types[x].shape[-1]))))


def concatenated(net, x, _):
    width = net.pick(None, 2, 4)  # of even widths several channels fit a word
    left = net.step(net.convolution(x, window=Window.of((1, 1)), outputs=width))
    right = net.step(net.convolution(x, window=Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1)), outputs=width))
    return net.add(Concatenation("both", net.pick((left, right), (right, x, left))))


def residual(net, x, _):
    same = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))
    width = net.pick(2, 4)
    first = net.step(net.convolution(x, window=same, outputs=width))
    second = net.step(net.convolution(first, window=same, outputs=width))
    block = net.step(net.sum(first, net.convolution(second, window=same, outputs=width)))
    return net.dense(net.flatten(net.pool(block, "max", Window.of((2, 2), (2, 2)))), 3)


KINDS = [
    lambda net, x, _: net.maybe_step(net.convolution(x)),
    lambda net, x, _: net.maybe_step(net.convolution(x, window=Window.of((1, 1)))),
    lambda net, x, _: net.maybe_step(net.convolution(x, groups=net.types[x].shape[-1], outputs=net.types[x].shape[-1])),
    grouped,
    multiplied,
    lambda net, x, spatial: net.pool(x, "max", net.window(spatial)),
    lambda net, x, spatial: net.maybe_step(net.pool(x, "sum", net.window(spatial))),
    lambda net, x, spatial: net.pool(x, "max", apart(net, spatial)),
    lambda net, x, spatial: net.maybe_step(net.pool(x, "sum", apart(net, spatial))),
    lambda net, x, spatial: net.maybe_step(net.pool(x, "sum", Window.of(spatial))),
    joined,
    gated,
    excited,
    concatenated,
    lambda net, x, _: selection(net, x),
    lambda net, x, _: net.add(Padding("pad", x, (net.pick(0, 1), 2), (net.pick(0, 1), 1), net.pick(0, -1, 1))),
    lambda net, x, _: net.add(Repeat("repeat", x, (net.pick(1, 2, 3), net.pick(1, 2)))),
    lambda net, x, _: shuffled(net, x, True),
    lambda net, x, _: shuffled(net, x, False),
    unshuffled,
    reordered,
    lambda net, x, _: lookup(net, net.convolution(x)),
    residual,
]
ROUNDS = 4


@pytest.fixture(scope="module")
def cases():
    used = collections.Counter()
    return [random_case(seed, layer_network(seed), used) for seed in range(ROUNDS * len(KINDS))]


def test_networks_equal_the_integers(cases, tmp_path):
    """From AXI word to AXI word, and each layer by itself. One test: compiling takes most of it."""
    library = compiled_library(cases, tmp_path)
    wrong = []
    for number, case in enumerate(cases):
        source, design = source_of(case.graph), case.design
        x = random_inputs(source, number, 6)
        tensors = execute(case.graph, {source.name: x}, keep=True)
        expected = tensors[case.graph.outputs[0]].reshape(len(x), -1)
        try:
            found = library.run(
                f"{case.name}_flow_csim", [x], [design.source.element], design.sink.element, expected.shape[1]
            )
            if not np.array_equal(found, expected):
                wrong.append(f"{case.name}: {[type(n).__name__ for n in case.graph.nodes]}")
        except AssertionError as error:
            wrong.append(f"{case.name}: {error} {[type(n).__name__ for n in case.graph.nodes]}")
            continue
        for identifier, process in layer_processes(case):
            layer = process.layer
            found = library.run(
                f"{case.name}_flow_csim_{identifier}",
                [tensors[name] for name in layer.reads],
                [operand.element for operand in layer.xs],
                layer.y.element,
                layer.y.size,
            )
            if not np.array_equal(found, tensors[layer.name].reshape(found.shape)):
                wrong.append(f"{case.name}, {identifier}: {layer.kind} {process.plan}")
    assert not wrong, "\n".join(wrong)


def test_every_block_occurs(cases):
    """Every template, with one lane and with several."""
    seen = collections.Counter()
    for case in cases:
        for process in case.design.processes:
            kind = type(process).__name__
            if isinstance(process, Fork | WindowProcess):
                seen[kind, process.in_lanes > 1] += 1
        for _, process in layer_processes(case):
            seen[process.block, process.in_lanes > 1] += 1
            if isinstance(process.layer.op, Convolution) and process.layer.groups > 1 and process.block == "dense":
                seen["grouped", process.in_lanes > 1] += 1
            if process.block == "channel_shuffle" and process.in_lanes == process.layer.outputs:
                seen["wires", True] += 1
    blocks = {"dense", "grouped", "lanewise", "window", "pool", "join", "gate", "concatenate", "select", "repeat"}
    blocks |= {"pixel_shuffle", "channel_shuffle", "Fork", "WindowProcess"}
    needed = {(block, wide) for block in blocks for wide in (False, True)}
    needed.add(("wires", True))
    assert needed <= seen.keys(), needed - seen.keys()
