# SPDX-License-Identifier: Apache-2.0
"""Training: Brevitas models whose bit widths are learned, and their export. Only this package imports torch.

``flow.quant.export`` writes a model as QONNX and proves that the file is the model.
"""

from flow.quant.qonnx import export

__all__ = ["export"]
