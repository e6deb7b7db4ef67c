# SPDX-License-Identifier: Apache-2.0
"""The way to the accelerator on a board with PYNQ (2.7 and later): AXI DMA, one transfer for each batch.

Beside ``accelerator.py``, which says what a device has to offer. Needs root, as every program that loads a bitstream.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
from accelerator_error import AcceleratorError

FILES = ("bit", "hwh")
"""What is loaded, by suffix; all have the name of the design."""
MOST_BYTES = (1 << 26) - 1
"""Of a transfer: the length register has 26 bits."""
Array = np.ndarray


class Channel:
    """One direction of AXI DMA in simple mode (PG021, "Direct Register Mode").

    Attributes:
        name: For messages.
    """

    _CONTROL, _STATUS, _ADDRESS, _ADDRESS_HIGH, _LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
    _RUN, _RESET = 0x1, 0x4  # of the control register
    _HALTED, _IDLE = 0x1, 0x2  # of the status register
    _ERRORS = ((0x10, "internal error"), (0x20, "slave error"), (0x40, "decode error"))

    def __init__(self, dma: Any, offset: int, name: str) -> None:
        self._dma, self._offset, self.name = dma, offset, name

    def _read(self, register: int) -> int:
        return int(self._dma.read(self._offset + register))

    def _write(self, register: int, value: int) -> None:
        self._dma.write(self._offset + register, value)

    def reset(self, timeout: float) -> None:
        """Drops what was under way, and starts anew. Resets the other direction, too."""
        self._write(self._CONTROL, self._RESET)
        self._until(lambda: not self._read(self._CONTROL) & self._RESET, timeout, "does not come out of its reset")

    def run(self, timeout: float) -> None:
        """Lets it take transfers."""
        self._write(self._CONTROL, self._RUN)
        self._until(lambda: not self._read(self._STATUS) & self._HALTED, timeout, "does not start")

    def transfer(self, address: int, size: int) -> None:
        """Starts a transfer of ``size`` bytes."""
        self._write(self._ADDRESS, address & 0xFFFFFFFF)
        self._write(self._ADDRESS_HIGH, address >> 32)
        self._write(self._LENGTH, size)

    def wait(self, timeout: float) -> None:
        """Until the transfer is done."""
        self._until(self._done, timeout, "waits for words that do not come")

    def moved(self) -> int:
        """Bytes of the transfer that is done."""
        return self._read(self._LENGTH)

    def _done(self) -> bool:
        status = self._read(self._STATUS)
        for bit, what in self._ERRORS:
            if status & bit:
                raise AcceleratorError(
                    f"the DMA ended its transfer of {self.name} with an {what} (status 0x{status:08x})",
                    "an internal error of the results means that they did not end where the frames did (TLAST): "
                    "the bitstream is not of this package, or wrong. The bitstream is loaded anew by the next call",
                )
        return bool(status & self._IDLE)

    def _until(self, done: Callable[[], bool], timeout: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline:
                if done():  # the program, not the board, was away
                    return
                raise AcceleratorError(
                    f"after {timeout:g} s the DMA of {self.name} still {complaint}",
                    "the next call loads the bitstream anew; if it happens again, look at the clock and the reset, "
                    "or give more time (--timeout)",
                )
            time.sleep(0)


class Device:
    """A loaded bitstream, with two buffers for frames and two for results.

    Args:
        folder: Of the package.
        io: ``io.json``.
        batch: Frames of a buffer.
        timeout: Seconds that a transfer may take.

    Raises:
        AcceleratorError: The board cannot run it.
    """

    def __init__(self, folder: Path, io: dict[str, Any], batch: int, timeout: float) -> None:
        self._bitstream = folder / f"{io['design']}.bit"
        self._sizes = io["input"]["frame_bytes"], io["output"]["frame_bytes"]
        self._batch, self._timeout = batch, timeout
        self._buffers: list[tuple[Any, Any]] = []
        self._pynq = _import_pynq()
        self.load()

    def load(self) -> None:
        """Loads the bitstream, which also empties the accelerator."""
        try:
            overlay = self._pynq.Overlay(str(self._bitstream))
        except PermissionError as error:
            raise AcceleratorError(f"the bitstream cannot be loaded: {error}", "run it as root: sudo -E") from error
        dma = getattr(overlay, "dma", None)
        if dma is None:
            raise AcceleratorError(
                f"{self._bitstream.name} has no AXI DMA called dma", "the .hwh is of another design: package it again"
            )
        self._send, self._receive = Channel(dma, 0x00, "frames"), Channel(dma, 0x30, "results")
        self._send.reset(self._timeout)
        for channel in (self._receive, self._send):
            channel.run(self._timeout)
        try:
            while len(self._buffers) < 2:
                pair = tuple(self._pynq.allocate((self._batch, size), np.uint8) for size in self._sizes)
                self._buffers.append((pair[0], pair[1]))
        except (RuntimeError, MemoryError) as error:
            raise AcceleratorError(
                f"there is no contiguous memory for two batches of {self._batch:,} frames ({error})",
                "ask for less: --batch N; other programs may hold some of it",
            ) from error

    def close(self) -> None:
        """Gives the memory back."""
        for pair in self._buffers:
            for buffer in pair:
                buffer.freebuffer()
        self._buffers = []

    def frames(self, number: int) -> Array:
        """Where frames are packed to: (batch, bytes of a frame) of buffer 0 or 1."""
        return self._buffers[number][0]

    def start(self, number: int, frames: int) -> None:
        """Sends the first frames of a buffer; room for the results is open before the first can come."""
        sent, received = self._buffers[number]
        sent[:frames].flush()
        self._receive.transfer(received.device_address, frames * self._sizes[1])
        self._send.transfer(sent.device_address, frames * self._sizes[0])

    def finish(self, number: int, frames: int) -> Array:
        """The results of what was started: (frames, bytes of a result).

        Raises:
            AcceleratorError: They did not come, or not all; the accelerator must be loaded anew.
        """
        self._receive.wait(self._timeout)
        self._send.wait(self._timeout)
        expected, moved = frames * self._sizes[1], self._receive.moved()
        if moved != expected:
            raise AcceleratorError(
                f"{moved:,} bytes of results came for {frames} frames, expected {expected:,}",
                "they ended early (TLAST): the bitstream is not of this package, or wrong. "
                "The bitstream is loaded anew by the next call",
            )
        received = self._buffers[number][1][:frames]
        received.invalidate()
        return np.asarray(received)

    def power(self) -> dict[str, float]:
        """Watts of each supply that the board measures; empty where it measures none (all Zynq-7000 boards)."""
        get_rails = getattr(self._pynq, "get_rails", None)
        rails = get_rails() if get_rails is not None else {}
        return {name: float(rail.power.value) for name, rail in sorted(rails.items()) if rail.power is not None}


def _import_pynq() -> Any:
    try:
        import pynq
    except ImportError as error:
        raise AcceleratorError(
            f"pynq cannot be imported ({error})",
            "on the board: use the Python of PYNQ (source /etc/profile.d/pynq_venv.sh, if it is there)",
        ) from error
    return pynq
