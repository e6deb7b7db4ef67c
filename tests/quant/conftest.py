# SPDX-License-Identifier: Apache-2.0
"""Tests of training need torch and Brevitas, and run on one thread."""

import pytest

for package in ("torch", "brevitas", "onnxoptimizer", "onnxscript", "sklearn"):
    pytest.importorskip(package)


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
