# SPDX-License-Identifier: Apache-2.0
"""Your own model and your own loop: widths learned within a budget, an export that is checked, an exact design.

Usage: python examples/own_training_loop.py [FOLDER]
"""

import sys
from pathlib import Path

import brevitas.nn as qnn
import torch
from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat
from sklearn.datasets import load_digits
from torch import nn

from flow import build, quant
from flow.quant.budget import Budget
from flow.quant.methods import METHODS

STEPS, HELD_OUT = 400, 400
torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)

model = nn.Sequential(
    qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8),
    qnn.QuantLinear(64, 16, bias=False, weight_bit_width=4),
    nn.BatchNorm1d(16),
    qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4),
    qnn.QuantLinear(16, 10, bias=True, weight_bit_width=4),
)
method = METHODS["sinareq"](strength=3.0, penalty=0.0, bits=5, max_bits=5)
method.prepare(model, x[:64], STEPS)
budget = Budget(average_bits=4.5)
budget.prepare(method, x[:64])
optimiser = torch.optim.Adam(method.param_groups(lr=0.01))
for step in range(1, STEPS + 1):
    batch = torch.randint(len(x) - HELD_OUT, (32,))
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
    (loss + method.loss() + budget.loss()).backward()
    optimiser.step()
    method.on_step(step)
    budget.on_step(step)
method.finalize()
budget.check()

model.eval()
right = (model(x[-HELD_OUT:]).argmax(1) == y[-HELD_OUT:]).float().mean()
bits = {name: int(width) for name, width in method.assignment().items()}
print(f"accuracy {float(right):.3f}, bits of the layers {bits}")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_training_loop")
folder.mkdir(parents=True, exist_ok=True)
file = quant.export(model, folder / "model.onnx", x[:16])
report = build(file, out=folder / "build").report
print(f"exact in C simulation; {report.fps.value:,.0f} frames/s, {report.total['lut'].value:,} LUTs")
