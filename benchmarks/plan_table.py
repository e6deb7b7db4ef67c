# SPDX-License-Identifier: Apache-2.0
"""The best plans of known networks, beside designs that others have built and measured.

Networks with random weights come from tests/brevitas_networks.py (pip install -e '.[dev,train]'), trained ones from
../shared/models, where that folder is there. All figures of ours are estimates, those of others measurements: of
other weights and bits on the same part (XC7Z020) unless said otherwise.

Usage: python benchmarks/plan_table.py [--board NAME] [--clock MHZ] [NETWORK ...]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flow.api.compile import compile_model
from flow.errors import FlowError
from flow.plan import board as boards
from flow.plan.board import Board
from flow.plan.design import build_design
from flow.plan.folding import fold
from flow.plan.goals import Goals
from flow.plan.layers import layers_of
from flow.plan.timing import frame_latency

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "models"
sys.path.insert(0, str(ROOT / "tests"))

FILES = {
    "TFC 1W1A": ("mnist_tfc/TFC_1W1A.onnx", None),
    "TFC 2W2A": ("mnist_tfc/TFC_2W2A.onnx", None),
    "KWS MLP W3A3": ("kws_w3a3/kws_w3a3.onnx", None),
    "jet tagger": ("jet_qkeras/qkeras_jettagging.onnx", "fixed<16,6>"),
    "UNSW W2A2": ("unsw_w2a2/unsw_nb15-mlp-w2a2.onnx", None),
    "MNIST CNN": ("mnist_cnn_mdc/mnist_cnn_w4w8.onnx", "fixed<16,6>"),
    "ESPCN": ("espcn_nn_resize/quant_model.onnx", None),
}
MEASURED = {
    "TFC 1W1A": "FINN: 8,220 LUT, 30,534 fps (RTL simulation); unfolded 37,469 LUT, 51 cycles",
    "KWS MLP W3A3": "FINN (MLPerf Tiny): 17.5 us",
    "jet tagger": "hls4ml: 63,251 LUT, 38 DSP, 45 ns (VU9P); HGQ + da4ml: 5,974 LUT, 24.6 ns (VU13P)",
    "CNV 1W1A": "FINN (MLPerf Tiny): 1.51 ms",
    "ResNet-8": "hls4ml (MLPerf Tiny): 27.3 and 7.64 ms; fpgaConvNet: 0.411 ms, 47 K LUT, 211 DSP",
    "DS-CNN": "fpgaConvNet (MLPerf Tiny): 0.324 ms",
    "AD autoencoder": "hls4ml (MLPerf Tiny): 18.7 us",
}


def own_networks() -> dict[str, object]:
    """Networks of flow.quant.models at full width."""
    import brevitas_networks as networks

    return {
        "CNV 1W1A": networks.FULL_SIZE["cnv_1w1a"],
        "ResNet-8": networks.known("resnet8", networks.IMAGE, 4, 4, 1.0),
        "DS-CNN": networks.known("ds_cnn", (1, 49, 10), 4, 5, 1.0, 12),
        "AD autoencoder": networks.NETWORKS["autoencoder"],
    }


def row(path: Path, input_type: str | None, board: Board, clock: float) -> list[str]:
    """Frame rate, latency, resources, time and what is proved of the fastest plan within 70 %."""
    layers = layers_of(compile_model(path, input_type).graph)
    start = time.process_time()
    try:
        found = fold(layers, board, clock, Goals())
    except FlowError as error:
        return ["-"] * 6 + [f"{time.process_time() - start:.1f}", error.message]
    seconds = time.process_time() - start
    design = build_design(layers, found.plan, board.axis_bits)
    used = found.resources
    return [
        f"{clock * 1e6 / design.interval:,.0f}",
        f"{frame_latency(design) / clock:,.2f}",
        *(f"{amount:,}" for amount in (used.lut, used.ff, used.dsp, used.bram18)),
        f"{seconds:.1f}",
        found.optimality,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--clock", type=float, default=100.0)
    parser.add_argument("networks", nargs="*", help="default: all")
    given = parser.parse_args()
    board = boards.load(given.board)
    table = Table(title=f"{board.title}, {given.clock:g} MHz, at most 70 % (estimated)", title_justify="left")
    table.add_column("network", no_wrap=True)
    for title in ("fps", "latency us", "LUT", "FF", "DSP", "BRAM18", "plan: CPU s"):
        table.add_column(title, justify="right")
    table.add_column("what is proved")
    table.add_column("measured by others")
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, input_type) in FILES.items():
            if (SHARED / file).is_file() and (not given.networks or name in given.networks):
                table.add_row(name, *row(SHARED / file, input_type, board, given.clock), MEASURED.get(name, ""))
        import brevitas_networks

        for name, network in own_networks().items():
            if not given.networks or name in given.networks:
                path = brevitas_networks.export(name, "float", "legacy", Path(folder), {name: network})
                table.add_row(name, *row(path, None, board, given.clock), MEASURED.get(name, ""))
    Console(width=200).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
