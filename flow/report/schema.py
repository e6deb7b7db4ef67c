# SPDX-License-Identifier: Apache-2.0
"""What a build has found, as values. Every figure says how it is known; what is missing is None, never 0."""

from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Estimated:
    """A figure that a model gave.

    Attributes:
        value: The figure.
        model: Which model.
        error: What is known of its error, in words; None where it is exact under the model's assumptions.
        low: The least that can be expected; None where no interval is known.
        high: The most.
    """

    value: float
    model: str
    error: str | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure that a tool gave.

    Attributes:
        value: The figure.
        tool: Which tool.
        version: Its version.
        digest: Of what was measured.
    """

    value: float
    tool: str
    version: str
    digest: str


Figure: TypeAlias = Estimated | Measured | None


@dataclass(frozen=True, slots=True)
class Check:
    """Two levels that were compared.

    Attributes:
        name: What was compared with what.
        inputs: On which inputs.
        compared: How many numbers.
        differences: How many differ; a build with any fails, near-ties of float32 apart.
        near_ties: How many differ because float32 rounds the other way next to a boundary, each proved so;
            None where float32 plays no part.
        detail: Further lines.
    """

    name: str
    inputs: str
    compared: int
    differences: int
    near_ties: int | None = None
    detail: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        return self.differences == 0


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer.

    Attributes:
        name: Of its tensor.
        identifier: Of its C++ function.
        origin: The ONNX node and module.
        kind: ``dense``, ``convolution``, ``pooling``, ``sum``, ... or ``step``.
        shape: ``inputs x outputs`` of a product, with the positions in front where there are several; else what
            comes out.
        bits: Of weights, inputs, accumulator and outputs, as types.
        weights: How many.
        weight_bits: Memory that they take.
        macs: Multiply-accumulates of a frame.
        pe: Folding.
        simd: Folding.
        weight_memory: Where the weights lie.
        multiplier: What multiplies.
        packing: How many products share a DSP slice, and the proof; None where none do.
        adders: The adder graph of an unrolled product, and its proof; None elsewhere.
        form: Of the step function; None without one.
        certificate: Its proof; None without one.
        scale: What an integer of its output is worth, in words.
        cycles: Of a frame.
        resources: Each by name.
        terms: The estimate by its parts: name -> resource -> amount.
    """

    name: str
    identifier: str
    origin: str
    kind: str
    shape: str
    bits: dict[str, str]
    weights: int
    weight_bits: int
    macs: int
    pe: int
    simd: int
    weight_memory: str
    multiplier: str
    packing: str | None
    adders: str | None
    form: str | None
    certificate: str | None
    scale: str
    cycles: Figure
    resources: dict[str, Figure]
    terms: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class StreamReport:
    """A FIFO between two processes.

    Attributes:
        name: Its variable in the top function; says which process writes it.
        reader: The process that reads it.
        words: Of a frame.
        bits: Of a word.
        depth: Words that it holds.
        occupancy: The most that it ever holds, frames arriving at the interval.
        chosen: ``least price``: no cheaper depth keeps the interval, the other streams as they are;
            ``sufficient``: cheaper ones were not all tried; ``given``: by the user.
        resources: Each by name.
    """

    name: str
    reader: str
    words: int
    bits: int
    depth: int
    occupancy: Figure
    chosen: str
    resources: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """A whole build.

    Attributes:
        model: The file's name and SHA-256.
        board: Its name, title and part.
        clock_mhz: The clock that was planned for.
        style: ``stream`` or ``unrolled``.
        input: How the input lies in the AXI stream.
        output: How the output does.
        layers: In order.
        converters: Processes beside the layers (window units, forks, width converters): name, cycles, lanes.
        streams: Between all processes.
        interval: Cycles from frame to frame.
        latency: Cycles from the first word in to the last word out.
        fps: Frames a second.
        total: All resources, the shell included.
        parts: The total by its parts: layers, converters, fifos, shell.
        budget: What the board has.
        binding: The resource of which the greatest share is used.
        optimality: What is known of the plan, in words.
        checks: What was compared.
        accuracy: Of the hardware's integers on the user's labels; None without labels.
        host_input: What the host does in front of the hardware.
        host_output: What it does behind it.
        energy: Joules of the whole board for a frame; None where the board's power is unknown.
    """

    model: dict[str, str]
    board: dict[str, str]
    clock_mhz: float
    style: str
    input: dict[str, Any]
    output: dict[str, Any]
    layers: tuple[LayerReport, ...]
    converters: tuple[dict[str, Any], ...]
    streams: tuple[StreamReport, ...]
    interval: Figure
    latency: Figure
    fps: Figure
    total: dict[str, Figure]
    parts: dict[str, dict[str, int]]
    budget: dict[str, int]
    binding: str
    optimality: str
    checks: tuple[Check, ...]
    accuracy: float | None
    host_input: str
    host_output: str
    energy: Figure = None

    @property
    def held(self) -> bool:
        """Whether every check held."""
        return all(check.held for check in self.checks)


def to_json(value: Any) -> Any:
    """A report as what ``json`` writes; a figure says of itself what kind it is."""
    if isinstance(value, Estimated | Measured):
        kind = type(value).__name__.lower()
        return {"kind": kind, **{f.name: getattr(value, f.name) for f in fields(value)}}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, Fraction):
        return str(value)
    return value
