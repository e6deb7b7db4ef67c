# SPDX-License-Identifier: Apache-2.0
"""Stands in for pyxrt on a host with an Alveo card: two kernels that move frames through the compiled C-simulation.

Put the folder above first on the path of modules, then ``board.insert(library, io)``: the board is that of the stand-in
for pynq. It has only what the driver uses, in the form that pyxrt has it (XRT 2.11, 2022.1, to 2025.1), and is strict:

- A kernel has the arguments that its C++ has, a stream among them, which cannot be set; what is open exclusively cannot
  be opened again; the accelerator has no control registers and cannot be opened.
- A buffer has two sides, joined by ``sync``, and lies in one memory bank; a kernel takes buffers of its own bank only.
  Fresh memory holds rubbish.
- A run needs all its arguments, and cannot be started again before it is done, nor may its arguments change.

``board.fault``, beside those of pynq's that make sense here (``no_results``, ``wrong``, ``no_memory``):

    no_card         there is none
    other_platform  the .xclbin is for another card
    error           write_results ends with an error
"""

import enum
import threading
from pathlib import Path

import numpy as np
from pynq import MisuseError, board

_ARGUMENTS = {"read_frames": ("buffer", "stream", "scalar"), "write_results": ("stream", "buffer", "scalar")}
_BANKS = {"read_frames": 0, "write_results": 1}


class xclBOSyncDirection(enum.Enum):  # noqa: N801
    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1


class ert_cmd_state(enum.Enum):  # noqa: N801
    ERT_CMD_STATE_NEW = 1
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_ERROR = 5
    ERT_CMD_STATE_TIMEOUT = 8


class xrt_info_device(enum.Enum):  # noqa: N801
    electrical = 8


class uuid:  # noqa: N801
    def __init__(self, design):
        self.design = design


class device:  # noqa: N801
    """A card, by its number or address."""

    def __init__(self, which):
        if board.fault == "no_card" or which not in (0, "0000:65:00.1"):
            raise RuntimeError(f"Could not open device with index '{which}'")
        self.words = []  # results in the stream behind the accelerator
        self.arrived = threading.Condition()
        self.open = set()

    def load_xclbin(self, path):
        """The file's id."""
        if not isinstance(path, str) or not Path(path).is_file():
            raise RuntimeError(f"Failed to open xclbin: {path}")
        if board.fault == "other_platform":
            raise RuntimeError("The xclbin shell UUID does not match the device shell UUID")
        board.loaded.append(Path(path).name)
        return uuid(Path(path).stem)

    def get_info(self, key):
        """A sensor, as JSON."""
        if key is not xrt_info_device.electrical:
            raise MisuseError(f"unexpected sensor {key}")
        if not board.rails:
            raise RuntimeError("no sensor")
        return board.rails["electrical"]


class kernel:  # noqa: N801
    """One of the two."""

    class cu_access_mode(enum.Enum):  # noqa: N801
        exclusive = 0
        shared = 1

    def __init__(self, card, xclbin, name, mode=cu_access_mode.shared):
        if not isinstance(xclbin, uuid):
            raise TypeError("incompatible constructor arguments")
        if name not in _ARGUMENTS:
            raise RuntimeError(f"No such kernel '{name}'")
        if name in card.open:
            raise RuntimeError(f"failed to open ip context '{name}': Device or resource busy")
        if mode is not self.cu_access_mode.exclusive:
            raise MisuseError("another program could send frames between ours")
        card.open.add(name)
        self.card, self.name = card, name

    def group_id(self, place):
        """The memory bank of an argument."""
        if _ARGUMENTS[self.name][place] != "buffer":
            raise MisuseError(f"argument {place} of {self.name} lies in no memory")
        return _BANKS[self.name]


class bo:  # noqa: N801
    """A buffer."""

    class flags(enum.Enum):  # noqa: N801
        normal = 0

    def __init__(self, card, size, flags, group):
        if flags is not self.flags.normal or not isinstance(card, device) or not 0 < size < 1 << 31:
            raise TypeError("incompatible constructor arguments")
        if board.fault == "no_memory":
            raise RuntimeError("failed to allocate userptr bo: Cannot allocate memory")
        self.host, self.card_side = np.full(size, 0x5A, np.uint8), np.full(size, 0xC3, np.uint8)
        self.group = group

    def map(self):
        """The host's side."""
        return memoryview(self.host)

    def sync(self, direction, size, offset):
        """Copies one side to the other."""
        if not (offset >= 0 and 0 < size <= len(self.host) - offset):
            raise RuntimeError("Invalid offset and size when syncing BO")
        part = slice(offset, offset + size)
        to_card = direction is xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
        source, target = (self.host, self.card_side) if to_card else (self.card_side, self.host)
        target[part] = source[part]


class run:  # noqa: N801
    """One execution of a kernel."""

    def __init__(self, of):
        self.kernel, self.values, self.thread = of, {}, None
        self.state = ert_cmd_state.ERT_CMD_STATE_NEW

    def set_arg(self, place, value):
        """A buffer or a number."""
        kind = _ARGUMENTS[self.kernel.name][place]
        if self.thread is not None:
            raise MisuseError("an argument of a run that is under way")
        if kind == "buffer":
            if not isinstance(value, bo) or value.group != self.kernel.group_id(place):
                raise MisuseError(f"argument {place} of {self.kernel.name} is a buffer in its own bank")
        elif kind != "scalar" or type(value) is not int:
            raise MisuseError(f"argument {place} of {self.kernel.name} cannot be {value!r}")
        self.values[place] = value

    def start(self):
        """As hardware: in a thread of its own."""
        kinds = _ARGUMENTS[self.kernel.name]
        if self.thread is not None or set(self.values) != {p for p, kind in enumerate(kinds) if kind != "stream"}:
            raise MisuseError("a run that is under way, or without all its arguments")
        self.thread = threading.Thread(target=getattr(self, f"_{self.kernel.name}"), daemon=True)
        self.failure = None
        self.thread.start()

    def wait(self, timeout_ms):
        """Its state when it is done, or that the time is over."""
        if type(timeout_ms) is not int or timeout_ms < 1:  # 0: for ever
            raise MisuseError(f"waits for {timeout_ms!r} ms")
        if self.thread is None:
            raise MisuseError("wait for what was not started")
        self.thread.join(timeout_ms / 1000)
        if self.thread.is_alive():
            return ert_cmd_state.ERT_CMD_STATE_TIMEOUT
        self.thread = None
        if self.failure is not None:
            raise self.failure
        return self.state

    def _read_frames(self):
        buffer, count, card = self.values[0], self.values[2], self.kernel.card
        size = count * board.io["input"]["frame_bytes"]
        try:
            if not 0 < size <= len(buffer.card_side):
                raise MisuseError(f"{count} frames of a buffer of {len(buffer.card_side)} bytes")
            results = board.accelerate(buffer.card_side[:size].copy())
        except MisuseError as error:
            self.failure = error
            return
        board.transfers += 1
        with card.arrived:
            card.words.append(results)
            card.arrived.notify_all()
        self.state = ert_cmd_state.ERT_CMD_STATE_COMPLETED

    def _write_results(self):
        buffer, count, card = self.values[1], self.values[2], self.kernel.card
        size = count * board.io["output"]["frame_bytes"]
        if not 0 < size <= len(buffer.card_side):
            self.failure = MisuseError(f"room for {count} results in a buffer of {len(buffer.card_side)} bytes")
            return
        with card.arrived:
            while board.fault == "no_results" or sum(map(len, card.words)) < size:
                card.arrived.wait(0.05)
            stream = np.concatenate(card.words)
            card.words = [stream[size:]] if len(stream) > size else []
        buffer.card_side[:size] = stream[:size]
        bad = board.fault == "error"
        self.state = ert_cmd_state.ERT_CMD_STATE_ERROR if bad else ert_cmd_state.ERT_CMD_STATE_COMPLETED
