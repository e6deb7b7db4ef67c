# SPDX-License-Identifier: Apache-2.0
"""Each ONNX operation by itself: the nodes that it becomes, and every reason for which it is refused."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from flow.errors import FlowError, ModelFileError, UnsupportedModelError
from flow.frontend.importer import import_model, import_proto
from flow.ir.text import print_graph

QONNX = "qonnx.custom_op.general"
SCALARS = {"s": 0.5, "z": 0, "b": 4}
HEAD = '%"x" = Input(shape={shape})\n'
QUANT = (
    "%\"q\" = Quant(x=%\"x\", scale=array('float64', [], ['0x1.0000000000000p-1']), "
    "zero_point=array('float64', [], ['0x0.0p+0']), bits=4, signed=True, narrow=False, "
    "rounding=Rounding('half_even'))\n"
)


def node(op, inputs, output, **attributes):
    domain = {"domain": QONNX} if "Quant" in op else {}
    return helper.make_node(op, inputs.split(), [output], name=f"the_{op}", **domain, **attributes)


def model(*nodes, shape=(1, 4), opset=13, **arrays):
    """A Quant of the input, then these nodes; arrays keep integer types, all else becomes float32."""
    first = node("Quant", "x s z b", "q", signed=1, narrow=0, rounding_mode="ROUND")
    arrays = {n: np.asarray(v) for n, v in {**SCALARS, **arrays}.items()}
    wholes = {"to", "axes", "to2", "rest", "pads", "pairs", "last", "far", "first", "two"}
    parameters = [
        numpy_helper.from_array(v.astype(np.int64 if n in wholes else np.float32), n) for n, v in arrays.items()
    ]
    last = nodes[-1].output[0] if nodes else "q"
    graph = helper.make_graph(
        [first, *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        parameters,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def text_of(*nodes, shape=(1, 4), **arrays):
    """The model's text behind the input and its Quant."""
    text = print_graph(import_proto(model(*nodes, shape=shape, **arrays)).graph)
    head = HEAD.format(shape=repr(tuple(shape[1:]))) + QUANT
    assert text.startswith(head)
    return text.removeprefix(head)


def real(*values):
    return ", ".join(f"'{float(v).hex()}'" for v in values)


def constant(name, shape, *values):
    return f"%\"{name}\" = Constant(value=array('float64', {list(shape)}, [{real(*values)}]))\n"


@pytest.mark.parametrize(
    ("op", "kind"),
    [("Relu", "relu"), ("Sigmoid", "sigmoid"), ("Tanh", "tanh"), ("Neg", "neg"), ("Identity", "identity")],
)
def test_unary(op, kind):
    assert text_of(node(op, "q", "y")) == f'%"y" = Unary(kind=\'{kind}\', x=%"q")\nreturn %"y"\n'


def test_dropout_and_cast_to_float_are_identities():
    identity = '%"y" = Unary(kind=\'identity\', x=%"q")\nreturn %"y"\n'
    assert text_of(node("Dropout", "q", "y")) == identity
    assert text_of(node("Cast", "q", "y", to=TensorProto.FLOAT)) == identity


@pytest.mark.parametrize(("op", "kind"), [("Add", "add"), ("Sub", "sub"), ("Mul", "mul"), ("Div", "div")])
def test_binary_with_a_constant_behind(op, kind):
    text = text_of(node(op, "q c", "y"), c=[1, 2, 3, 4])
    assert text == constant("c", [4], 1, 2, 3, 4) + f'%"y" = Binary(kind=\'{kind}\', x=%"q", y=%"c")\nreturn %"y"\n'


@pytest.mark.parametrize(("op", "kind"), [("Add", "add"), ("Sub", "sub"), ("Mul", "mul")])
def test_binary_with_a_constant_in_front(op, kind):
    text = text_of(node(op, "c q", "y"), c=2)
    assert text == constant("c", [], 2) + f'%"y" = Binary(kind=\'{kind}\', x=%"c", y=%"q")\nreturn %"y"\n'


def test_constant_with_a_batch_axis_loses_it():
    text = text_of(node("Mul", "q c", "y"), c=[[1, 2, 3, 4]])
    assert text == (
        constant("c", [1, 4], 1, 2, 3, 4)
        + '%"y:c" = Reshape(x=%"c", shape=(4,))\n%"y" = Binary(kind=\'mul\', x=%"q", y=%"y:c")\nreturn %"y"\n'
    )


def test_matmul():
    text = text_of(node("MatMul", "q w", "y"), w=np.arange(8).reshape(4, 2))
    assert text == constant("w", [4, 2], *range(8)) + '%"y" = MatMul(x=%"q", weight=%"w")\nreturn %"y"\n'


def test_gemm():
    text = text_of(node("Gemm", "q w c", "y", transB=1), w=np.arange(8).reshape(2, 4), c=[5, 6])
    for part in ("MatMul(", "Transpose(", "order=(1, 0)", "Binary(kind='add'", constant("c", [2], 5, 6)):
        assert part in text
    assert text.endswith('return %"y"\n')
    text = text_of(node("Gemm", "q w", "y", alpha=0.5), w=np.arange(8).reshape(4, 2))
    assert "Binary(kind='mul'" in text
    assert real(0.5) in text
    assert text_of(node("Gemm", "q w", "y"), w=np.arange(8).reshape(4, 2)) == text_of(
        node("MatMul", "q w", "y"), w=np.arange(8).reshape(4, 2)
    )


def test_clip():
    ends = '%"y" = Clip(x=%"q", lo=real(\'{}\'), hi=real(\'{}\'))\nreturn %"y"\n'
    assert text_of(node("Clip", "q lo hi", "y"), lo=-1, hi=2) == ends.format((-1.0).hex(), (2.0).hex())
    assert text_of(node("Clip", "q lo", "y"), lo=0) == ends.format((0.0).hex(), "inf")
    assert text_of(node("Clip", "q", "y")) == ends.format("-inf", "inf")


def test_leaky_relu_and_softmax():
    text = text_of(node("LeakyRelu", "q", "y", alpha=0.125))
    slope = f"slope=array('float64', [], ['{(0.125).hex()}'])"
    assert text == f'%"y" = LeakyRelu(x=%"q", {slope})\nreturn %"y"\n'
    assert text_of(node("Softmax", "q", "y", axis=1)) == '%"y" = Softmax(x=%"q", axis=0)\nreturn %"y"\n'
    assert text_of(node("Softmax", "q", "y", axis=-1)) == '%"y" = Softmax(x=%"q", axis=0)\nreturn %"y"\n'


def test_batch_normalization():
    four = np.ones(4)
    text = text_of(node("BatchNormalization", "q g c m v", "y", epsilon=0.5), g=four, c=2 * four, m=3 * four, v=four)
    assert text.startswith('%"y" = BatchNorm(x=%"q", gamma=')
    assert text.endswith(f"epsilon=real('{(0.5).hex()}'))\nreturn %\"y\"\n")


@pytest.mark.parametrize(
    ("nodes", "shape", "arrays", "result"),
    [
        ([node("Flatten", "q", "y")], (1, 2, 3), {}, (6,)),
        ([node("Reshape", "q to", "y")], (1, 2, 3), {"to": [1, 6]}, (6,)),
        ([node("Reshape", "q to", "y")], (1, 2, 3), {"to": [0, -1]}, (6,)),
        ([node("Reshape", "q to", "y")], (1, 6), {"to": [-1, 3, 2]}, (3, 2)),
        ([node("Squeeze", "q axes", "y")], (1, 1, 6), {"axes": [1]}, (6,)),
        ([node("Squeeze", "q", "y")], (1, 1, 6, 1), {}, (6,)),
        ([node("Unsqueeze", "q axes", "y")], (1, 6), {"axes": [2]}, (6, 1)),
        ([node("Unsqueeze", "q axes", "y")], (1, 6), {"axes": [1]}, (1, 6)),
    ],
)
def test_shapes(nodes, shape, arrays, result):
    assert text_of(*nodes, shape=shape, **arrays) == f'%"y" = Reshape(x=%"q", shape={result!r})\nreturn %"y"\n'


def test_transpose():
    text = text_of(node("Transpose", "q", "y", perm=[0, 2, 1]), shape=(1, 2, 3))
    assert text == '%"y" = Transpose(x=%"q", order=(1, 0))\nreturn %"y"\n'


def test_shape_arithmetic_is_folded():
    """What PyTorch writes for ``x.view(x.size(0), -1)``."""
    nodes = [
        node("Shape", "q", "whole"),
        node("Gather", "whole to", "batch", axis=0),
        node("Concat", "batch to2", "target", axis=0),
        node("Reshape", "q target", "y"),
    ]
    text = text_of(*nodes, shape=(1, 2, 3), to=[0], to2=[-1])
    assert text == '%"y" = Reshape(x=%"q", shape=(6,))\nreturn %"y"\n'


def test_pads_computed_from_zeros():
    """What PyTorch writes for ``nn.ZeroPad2d((1, 1, 4, 5))``: the last axis first, begin and end in pairs."""
    zeros = numpy_helper.from_array(np.zeros(1, np.int64))
    nodes = [
        node("ConstantOfShape", "rest", "zeros", value=zeros),
        node("Concat", "pads zeros", "all", axis=0),
        node("Reshape", "all pairs", "table"),
        node("Slice", "table last far first last", "turned"),
        node("Transpose", "turned", "columns", perm=[1, 0]),
        node("Reshape", "columns last", "flat"),
        node("Pad", "q flat", "y"),
    ]
    arrays = {"rest": [4], "pads": [1, 1, 4, 5], "pairs": [-1, 2], "last": [-1], "far": [1 - 2**63], "first": [0]}
    text = text_of(*nodes, shape=(1, 1, 6, 6), **arrays)
    assert text.startswith('%"y" = Pad(x=%"q", before=(0, 4, 1), after=(0, 5, 1), value=')


def test_zeros_of_a_shape_are_float32():
    text = text_of(node("ConstantOfShape", "two", "b"), node("Add", "q b", "y"), shape=(1, 2), two=[2])
    assert "Constant(value=array('float64', [2], ['0x0.0p+0', '0x0.0p+0']))" in text


def test_quantisers():
    text = text_of(node("BipolarQuant", "q s", "y"))
    assert text.startswith('%"y" = BipolarQuant(x=%"q", scale=')
    text = text_of(node("Quant", "q s z one", "y", signed=1), one=1)
    assert text.startswith('%"y" = BipolarQuant(x=%"q", scale=')
    text = text_of(node("IntQuant", "q s z b", "y", signed=0, narrow=1, rounding_mode="floor"))
    assert "bits=4, signed=False, narrow=True, rounding=Rounding('floor')" in text


def test_what_the_output_does_not_need_is_left_out():
    assert (
        text_of(node("Relu", "q", "r"), node("Tanh", "q", "y")) == '%"y" = Unary(kind=\'tanh\', x=%"q")\nreturn %"y"\n'
    )


W = np.ones((4, 2))
FOUR = np.ones(4)
REFUSED = [
    (
        node("Quant", "q s z b", "y", rounding_mode="ODD"),
        {},
        "its rounding mode is 'ODD'",
    ),
    (node("Quant", "q s z b", "y"), {"s": -1}, "its scale is -1; a scale must be positive"),
    (node("Quant", "q s z b", "y"), {"s": np.nan}, "its scale is not a number (NaN or infinite)"),
    (node("Quant", "q s z2 b", "y"), {"z2": 0.5}, "its zero point is 0.5; it must be an integer"),
    (node("Quant", "q s z b2", "y"), {"b2": [4, 8]}, "it has 2 bit widths in one tensor (4 to 8)"),
    (node("Quant", "q s z b2", "y"), {"b2": 0}, "its bit width is 0; whole numbers from 1 to 32 are possible"),
    (
        node("Quant", "q s z b2", "y", signed=0, narrow=1),
        {"b2": 1},
        "it has one bit, unsigned and narrow: only the level 0",
    ),
    (node("Quant", "q q z b", "y"), {}, "its scale ('q') is computed, not constant"),
    (node("MatMul", "w q", "y"), {"w": W.T}, f"it multiplies {list(W.T.shape)} by [1, 4]"),
    (node("MatMul", "q q", "y"), {}, "it multiplies two activations"),
    (node("MatMul", "q w", "y"), {"w": np.ones((3, 2))}, "it multiplies [1, 4] by [3, 2]"),
    (node("Gemm", "q w", "y", transA=1), {"w": W}, "transA=1 would mix frames of a batch"),
    (node("Gemm", "q q", "y"), {}, "it multiplies two activations"),
    (node("Div", "q q", "y"), {}, "both its operands are activations"),
    (node("Add", "q c", "y"), {"c": [1, 2, 3]}, "its constant of shape [3] does not broadcast to [1, 4]"),
    (
        node("Add", "q c", "y"),
        {"c": np.ones((2, 4))},
        "its constant has shape [2, 4], which mixes frames of a batch",
    ),
    (node("Div", "c q", "y"), {"c": 1}, "it is not monotone in the activation"),
    (node("Pow", "q c", "y"), {"c": 2}, "it is not monotone in the activation"),
    (node("Sqrt", "q", "y"), {}, "the square root of an activation is not supported"),
    (
        node("BatchNormalization", "q g g g g", "y", training_mode=1),
        {"g": FOUR},
        "it is in training mode",
    ),
    (node("BatchNormalization", "q g g g v", "y"), {"g": FOUR, "v": -FOUR}, "a variance is not positive"),
    (
        node("BatchNormalization", "q g g g g", "y"),
        {"g": np.ones(3)},
        "it has 3 channels for a tensor of shape [1, 4]",
    ),
    (node("Clip", "q lo hi", "y"), {"lo": 2, "hi": 1}, "its bounds are 2 and 1"),
    (node("LeakyRelu", "q", "y", alpha=-0.5), {}, "its slope is -0.5, so it is not monotone"),
    (node("Reshape", "q to", "y"), {"to": [2, 2]}, "it makes [2, 2] of [1, 4], which mixes frames of a batch"),
    (node("Reshape", "q to", "y"), {"to": [1, 5]}, "it cannot make [1, 5] of [1, 4]"),
    (node("Flatten", "q", "y", axis=0), {}, "axis=0 mixes frames of a batch"),
    (node("Transpose", "q", "y", perm=[1, 0]), {}, "perm=[1, 0] moves the batch axis"),
    (node("Squeeze", "q axes", "y"), {"axes": [0]}, "it removes the batch axis"),
    (node("Unsqueeze", "q axes", "y"), {"axes": [0]}, "it adds an axis in front of the batch"),
    (node("ConstantOfShape", "q", "y"), {}, "it is supported on constants only, not on activations"),
    (
        node("Cast", "q", "y", to=TensorProto.INT32),
        {},
        "it casts an activation to int32",
    ),
    (node("Erf", "q", "y"), {}, "this operation is not supported"),
    (node("LSTM", "q", "y"), {}, "this operation is not supported"),
    (node("Relu", "q q", "y"), {}, "it has 2 inputs, which is not possible"),
    (node("Relu", "q", "y", slope=1.0), {}, "its attribute 'slope' does not exist in ONNX"),
    (node("Transpose", "q", "y", perm=[0, 2]), {}, "perm=[0, 2] is no order of 2 axes"),
    (node("FloatQuant", "q s", "y"), {}, "this operation is not supported"),
]


@pytest.mark.parametrize(("refused", "arrays", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refused(refused, arrays, why):
    kept = {"s2" if n == "s" else n: v for n, v in arrays.items()}
    if "s" in arrays:
        refused.input[1] = "s2"
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(model(refused, **kept))
    (problem,) = caught.value.problems
    assert (problem.op, problem.nodes, problem.why) == (refused.op_type, (refused.name,), why)
    assert problem.remedy
    assert caught.value.message == (
        "the model cannot be converted (1 problem):\n"
        f"  1. {refused.op_type} '{refused.name}': {why}\n      what to do: {problem.remedy}"
    )


def test_softmax_over_another_axis():
    with pytest.raises(UnsupportedModelError, match="it runs over axis 1, not over the last one"):
        import_proto(model(node("Softmax", "q", "y", axis=1), shape=(1, 2, 3)))


def test_what_follows_from_a_problem_is_no_problem():
    nodes = [node("Erf", "q", "a"), node("Relu", "a", "r"), node("Sqrt", "q", "t"), node("Tanh", "r", "y")]
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(model(*nodes))
    assert [p.op for p in caught.value.problems] == ["Erf", "Sqrt"]


def test_same_problem_of_many_nodes_is_told_once():
    nodes = [helper.make_node("Erf", ["q"], [f"e{i}"], name=f"erf{i}") for i in range(9)]
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(model(*nodes))
    assert len(caught.value.problems) == 1
    for name in ("erf0", "erf5"):
        assert f"'{name}'" in caught.value.message
    assert "3 more" in caught.value.message
    assert "''" not in caught.value.message
    assert "erf8" not in caught.value.message


def test_input_and_output_of_the_graph():
    two = model()
    two.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]))
    with pytest.raises(ModelFileError, match=r"the model has 2 outputs \(q, x\); one is supported"):
        import_proto(two)
    two = model()
    two.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1, 4]))
    with pytest.raises(ModelFileError, match=r"the model has 2 inputs \(x, x2\); one is supported"):
        import_proto(two)
    for shape, why in (
        ((2, 4), r"input 'x' has shape \[2, 4\]; the first dimension must be a batch of 1"),
        ((4,), r"input 'x' has shape \[4\]; the first dimension must be a batch of 1"),
        (("N", 4), r"the batch dimension of input 'x' is dynamic \('N'\)"),
        ((1, "length"), r"the dimension 1 of input 'x' is dynamic \('length'\)"),
        ((1, None), r"the dimension 1 of input 'x' is dynamic \('\?'\)"),
        ((), "input 'x' has no shape"),
    ):
        with pytest.raises(ModelFileError, match=why):
            import_proto(model(shape=shape))


def test_annotation_and_origins():
    proto = model(node("Relu", "q", "y"))
    annotation = proto.graph.quantization_annotation.add(tensor_name="x")
    annotation.quant_parameter_tensor_names.add(key="finn_datatype", value="BIPOLAR")
    proto.graph.node[1].name = "/fc1/act_quant/Relu"
    found = import_proto(proto)
    assert (found.input_annotation, found.input_name) == ("BIPOLAR", "x")
    assert str(found.origins["y"]) == "Relu '/fc1/act_quant/Relu' of module fc1"
    assert str(found.origins["q"]) == "Quant 'the_Quant'"


def test_every_truncation_is_refused(tmp_path):
    """Cut at any byte, the file is refused as a whole; what is wrong is never a traceback."""
    data = model(node("MatMul", "q w", "y"), w=W).SerializeToString()
    path, other = tmp_path / "cut.onnx", []
    for size in range(0, len(data) - 1, 3):
        path.write_bytes(data[:size])
        try:
            import_model(path)
        except FlowError:
            continue
        except Exception as error:
            other.append((size, repr(error)))
    assert other == []
