# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools against onnxruntime and torch, with all their attributes."""

import itertools

import numpy as np
import pytest
from operation_checks import body, check, node, quantised

from flow.errors import UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.model import Pool

RNG = np.random.default_rng(1)


def weights(*shape):
    return RNG.normal(size=shape)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 2)])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"pads": [1, 0, 2, 3]},
        {"dilations": [2, 1], "pads": [2, 2, 2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [3, 1]},
        {"auto_pad": "VALID", "strides": [1, 2]},
    ],
)
def test_conv(groups, kernel, attributes):
    w = weights(12, 6 // groups, *kernel)
    check(node("Conv", "q w", group=groups, kernel_shape=kernel, **attributes), (1, 6, 7, 8), w=w)


def test_conv_with_bias_and_one_dimension():
    check(node("Conv", "q w b"), (1, 4, 9, 9), w=weights(5, 4, 3, 3), b=weights(5))
    check(node("Conv", "q w b", strides=[2], pads=[1, 2]), (1, 4, 9), w=weights(5, 4, 3), b=weights(5))
    check(node("Conv", "q w", dilations=[3], group=4), (1, 4, 9), w=weights(8, 1, 3))
    check(node("Conv", "q w"), (1, 2, 3, 4, 5), w=weights(3, 2, 2, 2, 2))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        {"strides": [3, 2], "output_padding": [2, 1]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 2], "pads": [0, 0, 1, 0], "output_padding": [1, 1]},
        {"dilations": [2, 1], "strides": [1, 2], "pads": [1, 1, 2, 0]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "VALID", "strides": [2, 2]},
    ],
)
def test_conv_transpose(groups, attributes):
    w = weights(4, 6 // 2, 3, 4)
    check(node("ConvTranspose", "q w b", group=groups, **attributes), (1, 4, 4, 5), w=w, b=weights(3 * groups))


def test_conv_transpose_in_one_dimension():
    check(node("ConvTranspose", "q w", strides=[3], output_padding=[1]), (1, 4, 5), w=weights(4, 2, 3))


def pools():
    for kernel, strides, pads, dilations, ceil in itertools.product(
        [[2, 2], [3, 2]], [[1, 1], [2, 3]], [[0, 0, 0, 0], [1, 0, 1, 1]], [[1, 1], [2, 1]], [0, 1]
    ):
        yield {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations, "ceil_mode": ceil}


@pytest.mark.parametrize("attributes", list(pools()), ids=str)
def test_pools(attributes):
    for shape in ((1, 3, 7, 6), (1, 2, 8, 9)):
        check(node("MaxPool", "q", **attributes), shape, opset=19)
        for counted in (0, 1):
            check(node("AveragePool", "q", **attributes, count_include_pad=counted), shape, opset=19)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_pools_with_automatic_padding(op, auto_pad):
    check(node(op, "q", kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto_pad), (1, 3, 7, 6))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools_in_one_dimension(op):
    check(node(op, "q", kernel_shape=[3], strides=[2], pads=[1, 1], ceil_mode=1), (1, 3, 8))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("size", [6, 7, 8, 9])
def test_average_pools_are_those_of_torch(whole, size):
    torch = pytest.importorskip("torch")
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    proto = body([node("AveragePool", "q", **attributes, count_include_pad=int(whole))], (1, 2, size, size), {}, 19)
    graph = import_proto(quantised(proto)).graph
    from flow.ir.reference import Evaluation

    run = Evaluation(graph, {"x": RNG.normal(size=(3, 2, size, size))})
    pool = torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=whole)
    expected = pool(torch.from_numpy(run.tensors["q"].value)).numpy()
    assert np.abs(run.tensors["y"].value - expected).max() < 1e-12


def test_a_plain_average_pool_is_one_node():
    graph = check(node("AveragePool", "q", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), (1, 2, 4, 6))
    (pool,) = (n for n in graph.nodes if isinstance(n, Pool))
    assert not pool.window.pads


REFUSED = [
    (
        node("Conv", "q w", pads=[-1, 0, 0, 0]),
        "its pads [-1, 0, 0, 0] are negative: it crops",
    ),
    (node("Conv", "q w", pads=[1, 1]), "it has 2 pads for 2 spatial axes"),
    (node("Conv", "q w", strides=[1]), "its attributes do not all have 2 numbers, one for each spatial axis"),
    (node("Conv", "q w", auto_pad="SAME"), "its auto_pad is 'SAME'"),
    (node("Conv", "q w", kernel_shape=[2, 2]), "its kernel_shape [2, 2] is not that of its weights, [3, 3]"),
    (node("Conv", "q w", group=2), "its weights of shape [4, 4, 3, 3] in 2 groups do not fit 4 channels"),
    (node("Conv", "q q"), "its weights ('q') depend on the input"),
    (node("Conv", "q w1"), "its weights have shape [4, 4, 3] for 2 spatial axes"),
    (node("Conv", "q w", dilations=[9, 9]), "a window that spans (19, 19) does not fit (5, 5)"),
    (node("Conv", "q w b3"), "its bias has shape [3] for 4 outputs"),
    (
        node("ConvTranspose", "q w", output_shape=[9, 9]),
        "its output_shape leaves the padding open",
    ),
    (
        node("ConvTranspose", "q w", group=3),
        "its weights of shape [4, 4, 3, 3] in 3 groups do not fit 4 channels",
    ),
    (
        node("ConvTranspose", "q w", auto_pad="SAME_UPPER", strides=[5, 5]),
        "its auto_pad would need a negative padding",
    ),
    (
        node("MaxPool", "q", "y places", kernel_shape=[2, 2]),
        "its second output, the places of the maxima, is read",
    ),
    (node("MaxPool", "q", kernel_shape=[1, 1], pads=[1, 1, 1, 1]), "some of its windows see nothing but padding"),
]


@pytest.mark.parametrize(("refused", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refused(refused, why):
    arrays = {"w": weights(4, 4, 3, 3), "w1": weights(4, 4, 3), "b3": weights(3)}
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(quantised(body([refused], (1, 4, 5, 5), arrays)))
    (problem,) = caught.value.problems
    assert (problem.op, problem.nodes, problem.why) == (refused.op_type, (refused.name,), why)
    assert problem.remedy
