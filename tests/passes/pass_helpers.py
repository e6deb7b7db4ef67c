# SPDX-License-Identifier: Apache-2.0
"""Short ways to write graphs of both languages, random graphs, and the contract of a pass as one function."""

import numpy as np

from flow.ir.dataflow import (
    NEVER,
    Dense,
    Flatten,
    Source,
    Step,
    execute,
    infer_types,
    verify_dataflow,
)
from flow.ir.graph import Graph
from flow.ir.model import BipolarQuant, Quant
from flow.ir.model_rules import verify_model
from flow.ir.rounding import Rounding
from flow.ir.text import print_graph
from flow.ir.types import Bipolar, IntType, parse_type

# ----------------------------------------------------------------------------------------- dataflow language


def ints(*values):
    return np.array(values, np.int64)


def source(name, shape, lo, hi, element=None):
    lo, hi = np.atleast_1d(np.array(lo, np.int64)), np.atleast_1d(np.array(hi, np.int64))
    kind = parse_type(element) if element else IntType.holding(int(lo.min()), int(hi.max()))
    return Source(name, tuple(shape), kind, lo, hi)


def dense(name, x, weight, acc="i40"):
    return Dense(name, x, np.array(weight, np.int64), parse_type(acc))


def step(name, x, rows, start, stride, lo, hi, element):
    """A step function; ``rows`` may be of unlike length."""
    thresholds = np.full((len(rows), max(len(row) for row in rows)), NEVER, np.int64)
    for channel, row in enumerate(rows):
        thresholds[channel, : len(row)] = row
    arrays = [np.atleast_1d(np.array(a, np.int64)) for a in (start, stride, lo, hi)]
    return Step(name, x, thresholds, *arrays, parse_type(element))


def dataflow(*nodes, outputs=None):
    graph = Graph(tuple(nodes), tuple(outputs or (nodes[-1].name,)))
    verify_dataflow(graph)
    return graph


def inputs_of(graph, count=256, seed=0):
    """Every input where there are few, else random ones with the extremes."""
    src = graph.nodes[0]
    size = src.lo.size
    lo = np.resize(src.lo, int(np.prod(src.shape))) if size > 1 else np.full(int(np.prod(src.shape)), src.lo)
    hi = np.resize(src.hi, int(np.prod(src.shape))) if size > 1 else np.full(int(np.prod(src.shape)), src.hi)
    unit = 2 if isinstance(src.element, Bipolar) else 1
    choices = (hi - lo) // unit + 1
    if np.prod(choices.astype(float)) <= 512:
        ranks = np.stack(np.unravel_index(np.arange(int(np.prod(choices))), choices), axis=1)
    else:
        ranks = np.random.default_rng(seed).integers(0, choices, (count, lo.size))
        ranks[0], ranks[-1] = 0, choices - 1
    return (lo + unit * ranks).reshape(-1, *src.shape)


def assert_same_outputs(before, after):
    feeds = {before.nodes[0].name: inputs_of(before)}
    old, new = execute(before, feeds), execute(after, feeds)
    assert list(old) == list(new)
    for name in old:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)


def assert_becomes(transform, before, expected):
    """The pass gives exactly that graph, which is valid, computes the same, and is left alone by the pass."""
    found = transform(before)
    assert found.same(expected), f"expected\n{print_graph(expected)}\nfound\n{print_graph(found)}"
    verify_dataflow(found)
    assert_same_outputs(before, found)
    assert transform(found) is found


def random_step(rng, name, x, types):
    """A random step on a tensor: any direction, thresholds also outside, an interval that is often too wide."""
    t = types[x]
    last = t.shape[-1] if t.shape else 1
    options = [1, last] if t.lo.size in (1, last) else [1, t.lo.size]
    channels = int(rng.choice(options))
    lo, hi = np.resize(t.lo, channels), np.resize(t.hi, channels)
    if channels == 1:
        lo, hi = t.lo.min(keepdims=True), t.hi.max(keepdims=True)
    if rng.random() < 0.5:
        lo, hi = lo - rng.integers(0, 4, channels), hi + rng.integers(0, 4, channels)
    if rng.random() < 0.25:  # a wire
        rows = [list(range(a + 1, b + 1)) for a, b in zip(lo.tolist(), hi.tolist(), strict=True)]
        if max(map(len, rows)) < 40:
            kind = IntType.holding(int(lo.min()), int(hi.max()))
            return step(name, x, rows, lo, [1] * channels, lo, hi, str(kind))
    if rng.random() < 0.3:  # bipolar
        rows = [sorted(rng.integers(a - 1, b + 2, 1).tolist()) for a, b in zip(lo, hi, strict=True)]
        stride = rng.choice([-2, 2], channels)
        return step(name, x, rows, np.where(stride > 0, -1, 1), stride, lo, hi, "b1")
    count = int(rng.integers(0, 6))
    rows = [
        sorted(rng.integers(a - 2, b + 3, rng.integers(0, count + 1)).tolist()) for a, b in zip(lo, hi, strict=True)
    ]
    return step(name, x, rows, rng.integers(-4, 5, channels), rng.choice([-1, 1], channels), lo, hi, "i5")


def random_dataflow(seed):
    """A random valid chain: products with and without common factors, step functions, flattenings."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)),) if rng.random() < 0.8 else (2, int(rng.integers(1, 3)))
    kind = str(rng.choice(["b1", "u2", "i3", "i4"]))
    element = parse_type(kind)
    nodes = [Source("x", shape, element, ints(element.min), ints(element.max))]
    for number in range(int(rng.integers(1, 5))):
        types = infer_types(Graph(tuple(nodes), ()))
        x = nodes[-1].name
        t = types[x]
        choice = rng.random()
        if choice < 0.15 and len(t.shape) == 2:
            nodes.append(Flatten(f"f{number}", x, (t.size,)))
            continue
        if choice < 0.6 and t.lo.size in (1, t.shape[-1]) and np.abs([t.lo, t.hi]).max() < 1000:
            weight = rng.integers(-3, 4, (t.shape[-1], int(rng.integers(1, 4))))
            if rng.random() < 0.6:
                weight = weight * rng.integers(1, 5, weight.shape[1])
            nodes.append(Dense(f"d{number}", x, weight, IntType(24, signed=True)))
            types = infer_types(Graph(tuple(nodes), ()))
            x = nodes[-1].name
        nodes.append(random_step(rng, f"s{number}", x, types))
    names = [node.name for node in nodes[1:-1]]
    extra = (str(rng.choice(names)),) if names and rng.random() < 0.3 else ()
    graph = Graph(tuple(nodes), (*extra, nodes[-1].name))
    verify_dataflow(graph)
    return graph


def assert_contract(transform, seeds=range(300), acted=0.1, once=True):
    """On random graphs: valid, equal, the same object where nothing changes; and it does act on some."""
    changed = 0
    for seed in seeds:
        graph = random_dataflow(seed)
        found = transform(graph)
        if found is graph:
            continue
        changed += 1
        verify_dataflow(found)
        assert not found.same(graph), f"seed {seed}: a new object that says the same"
        assert found.outputs == graph.outputs
        assert_same_outputs(graph, found)
        assert not once or transform(found) is found, f"seed {seed}: not done in one go"
    assert changed >= acted * len(seeds), f"it acted on {changed} graphs only"


# -------------------------------------------------------------------------------------------- model language


def quant(name, x, scale=1.0, zero=0.0, bits=4, signed=True, narrow=False, rounding=Rounding.HALF_EVEN):
    return Quant(name, x, np.array(scale, float), np.array(zero, float), bits, signed, narrow, rounding)


def bipolar(name, x, scale=1.0):
    return BipolarQuant(name, x, np.array(scale, float), np.zeros(()))


def model(*nodes, outputs=None):
    graph = Graph(tuple(nodes), tuple(outputs or (nodes[-1].name,)))
    verify_model(graph)
    return graph


def assert_model_becomes(transform, before, expected):
    found = transform(before)
    assert found.same(expected), f"expected\n{print_graph(expected)}\nfound\n{print_graph(found)}"
    verify_model(found)
