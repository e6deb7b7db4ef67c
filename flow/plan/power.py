# SPDX-License-Identifier: Apache-2.0
"""Power and energy: a first, rough model.

The power of a whole board in the published runs of MLPerf Tiny 0.7 (four networks of two generators, all at 100 MHz)
lies within a tenth on PYNQ-Z2 and within a twentieth on Arty A7-100T: processor, DRAM and regulators take most of it,
whatever the logic does. So the model is the measured range of the board, and a frame takes that power for its time.
No term for LUTs, memories or the clock is added: no measurement that was found separates one. Outside of those
runs (a faster clock, a board that is full) it can be further off.
"""

from flow.plan.board import Board

ASSUMPTION = "rough: the whole board's measured power over other designs, for the time between two frames"


def energy_per_frame(board: Board, interval: int, clock_mhz: float) -> tuple[float, float] | None:
    """The least and the most joules for a frame when frames follow each other without a gap.

    Args:
        board: With the power that was measured while it ran; None is returned where that is unknown.
        interval: Cycles from frame to frame.
        clock_mhz: Of the accelerator.
    """
    if board.running_watts is None:
        return None
    seconds = interval / (clock_mhz * 1e6)
    low, high = board.running_watts
    return low * seconds, high * seconds
