# SPDX-License-Identifier: Apache-2.0
"""Stands in for PYNQ on a board: an overlay whose DMA moves words through the compiled C-simulation.

Put the folder above first on the path of modules, then ``board.insert(library, io)``. It has only what the driver uses,
in the form that PYNQ 2.7 to 3.1 have it, and is strict about it:

- The registers of AXI DMA (PG021, "Direct Register Mode"): a transfer on a channel that does not run, that is busy, of
  more than 26 bits, at an address that no buffer has, or not aligned to a word is an error of the test.
- Memory has two sides: what the processor wrote reaches the device with ``flush``, and the other way with
  ``invalidate``. Fresh memory holds rubbish.
- Words that were sent run in a thread of their own, as hardware does, and results wait for a buffer.

``board.fault`` names what is wrong with the board:

    short           results end early: half of them, TLAST with the last
    last_high       TLAST with every word
    last_low        no TLAST at all: DMA sees more words than it expects an end after
    no_results      none come
    stuck_reset     the DMA never leaves its reset
    no_dma          the bitstream holds no DMA
    wrong           one bit of the results is wrong
    no_memory       none that is contiguous is left
    root            the bitstream may not be loaded

``board.coherent`` makes memory of one side, and hardware that works as late as it can, when its status is read: whoever
touches a buffer that is under way sees it.
"""

import ctypes
import itertools
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np


class MisuseError(AssertionError):
    """The driver did what it must not."""


class Board:
    """What is on the bench."""

    def __init__(self):
        self.fault = None
        self.loaded = []  # bitstreams
        self.frames = 0
        self.transfers = 0
        self.rails = {}
        self.coherent = False
        self.late = []  # with ``coherent``: what the hardware has not done yet

    def insert(self, library, io):
        """A design: the library that ``compile_design`` made, and its ``io.json``."""
        self.__init__()
        self.library = ctypes.CDLL(str(library) if library is not None else None)
        if library is not None:
            self.library.flow_csim_words.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
        self.io = io
        self.memory = {}  # address: (device's side, buffer)
        self.addresses = itertools.count(0x1000_0000, 0x0100_0000)
        self.thread = ThreadPoolExecutor(1)

    def work(self, function):
        """Something that the hardware does; its Future."""
        if not self.coherent:
            return self.thread.submit(function)
        done = Future()
        self.late.append(lambda: done.set_result(function()))
        return done

    def catch_up(self):
        """Does what was put off."""
        while self.late:
            self.late.pop(0)()

    def accelerate(self, sent):
        """The results of frames, as bytes."""
        size = self.io["input"]["frame_bytes"]
        frames, rest = divmod(len(sent), size)
        if rest:
            raise MisuseError(f"{len(sent)} bytes are no whole frames of {size}")
        self.frames += frames
        results = np.empty(frames * self.io["output"]["frame_bytes"], np.uint8)
        failure = self.library.flow_csim_words(sent.ctypes.data, results.ctypes.data, frames)
        if failure:
            raise MisuseError(f"the C-simulation ended with {failure}")
        if self.fault == "wrong" and len(results):
            results[-self.io["output"]["frame_bytes"]] ^= 1
        return results


board = Board()
if "FLOW_FAKE_BUILD" in os.environ:  # a program of its own: the build directory whose design the board has
    _build = Path(os.environ["FLOW_FAKE_BUILD"])
    board.insert(_build / "csim/design.so", json.loads((_build / "io.json").read_text()))
    board.fault = os.environ.get("FLOW_FAKE_FAULT")


class Buffer(np.ndarray):
    """Contiguous memory; the device's side is apart. A slice is a buffer, too, and knows its address."""

    device_address = origin = None

    def __array_finalize__(self, whole):
        if isinstance(whole, Buffer) and whole.device_address is not None:
            self.origin = whole.origin
            self.device_address = whole.device_address + self.ctypes.data - whole.ctypes.data

    def _sides(self):
        device, processor = board.memory[self.origin]
        first = self.device_address - self.origin
        return device[first : first + self.nbytes], processor[first : first + self.nbytes]

    def flush(self):
        """What the processor wrote reaches the device."""
        device, processor = self._sides()
        device[:] = processor

    def invalidate(self):
        """What the device wrote reaches the processor."""
        device, processor = self._sides()
        processor[:] = device

    def freebuffer(self):
        """Gives it back."""
        del board.memory[self.origin]


def allocate(shape, dtype):
    """A buffer full of rubbish."""
    if board.fault == "no_memory":
        raise RuntimeError("Failed to allocate Memory!")
    buffer = np.full(shape, 0x5A, dtype).view(Buffer)
    buffer.device_address = buffer.origin = next(board.addresses)
    processor = buffer.view(np.ndarray).reshape(-1)
    board.memory[buffer.origin] = (processor if board.coherent else np.full(buffer.nbytes, 0xC3, np.uint8), processor)
    return buffer


class _Channel:
    def __init__(self, word_bytes):
        self.word_bytes = word_bytes
        self.reset()

    def reset(self):
        self.running, self.error, self.address, self.moved = False, 0, 0, 0
        self.busy = None  # a Future while a transfer is under way, or True while it waits for words

    def buffer(self, size):
        if not self.running:
            raise MisuseError("a transfer on a channel that does not run")
        if self.error:
            raise MisuseError("a transfer on a channel that stands in an error")
        if self.is_busy():
            raise MisuseError("a transfer on a channel that is busy")
        if not 0 < size < 1 << 26 or size % self.word_bytes or self.address % self.word_bytes:
            raise MisuseError(f"a transfer of {size} bytes at 0x{self.address:x}")
        if self.address not in board.memory:
            raise MisuseError(f"no buffer lies at 0x{self.address:x}")
        side = board.memory[self.address][0]
        if size > len(side):
            raise MisuseError(f"a transfer of {size} bytes to or from a buffer of {len(side)}")
        return side[:size]

    def is_busy(self):
        return self.busy is True or (isinstance(self.busy, Future) and not self.busy.done())

    def status(self):
        if isinstance(self.busy, Future) and self.busy.done():
            self.busy.result()  # an error of the test comes out here
        if self.is_busy():  # asked once: the hardware's thread may end the transfer meanwhile
            return 0 if self.running else 1
        return (0 if self.running and not self.error else 1) | 2 | self.error


class Dma:
    """AXI DMA in simple mode."""

    def __init__(self):
        self.send = _Channel(board.io["input"]["word_bits"] // 8)
        self.receive = _Channel(board.io["output"]["word_bits"] // 8)
        self.waiting = []  # results that no buffer took yet

    def _of(self, offset):
        return (self.receive, offset - 0x30) if offset >= 0x30 else (self.send, offset)

    def read(self, offset):
        """A register."""
        channel, register = self._of(offset)
        if register == 0x00:
            return 0x4 if board.fault == "stuck_reset" else int(channel.running)
        if register == 0x04:
            board.catch_up()
            return channel.status()
        if register == 0x28:
            return channel.moved
        raise MisuseError(f"read of register 0x{offset:02x}")

    def write(self, offset, value):
        """A register."""
        channel, register = self._of(offset)
        if not 0 <= value < 1 << 32:
            raise MisuseError(f"{value} is no word of 32 bits")
        if register == 0x00:
            if value & 0x4:
                self.send.reset()
                self.receive.reset()
                self.waiting.clear()
            channel.running = bool(value & 0x1)
        elif register == 0x18:
            channel.address = (channel.address >> 32 << 32) | value
        elif register == 0x1C:
            channel.address = (value << 32) | (channel.address & 0xFFFFFFFF)
        elif register == 0x28:
            (self._start_send if channel is self.send else self._start_receive)(value)
        else:
            raise MisuseError(f"write of register 0x{offset:02x}")

    def _start_send(self, size):
        sent = self.send.buffer(size)
        board.transfers += 1

        def run():
            self.waiting.append(board.accelerate(sent))
            self.send.moved = size
            self._deliver()

        self.send.busy = board.work(run)

    def _start_receive(self, size):
        self.room = self.receive.buffer(size)
        self.receive.busy = True
        board.work(self._deliver)

    def _deliver(self):
        """In the thread of the hardware."""
        if not self.waiting or self.receive.busy is not True or board.fault == "no_results":
            return
        results, room = self.waiting.pop(0), self.room
        if board.fault == "short":
            results = results[: len(results) // 2]
        elif board.fault == "last_high":
            results = results[: self.receive.word_bytes]
        if board.fault == "last_low" or len(results) > len(room):
            self.receive.error = 0x10
            results = results[: len(room)]
        room[: len(results)] = results
        self.receive.moved = len(results)
        self.receive.busy = None


class Overlay:
    """A bitstream; loading it empties everything."""

    def __init__(self, path):
        if board.fault == "root":
            raise PermissionError("Root permissions required.")
        for file in (Path(path), Path(path).with_suffix(".hwh")):
            if not file.is_file():
                raise OSError(f"{file} does not exist.")
        board.loaded.append(Path(path).name)
        if board.fault != "no_dma":
            self.dma = Dma()


def get_rails():
    """The supplies that the board measures: name to an object with ``power``."""
    return board.rails
