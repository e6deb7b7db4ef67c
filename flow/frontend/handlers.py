# SPDX-License-Identifier: Apache-2.0
"""The tables of ONNX operations that are converted, and by what."""

from types import MappingProxyType

from flow.frontend import activations, arithmetic, moves, qcdq, quantisers, reductions, shapes, windows
from flow.frontend.activations import unary
from flow.frontend.arithmetic import binary
from flow.frontend.context import Handler

HANDLERS = MappingProxyType[str, Handler](
    {
        "Add": binary("add"),
        "ArgMax": reductions.arg_max,
        "AveragePool": windows.average_pool,
        "BatchNormalization": arithmetic.batch_normalization,
        "BipolarQuant": quantisers.bipolar_quant,
        "Cast": shapes.cast,
        "Clip": activations.clip,
        "Concat": moves.concat,
        "Constant": shapes.constant,
        "ConstantOfShape": shapes.on_arrays(shapes.filled),
        "Conv": windows.conv("first"),
        "ConvTranspose": windows.conv_transpose,
        "DepthToSpace": moves.depth_to_space,
        "DequantizeLinear": qcdq.dequantize_linear,
        "Div": binary("div"),
        "Dropout": unary("identity"),
        "Elu": activations.elu,
        "Flatten": shapes.flatten,
        "Gather": moves.gather,
        "Gelu": activations.gelu,
        "Gemm": arithmetic.gemm,
        "GlobalAveragePool": reductions.global_pool("mean"),
        "GlobalMaxPool": reductions.global_pool("max"),
        "HardSigmoid": activations.hard_sigmoid,
        "HardSwish": unary("hardswish"),
        "Identity": unary("identity"),
        "IntQuant": quantisers.quant,
        "LeakyRelu": activations.leaky_relu,
        "MatMul": arithmetic.matmul,
        "MaxPool": windows.max_pool("first"),
        "Mul": binary("mul"),
        "Neg": unary("neg"),
        "PRelu": activations.prelu,
        "Pad": moves.pad,
        "Pow": binary("pow"),
        "Quant": quantisers.quant,
        "QuantizeLinear": qcdq.quantize_linear,
        "ReduceMax": reductions.reduce("max"),
        "ReduceMean": reductions.reduce("mean"),
        "ReduceSum": reductions.reduce("sum"),
        "Relu": unary("relu"),
        "Reshape": shapes.reshape,
        "Resize": moves.resize,
        "Shape": shapes.shape_of,
        "Sigmoid": unary("sigmoid"),
        "Sign": unary("sign"),
        "Slice": moves.slice_of,
        "Softmax": activations.softmax,
        "Softplus": unary("softplus"),
        "SpaceToDepth": moves.space_to_depth,
        "Split": moves.split,
        "Sqrt": unary("sqrt"),
        "Squeeze": shapes.squeeze,
        "Sub": binary("sub"),
        "Swish": activations.swish,
        "Tanh": unary("tanh"),
        "TopK": reductions.top_k,
        "Transpose": shapes.transpose,
        "Trunc": quantisers.trunc,
        "Unsqueeze": shapes.unsqueeze,
        "Upsample": moves.resize,
    }
)

CHANNELS_LAST = MappingProxyType[str, Handler](
    {
        "BatchNormalization": arithmetic.batch_normalization_channels_last,
        "Conv": windows.conv("last"),
        "MaxPool": windows.max_pool("last"),
    }
)
"""Of the domain ``qonnx.custom_op.channels_last``: activations are (1, *spatial, channels)."""


def handler_of(op: str, domain: str) -> Handler | None:
    """What converts an operation; None where nothing does."""
    if domain.endswith("channels_last"):
        return CHANNELS_LAST.get(op)
    return HANDLERS.get(op)
