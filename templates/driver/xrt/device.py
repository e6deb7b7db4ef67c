# SPDX-License-Identifier: Apache-2.0
"""The way to the accelerator on an Alveo card: XRT's own Python (pyxrt), a call of two moving kernels for a batch.

Beside ``accelerator.py``, which says what a device has to offer. The accelerator itself runs freely between
``read_frames`` and ``write_results`` and is not started. ``FLOW_CARD`` says which card: its number (0), or its address
(0000:65:00.1).
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from accelerator_error import AcceleratorError

FILES = ("xclbin",)
"""What is loaded, by suffix; it has the name of the design."""
MOST_BYTES = 1 << 30
"""Of a buffer: the kernels count its words in 31 bits."""
Array = np.ndarray

_READ, _WRITE = "read_frames", "write_results"
# the arguments of the kernels by their place; a stream has a place, too, and is not set (UG1393)
_FRAMES, _RESULTS, _COUNT = 0, 1, 2
_RESET = "reset the card (xrt-smi reset, or xbutil reset), and start this program anew"


class Device:
    """A loaded .xclbin, with two buffers for frames and two for results.

    Args:
        folder: Of the package.
        io: ``io.json``.
        batch: Frames of a buffer.
        timeout: Seconds that a call may take.

    Raises:
        AcceleratorError: The card cannot run it.
    """

    def __init__(self, folder: Path, io: dict[str, Any], batch: int, timeout: float) -> None:
        self._xclbin = folder / f"{io['design']}.xclbin"
        self._sizes = io["input"]["frame_bytes"], io["output"]["frame_bytes"]
        self._batch, self._timeout_ms = batch, max(1, math.ceil(1000 * timeout))
        self._xrt = _import_pyxrt()
        self._loaded = False
        self.load()

    def load(self) -> None:
        """Opens the card and loads the .xclbin.

        Raises:
            AcceleratorError: The card cannot be used. A second time it never can: XRT does not load again what is
                loaded, so that words of a call that failed would stay in the streams.
        """
        if self._loaded:
            raise AcceleratorError("a call failed, and its words may still be in the accelerator", _RESET)
        xrt, card = self._xrt, os.environ.get("FLOW_CARD", "0")
        try:
            self._device = xrt.device(int(card) if card.isdigit() else card)
        except (RuntimeError, TypeError) as error:  # TypeError: XRT of 2021 knows cards by number alone
            raise AcceleratorError(
                f"there is no card {card} ({error})", "xrt-smi examine (or xbutil examine) lists them; set FLOW_CARD"
            ) from error
        try:
            uuid = self._device.load_xclbin(str(self._xclbin))
            # exclusive: another program's frames would come between ours
            mode = xrt.kernel.cu_access_mode.exclusive
            self._read, self._write = (xrt.kernel(self._device, uuid, name, mode) for name in (_READ, _WRITE))
        except RuntimeError as error:
            raise AcceleratorError(
                f"{self._xclbin.name} cannot be loaded ({error})",
                "is it linked for the platform of this card, and does no other program use the card?",
            ) from error
        self._loaded = True
        self._runs = [(xrt.run(self._read), xrt.run(self._write)) for _ in range(2)]
        try:
            self._buffers = [self._pair(*runs) for runs in self._runs]
        except RuntimeError as error:
            raise AcceleratorError(
                f"there is no memory for two batches of {self._batch:,} frames ({error})", "ask for less: --batch N"
            ) from error

    def _pair(self, reading: Any, writing: Any) -> list[tuple[Any, Array]]:
        """A buffer for frames and one for results, known to the runs that use them; each with its bytes."""
        pair = []
        for kernel, run, place, size in (
            (self._read, reading, _FRAMES, self._sizes[0]),
            (self._write, writing, _RESULTS, self._sizes[1]),
        ):
            buffer = self._xrt.bo(self._device, self._batch * size, self._xrt.bo.flags.normal, kernel.group_id(place))
            run.set_arg(place, buffer)
            pair.append((buffer, np.frombuffer(buffer.map(), np.uint8).reshape(self._batch, size)))
        return pair

    def close(self) -> None:
        """Gives buffers, kernels and the card back."""
        self._buffers, self._runs = [], []
        self._read = self._write = self._device = None

    def frames(self, number: int) -> Array:
        """Where frames are packed to: (batch, bytes of a frame) of buffer 0 or 1."""
        return self._buffers[number][0][1]

    def start(self, number: int, frames: int) -> None:
        """Sends the first frames of a buffer; who takes the results is started first."""
        to_card = self._xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
        self._buffers[number][0][0].sync(to_card, frames * self._sizes[0], 0)
        for run in reversed(self._runs[number]):
            run.set_arg(_COUNT, frames)
            run.start()

    def finish(self, number: int, frames: int) -> Array:
        """The results of what was started: (frames, bytes of a result).

        Raises:
            AcceleratorError: They did not come; the card must be reset.
        """
        states = self._xrt.ert_cmd_state
        for run, name in zip(reversed(self._runs[number]), (_WRITE, _READ)):
            state = run.wait(self._timeout_ms)
            if state == states.ERT_CMD_STATE_TIMEOUT:
                raise AcceleratorError(
                    f"after {self._timeout_ms / 1000:g} s {name} still waits for words that do not come",
                    f"{_RESET}; if it happens again, give more time (--timeout), or report it",
                )
            if state != states.ERT_CMD_STATE_COMPLETED:
                raise AcceleratorError(f"{name} ended in the state {state}", f"look at dmesg; {_RESET}")
        buffer, results = self._buffers[number][1]
        buffer.sync(self._xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE, frames * self._sizes[1], 0)
        return results[:frames]

    def power(self) -> dict[str, float]:
        """Watts of the card, as it measures them itself; empty where it does not say."""
        try:
            told = json.loads(self._device.get_info(self._xrt.xrt_info_device.electrical))
            return {"card": float(told["power_consumption_watts"])}
        except (RuntimeError, ValueError, KeyError, TypeError):
            return {}


def _import_pyxrt() -> Any:
    try:
        import pyxrt
    except ImportError as error:
        raise AcceleratorError(
            f"pyxrt cannot be imported ({error})",
            "start it by sh run.sh, which sources XRT's setup.sh; XRT brings pyxrt for the Python of the system",
        ) from error
    return pyxrt
