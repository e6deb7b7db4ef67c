#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The accelerator on its board: loads the bitstream, runs frames, measures, tests itself.

    sh run.sh self-test
    sh run.sh measure
    sh run.sh predict frames.npz answers.npz

In Python:

    with Accelerator() as accelerator:
        y = accelerator.predict(x)            # x: floats (frames, *shape)
        y = accelerator.predict_ints(x)       # x: the integers that enter the hardware

Beside this file lie ``device.py`` (the way to the accelerator: by PYNQ, or by XRT), the bitstream, ``io.json`` (the
words of the streams), frames with known answers, and ``manifest.json`` with the digest of each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable

import numpy as np
from accelerator_error import AcceleratorError
from device import FILES, MOST_BYTES, Device
from packing import Layout, pack, unpack

FORMAT = 1
BUFFER_BYTES = 1 << 20
"""Of each of the four buffers, where no batch is asked for."""
Array = np.ndarray


class SelfTestError(AcceleratorError):
    """The board gives other integers than the simulation."""


class Accelerator:
    """A network on the board.

    Attributes:
        io: ``io.json``.
        batch: Frames of a transfer.
        timeout: Seconds that a transfer may take.
    """

    def __init__(self, folder: Any = None, batch: int | None = None, timeout: float = 10.0) -> None:
        """Loads the bitstream.

        Args:
            folder: Of the package; None for that of this file.
            batch: Frames of a transfer; None for about 1 MiB.
            timeout: Seconds that a transfer may take.

        Raises:
            AcceleratorError: The package is damaged, or the board cannot run it.
        """
        self.folder = Path(folder) if folder is not None else Path(__file__).resolve().parent
        self.io = read_package(self.folder)
        self.timeout = timeout
        self._input, self._output = Layout.of(self.io["input"]), Layout.of(self.io["output"])
        largest = max(self._input.frame_bytes, self._output.frame_bytes)
        if batch is not None and not 1 <= batch <= MOST_BYTES // largest:
            raise AcceleratorError(
                f"a batch of {batch} frames is not possible", f"choose from 1 to {MOST_BYTES // largest:,}"
            )
        self.batch = batch if batch is not None else max(1, BUFFER_BYTES // largest)
        self._device: Device | None = Device(self.folder, self.io, self.batch, timeout)
        self._ready = True

    def load(self) -> None:
        """Loads the bitstream anew, which also empties the accelerator."""
        self._opened().load()
        self._ready = True

    def close(self) -> None:
        """Gives the memory back."""
        if self._device is not None:
            self._device.close()
        self._device = None

    def _opened(self) -> Device:
        if self._device is None:
            raise AcceleratorError("the accelerator is closed", "make another")
        return self._device

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- frames --------------------------------------------------------------------------------------------------

    def predict_ints(self, x: Array) -> Array:
        """The integers that leave the hardware (frames, *shape), for those that enter it (frames, *shape).

        Raises:
            ValueError: They are none, or do not fit the type.
            AcceleratorError: The board did not do it; the next call loads the bitstream anew.
        """
        x = np.asarray(x)
        return self._run(len(x), lambda first, last, out: pack(x[first:last], self._input, out))

    def predict(self, x: Array) -> Array:
        """The model's output in float64, for float frames (frames, *shape).

        The host's part is computed in float64: beside a rounding boundary, by less than float64 can tell, a value
        may be rounded the other way than the exact model rounds it. ``predict_ints`` is exact.
        """
        x, front = np.asarray(x), self.io["input"]["from_float"]
        if "missing" in front or "missing" in self.io["output"]["to_float"]:
            missing = front.get("missing") or self.io["output"]["to_float"]["missing"]
            raise AcceleratorError(
                f"the model computes on the host what this driver does not know: {missing}",
                "use predict_ints, and compute the rest with your own code",
            )
        if x.ndim < 2 or x[:1].size != (np.prod(front["shape"]) if len(x) else 0):
            raise ValueError(f"expected frames {front['shape']}, got {list(x.shape)}")
        return self.decode(self._run(len(x), lambda i, j, out: pack(self.encode(x[i:j]), self._input, out)))

    def encode(self, x: Array) -> Array:
        """The integers (frames, *shape) that enter for float frames."""
        front = self.io["input"]["from_float"]
        value = x.astype(np.float64).reshape(len(x), *front["shape"])
        for step in front["steps"]:
            value = _step(value, step)
        quantize = front["quantize"]
        position = value / np.array(quantize["scale"]) + np.array(quantize["zero_point"])
        level = np.clip(_rounded(position, quantize["rounding"]), quantize["least"], quantize["greatest"])
        return level.astype(np.int64)

    def decode(self, y: Array) -> Array:
        """The model's output for the integers (frames, *shape) that leave."""
        output = self.io["output"]
        scale, offset = (np.array([float(Fraction(v)) for v in output[name]]) for name in ("scale", "offset"))
        value = y.reshape(len(y), *output["to_float"]["shape"]).astype(np.float64) * scale + offset
        for step in output["to_float"]["steps"]:
            value = _step(value, step)
        return value

    def _run(self, frames: int, fill: Callable[[int, int, Array], Any]) -> Array:
        """Batch after batch: while one is under way, the next is packed and the one before unpacked."""
        device = self._opened()
        if not self._ready:
            self.load()
        result = np.empty((frames, self._output.values), self._output.dtype)
        under_way: tuple[int, int, int] | None = None  # first and last frame, and their buffer
        for number, first in enumerate(range(0, frames, self.batch)):
            last = min(first + self.batch, frames)
            try:
                fill(first, last, device.frames(number % 2)[: last - first])
            except ValueError:
                if under_way is not None:
                    self._finish(device, *under_way)
                raise
            results = self._finish(device, *under_way) if under_way is not None else None
            self._ready = False  # until it is done
            device.start(number % 2, last - first)
            if under_way is not None:
                result[under_way[0] : under_way[1]] = unpack(results, self._output)
            under_way = (first, last, number % 2)
        if under_way is not None:
            result[under_way[0] : under_way[1]] = unpack(self._finish(device, *under_way), self._output)
        return result.reshape(frames, *self.io["output"]["shape"])

    def _finish(self, device: Device, first: int, last: int, number: int) -> Array:
        """The results of a batch, as bytes."""
        results = device.finish(number, last - first)
        self._ready = True
        return results

    # -- tests and measurements ------------------------------------------------------------------------------------

    def self_test(self) -> int:
        """Runs the frames with known answers; how many integers were compared.

        Raises:
            SelfTestError: One differs: the first is named.
        """
        x = unpack(_known(self.folder / "known_input.hex", self._input), self._input)
        expected = unpack(_known(self.folder / "known_output.hex", self._output), self._output)
        together = self.predict_ints(x)
        one_by_one = np.concatenate([self.predict_ints(frame[None]) for frame in x])
        for how, found in (("all together", together), ("one by one", one_by_one)):
            different = np.argwhere(found.reshape(expected.shape) != expected)
            if len(different):
                frame, value = different[0].tolist()
                got = found.reshape(expected.shape)[frame, value]
                raise SelfTestError(
                    f"self test, frames {how}: {len(different)} of {expected.size} integers differ; "
                    f"the first: frame {frame}, value {value}: expected {expected[frame, value]}, got {got}",
                    "the hardware is not what was simulated: look at the timing report of the bitstream, report it",
                )
        return 2 * int(expected.size)

    def measure(self, frames: int = 10_000, calls: int = 100) -> dict[str, Any]:
        """Frames a second with all copies, and the time of a call with one frame.

        Args:
            frames: Of the run; the known frames again and again.
            calls: With one frame each.
        """
        known = unpack(_known(self.folder / "known_input.hex", self._input), self._input)
        x = np.resize(known, (frames, self._input.values))
        self.predict_ints(x[: self.batch])  # warm
        before = time.perf_counter()
        self.predict_ints(x)
        seconds = time.perf_counter() - before
        watts = self.power()
        single = []
        for number in range(calls):
            before = time.perf_counter()
            self.predict_ints(x[number % frames][None])
            single.append(time.perf_counter() - before)
        return {
            "frames": frames,
            "batch": self.batch,
            "frames_per_second": frames / seconds,
            "planned_frames_per_second": 1e6 * self.io["clock_mhz"] / self.io["interval_cycles"],
            "call_us": 1e6 * statistics.median(single),
            "power_w": watts,
        }

    def power(self) -> dict[str, float]:
        """Watts of each supply that the board measures; empty where it measures none."""
        return self._opened().power()


def read_package(folder: Path) -> dict[str, Any]:
    """``io.json`` of a package whose files are those of its manifest.

    Raises:
        AcceleratorError: A file is missing, or not the one that was packaged.
    """
    remedy = "copy the package again (flow deploy), or make it again (flow package)"
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AcceleratorError(f"{folder} is no package: manifest.json cannot be read ({error})", remedy) from error
    for name, digest in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise AcceleratorError(f"{name} is missing from {folder}", remedy)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != digest:
            raise AcceleratorError(
                f"{name} is not the file that was packaged: its digest is {found[:12]}..., expected {digest[:12]}...",
                remedy,
            )
    io = json.loads((folder / "io.json").read_text())
    if io["format"] != FORMAT:
        raise AcceleratorError(f"io.json has format {io['format']}, this driver knows {FORMAT}", remedy)
    for name in ("io.json", *(f"{io['design']}.{suffix}" for suffix in FILES)):
        if name not in files:
            raise AcceleratorError(f"the manifest does not name {name}", remedy)
    return io


def _known(path: Path, layout: Layout) -> Array:
    """Frames as bytes: a line of hexadecimal digits each."""
    raw = np.frombuffer(bytes.fromhex(path.read_text()), np.uint8)
    return raw.reshape(-1, layout.frame_bytes)


# -- the host's part of the model, as steps on float64 arrays (frames, *shape) ---------------------------------------


def _step(x: Array, step: dict[str, Any]) -> Array:
    kind = step["step"]
    if kind in ("add", "sub", "mul", "div"):
        constant = np.array(step["with"])
        if constant.ndim > x.ndim - 1:
            x = x.reshape(len(x), *[1] * (constant.ndim - x.ndim + 1), *x.shape[1:])
        function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[kind]
        return function(constant, x) if step["first"] else function(x, constant)
    if kind == "reshape":
        return x.reshape(len(x), *step["shape"])
    if kind == "transpose":
        return x.transpose(0, *(axis + 1 for axis in step["order"]))
    if kind == "softmax":
        raised = np.exp(x - x.max(axis=step["axis"] + 1, keepdims=True))
        return raised / raised.sum(axis=step["axis"] + 1, keepdims=True)
    if kind == "argmax":
        order = np.argsort(-x, axis=step["axis"] + 1, kind="stable")
        places = np.take(order, np.arange(step["count"]), axis=step["axis"] + 1)
        return places if step["keep"] else np.squeeze(places, step["axis"] + 1)
    if kind == "clip":
        least, greatest = step["least"], step["greatest"]
        return np.clip(x, -np.inf if least is None else least, np.inf if greatest is None else greatest)
    if kind == "leaky_relu":
        return np.where(x > 0, x, np.array(step["slope"]) * x)
    if kind == "sigmoid":
        return np.exp(-np.logaddexp(0.0, -x))
    functions = {"relu": lambda v: np.maximum(v, 0.0), "tanh": np.tanh, "neg": np.negative, "identity": lambda v: v}
    return functions[kind](x)


def _rounded(x: Array, mode: str) -> Array:
    """QONNX's rounding modes, and the sign of a bipolar quantiser (+1 at 0)."""
    if mode == "sign":
        return np.where(x >= 0, 1.0, -1.0)
    if mode in ("half_away", "half_to_zero"):
        whole = np.floor(np.abs(x))
        rest = np.abs(x) - whole
        up = rest >= 0.5 if mode == "half_away" else rest > 0.5
        return np.copysign(whole + up, x)
    if mode == "away":
        return np.where(x < 0, np.floor(x), np.ceil(x))
    return {"half_even": np.rint, "floor": np.floor, "ceil": np.ceil, "to_zero": np.trunc}[mode](x)


# -- the command line --------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when all went well, 1 when the self test fails, 2 for anything that the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, metavar="N", help="frames of a transfer [about 1 MiB]")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="seconds of a transfer [10]")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("self-test", help="run the frames with known answers")
    measure = commands.add_parser("measure", help="frames a second, time of a call, power")
    measure.add_argument("--frames", type=int, default=10_000, metavar="N")
    predict = commands.add_parser("predict", help="run x of an .npz file; the answers go to another")
    predict.add_argument("frames", metavar="FRAMES.npz")
    predict.add_argument("answers", metavar="ANSWERS.npz")
    predict.add_argument(
        "--integers", action="store_true", help="x is what enters the hardware; the answers are y_int, not y"
    )
    given = parser.parse_args(arguments)
    try:
        with Accelerator(batch=given.batch, timeout=given.timeout) as accelerator:
            return _command(accelerator, given)
    except (AcceleratorError, ValueError, OSError) as error:
        print(f"accelerator: {error}", file=sys.stderr)
        return 1 if isinstance(error, SelfTestError) else 2


def _command(accelerator: Accelerator, given: argparse.Namespace) -> int:
    if given.command == "self-test":
        print(f"self test: {accelerator.self_test():,} integers compared, all equal")
    elif given.command == "measure":
        print(json.dumps(accelerator.measure(given.frames), indent=2))
    else:
        with np.load(given.frames, allow_pickle=False) as archive:
            if "x" not in archive.files:
                raise ValueError(f"{given.frames} has no array x; write it with numpy.savez(path, x=frames)")
            x = archive["x"]
        if given.integers:
            np.savez(given.answers, y_int=accelerator.predict_ints(x))
        else:
            np.savez(given.answers, y=accelerator.predict(x))
        print(f"{len(x):,} frames: written to {given.answers}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
