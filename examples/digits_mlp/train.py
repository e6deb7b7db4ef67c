# SPDX-License-Identifier: Apache-2.0
"""Trains the digits network, exports it twice, and checks both files against PyTorch.

Run ``python examples/digits_mlp/train.py`` to renew the files beside this one. A run is deterministic on
one machine (fixed seeds, one thread); another CPU or another version of torch may round differently and
train slightly different weights, so the committed files are the artefact, and not what a new run gives.
"""

import argparse
import time
from collections import OrderedDict
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.quant import Int8WeightPerChannelFloat, Int16Bias, Uint8ActPerTensorFloat
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.infer_shapes import InferShapes
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from flow.quant import export

SEED = 0
EPOCHS = 60
BATCH = 32
LEARNING_RATE = 0.01
TOLERANCE = 1e-4
EXPORTS = {"digits_mlp.onnx": False, "digits_mlp_dynamo.onnx": True}  # file name: dynamo or not


class LearnedWeightScale(Int8WeightPerChannelFloat):
    """One float scale per output channel, which starts at the largest weight and is then trained."""

    scaling_impl_type = "parameter_from_stats"


def clip_above(percentile: float) -> dict[str, object]:
    """Options of an activation quantiser whose range follows a percentile of the magnitudes it sees.

    A scale that is trained instead shrinks here until most of the values saturate, and bits are wasted.
    """
    return {"scaling_impl_type": "stats", "high_percentile_q": percentile}


def build_model() -> nn.Sequential:
    """The untrained network: (N, 64) pixels in [0, 1] to (N, 10) logits.

    No two layers have the same widths, and between them stand the things that a compiler has to fuse: a
    batch norm and a ReLU, a float bias, a bias quantised to the accumulator's scale, a signed quantiser
    whose saturation is the only nonlinearity.
    """

    def linear(inputs: int, outputs: int, weight_bits: int, **options: object) -> qnn.QuantLinear:
        return qnn.QuantLinear(
            inputs, outputs, weight_quant=LearnedWeightScale, weight_bit_width=weight_bits, **options
        )

    layers = {
        "pixels": qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, bit_width=4),
        "fc1": linear(64, 48, 4, bias=False),
        "norm1": nn.BatchNorm1d(48),
        "act1": qnn.QuantReLU(bit_width=4, **clip_above(99.5)),
        "fc2": linear(48, 32, 2, bias=False),
        "norm2": nn.BatchNorm1d(32),
        "act2": qnn.QuantReLU(bit_width=3, **clip_above(99.5)),
        "fc3": linear(32, 24, 3, bias=True),
        # Int16Bias takes its scale from its layer's input, so that one has to say what its scale is
        "act3": qnn.QuantIdentity(bit_width=5, return_quant_tensor=True, **clip_above(90)),
        "fc4": linear(24, 10, 6, bias=True, bias_quant=Int16Bias),
        "logits": qnn.QuantIdentity(bit_width=8, **clip_above(99.999)),
    }
    return nn.Sequential(OrderedDict(layers))


def load_split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels in [0, 1] and labels: three quarters to train on, one quarter held out."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)  # 0..16 to multiples of 1/16: exact
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, digits.target.astype(np.int64), test_size=0.25, stratify=digits.target, random_state=SEED
    )
    return tuple(torch.from_numpy(array) for array in (train_x, train_y, test_x, test_y))


def train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Trains in place, a fixed number of epochs; the held-out samples play no part in it."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
    batches = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * batches)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x))[: batches * BATCH].view(batches, BATCH):
            optimiser.zero_grad()
            loss_of(model(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
    model.eval()


def predict(model: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """The network's logits, (N, 10), as PyTorch computes them."""
    model.eval()
    with torch.no_grad():
        return model(x).numpy()


def execute(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits, (N, 10), that qonnx's executor computes with the file at ``path``, all in one batch."""
    model = ModelWrapper(str(path)).transform(ChangeBatchSize(len(x))).transform(InferShapes())
    return execute_onnx(model, {"x": x})["logits"]


def check(path: Path, x: Tensor, expected: NDArray[np.float32]) -> None:
    """Exits unless the file at ``path`` computes the ``expected`` logits, (N, 10)."""
    logits = execute(path, x.numpy())
    difference = np.abs(logits - expected).max()
    classes_agree = np.array_equal(logits.argmax(1), expected.argmax(1))
    print(f"{path.name}: {path.stat().st_size} bytes, differs from torch by {difference:.1e} at most")
    if difference >= TOLERANCE or not classes_agree:
        raise SystemExit(
            f"{path.name} does not compute what PyTorch computes: expected logits within {TOLERANCE} and the "
            f"same classes, found a difference of {difference} and classes that "
            f"{'agree' if classes_agree else 'disagree'}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the digits network and exports it to QONNX.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)

    train_x, train_y, test_x, test_y = load_split()
    model = build_model()
    start = time.perf_counter()
    train(model, train_x, train_y)
    print(f"trained on {len(train_x)} samples in {time.perf_counter() - start:.0f} s")

    logits = predict(model, test_x)
    correct = int((logits.argmax(1) == test_y.numpy()).sum())
    print(f"held-out accuracy: {correct} of {len(test_x)} ({correct / len(test_x):.1%})")

    for name, dynamo in EXPORTS.items():
        export(model, out / name, train_x[:8], dynamo=dynamo, names=("x", "logits"))
        check(out / name, test_x, logits)
    np.savez_compressed(out / "samples.npz", x=test_x.numpy(), y=test_y.numpy())


if __name__ == "__main__":
    main()
