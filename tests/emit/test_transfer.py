# SPDX-License-Identifier: Apache-2.0
"""The block that ends transfers (vivado_scripts/flow_transfer.v) in simulation, beside a model of what it shall do."""

import itertools
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from flow.resources import vivado_scripts

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not on PATH")

MODULE = vivado_scripts() / "flow_transfer.v"
# DMA, the block, and in place of the accelerator a queue that answers a frame DELAY cycles after it entered, or with
# EARLY before its last word entered. DMA and queue wait at random; a word that was offered may not change.
BENCH = """
`timescale 1ns / 1ps
module bench;
    parameter IN_WORDS = 3, OUT_WORDS = 2, FRAMES = 40, MARKS = 4, DELAY = 9, EARLY = 0, SEED = 1;
    reg clk = 0, resetn = 0;
    always #5 clk = ~clk;
    integer seed = SEED, sent = 0, entered = 0, left = 0, got = 0, cycle = 0;
    reg [FRAMES-1:0] ends;
    integer ready_at [0:FRAMES-1];
    reg in_valid = 0, out_ready = 0, accept = 0, offer = 0;
    wire in_ready, to_valid, to_last, from_ready, out_valid, out_last;
    wire [15:0] to_data, out_data;
    wire in_last = (sent % IN_WORDS == IN_WORDS - 1) && ends[sent / IN_WORDS];
    wire from_last = (left % OUT_WORDS == OUT_WORDS - 1);
    flow_transfer #(.IN_BITS(16), .OUT_BITS(16), .FRAME_WORDS(IN_WORDS), .MARKS(MARKS)) block (
        .aclk(clk), .aresetn(resetn),
        .frames_in_tdata(sent[15:0]), .frames_in_tkeep(2'b11), .frames_in_tlast(in_last),
        .frames_in_tvalid(in_valid), .frames_in_tready(in_ready),
        .frames_out_tdata(to_data), .frames_out_tkeep(), .frames_out_tlast(to_last), .frames_out_tvalid(to_valid),
        .frames_out_tready(accept),
        .results_in_tdata(left[15:0]), .results_in_tkeep(2'b11), .results_in_tlast(from_last),
        .results_in_tvalid(offer), .results_in_tready(from_ready),
        .results_out_tdata(out_data), .results_out_tkeep(), .results_out_tlast(out_last),
        .results_out_tvalid(out_valid), .results_out_tready(out_ready));
    reg was_valid = 0, was_last = 0, was_ready = 0; reg [15:0] was_data = 0;
    reg went, came;
    integer i, f;
    initial begin
        ends = ENDS; for (i = 0; i < FRAMES; i = i + 1) ready_at[i] = -1;
        repeat (3) @(posedge clk); #1 resetn = 1;
    end
    always @(posedge clk) if (resetn) begin
        cycle = cycle + 1;
        if (was_valid && !was_ready && (!out_valid || out_last != was_last || out_data != was_data)) begin
            $display("CHANGED"); $finish;
        end
        was_valid = out_valid; was_last = out_last; was_ready = out_ready; was_data = out_data;
        if (to_valid && accept) begin
            if (to_data !== entered[15:0] || to_last !== (entered % IN_WORDS == IN_WORDS - 1)) begin
                $display("WRONG WORD IN");
            end
            f = entered / IN_WORDS;
            entered = entered + 1;
            if (entered % IN_WORDS == 0) ready_at[f] = cycle + DELAY;
        end
        if (out_valid && out_ready) begin
            $display("word %0d %0d", out_data, out_last); got = got + 1;
        end
        went = in_valid && in_ready; came = offer && from_ready;
        #1;  // after the edge, at which the block looks
        sent = sent + went; left = left + came;
        f = left / OUT_WORDS;
        if (!in_valid || went) in_valid = (sent < IN_WORDS * FRAMES) && ($random(seed) % 3 != 0);
        if (!offer || came)
            offer = (left < OUT_WORDS * FRAMES) && ($random(seed) % 4 != 0)
                && ((ready_at[f] >= 0 && ready_at[f] <= cycle) || (EARLY && entered > IN_WORDS * f));
        accept = $random(seed) % 3 != 0;
        out_ready = $random(seed) % 3 != 0;
        if (got == OUT_WORDS * FRAMES) begin $display("DONE %0d", block.held); $finish; end
        if (cycle > 100 * FRAMES * (IN_WORDS + OUT_WORDS)) begin $display("STUCK"); $finish; end
    end
endmodule
"""


def simulate(folder: Path, transfers: list[int], **parameters: int) -> list[str]:
    """What the bench prints, for transfers of so many frames each."""
    frames = sum(transfers)
    ends = sum(1 << (place - 1) for place in itertools.accumulate(transfers))
    (folder / "bench.v").write_text(BENCH.replace("ENDS", f"{frames}'h{ends:x}", 1))
    given = [f"-Pbench.{name}={value}" for name, value in {"FRAMES": frames, **parameters}.items()]
    program = folder / "bench.vvp"
    files = [str(MODULE), str(folder / "bench.v")]
    built = subprocess.run(
        ["iverilog", "-g2005", "-Wall", *given, "-o", str(program), *files], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert "flow_transfer.v" not in built.stderr
    run = subprocess.run(["vvp", "-n", str(program)], capture_output=True, text=True, timeout=60)
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "marks", "delay", "early"),
    [
        ((3, 2), 4, 9, 0),
        ((1, 1), 64, 25, 0),
        ((1, 1), 2, 3, 0),
        ((5, 1), 4, 0, 1),
        ((1, 4), 8, 60, 0),
        ((4, 3), 2, 0, 1),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_transfer_ends_where_its_frames_ended(
    tmp_path: Path, words: tuple[int, int], marks: int, delay: int, early: int, seed: int
) -> None:
    transfers = random.Random(seed).choices([1, 1, 2, 3, 7, 13], k=12)
    ends = set(itertools.accumulate(transfers))
    expected = [
        f"word {number} {int((number + 1) % words[1] == 0 and (number + 1) // words[1] in ends)}"
        for number in range(words[1] * sum(transfers))
    ]
    sizes = {"IN_WORDS": words[0], "OUT_WORDS": words[1]}
    found = simulate(tmp_path, transfers, **sizes, MARKS=marks, DELAY=delay, EARLY=early, SEED=seed)
    assert found == [*expected, "DONE 0"]
