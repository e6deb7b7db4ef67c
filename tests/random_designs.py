# SPDX-License-Identifier: Apache-2.0
"""Random step functions, plans and inputs; and many designs compiled as one library, each in a namespace."""

import ctypes
import math
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow.backend import tools
from flow.backend.precompiled import precompiled
from flow.emit.hls import HlsOptions, emit_hls, names_of
from flow.ir.dataflow import NEVER, Source, Step
from flow.ir.graph import Graph
from flow.ir.types import Bipolar, IntType
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.packing import multiplier_options
from flow.plan.plan import LayerPlan, Plan
from flow.plan.processes import LayerProcess

BOARD = boards.load("pynq-z2")


@dataclass
class Case:
    """A design with a random plan, and its C++."""

    name: str
    graph: Graph
    design: object
    names: object
    files: dict


def step_of(name, x, function, lo, hi, element):
    """A step with one row for each channel, from the values of a monotone function on its interval."""
    rows, start, stride = [], [], []
    unit = 2 if isinstance(element, Bipolar) else 1
    for channel, (low, high) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True)):
        points = np.arange(low, high + 1)
        values = np.array([function(channel, p) for p in points.tolist()], np.int64)
        change = np.diff(values)
        rising = bool((change >= 0).all())
        assert rising or bool((change <= 0).all())
        rows.append(np.repeat(points[1:], np.abs(change) // unit))
        start.append(values[0])
        stride.append(unit if rising else -unit)
    thresholds = np.full((len(rows), max(row.size for row in rows)), NEVER, np.int64)
    for channel, row in enumerate(rows):
        thresholds[channel, : row.size] = row
    return Step(name, x, thresholds, np.array(start), np.array(stride), lo, hi, element)


def random_step(rng, name, x, kind):
    """A random step function behind the tensor ``x = (name, type)``."""
    source, tensor = x
    channels = tensor.shape[-1] if rng.random() < 0.7 else 1
    if channels == 1:
        lo, hi = np.array([tensor.lo.min()]), np.array([tensor.hi.max()])
    else:
        lo, hi = (np.broadcast_to(a, (channels,)).copy() for a in (tensor.lo, tensor.hi))
    span = int((hi - lo).max()) + 1
    signed = bool(rng.integers(2))
    bits = int(rng.integers(1, 7))
    element = Bipolar() if kind == "bipolar" else IntType(bits + signed, signed)
    low, high = (-1, 1) if kind == "bipolar" else (element.min, element.max)
    shift = max(0, int(math.log2(span)) - int(rng.integers(0, bits + 1)))
    offset = rng.integers(-span // 2, span // 2 + 1, channels)
    sign = rng.choice([-1, 1], channels)
    factor = rng.integers(5, 50, channels) / 16 / 2**shift

    def clip(value):
        return min(max(value, low), high)

    functions = {
        "shift": lambda c, v: clip((v + int(offset[c])) >> shift),
        "half even": lambda c, v: clip(round((v + int(offset[c])) / 2**shift)),
        "affine": lambda c, v: clip(math.floor(int(sign[c]) * (v + int(offset[c])) * factor[c])),
        "root": lambda c, v: clip(math.isqrt(max(int(v - lo[c]) * 3 + int(c), 0)) // 2 + low),
        "bipolar": lambda c, v: 1 if sign[c] * (v + int(offset[c])) >= 0 else -1,
    }
    return step_of(name, source, functions[kind], lo, hi, element)


def random_weight(rng, rows, columns):
    bits = int(rng.choice([1, 1, 2, 3, 4, 8]))
    if bits == 1:
        weight = rng.choice([-1, 1], (rows, columns))
        weight[0, 0] = -1
        return weight.astype(np.int64)
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (rows, columns))


def random_plan(rng, layers, used):
    """A legal plan; of the forms that serve a layer, mostly the one that was used least."""
    plans = []
    for layer in layers:
        forms = list(layer.forms) or ["none"]
        form = min(forms, key=lambda f: used[f]) if rng.random() < 0.7 else str(rng.choice(forms))
        used[form] += 1
        pe, simd = int(rng.choice(layer.pe_options)), int(rng.choice(layer.simd_options))
        plans.append(
            LayerPlan(
                layer.name,
                pe,
                simd,
                str(rng.choice(["lut", "bram"])),
                str(rng.choice(multiplier_options(layer, pe, BOARD))),
                form,
            )
        )
    return Plan("pynq-z2", 100.0, tuple(plans))


def random_case(number, graph, used, plan_of=random_plan):
    rng = np.random.default_rng(number)
    layers = layers_of(graph)
    design = build_design(layers, plan_of(rng, layers, used), int(rng.choice([8, 32, 64, 128])))
    # not number % 3: tests take their kinds by number, and the kinds may be a multiple of 3
    dialect = ("vitis", "vivado", "vitis2020")[(number + number // 3) % 3]
    options = HlsOptions(f"random {number}", "network", dialect, {}, {}, {}, 1)
    files = {str(path): text for path, text in emit_hls(design, options).files.items()}
    return Case(f"d{number}", graph, design, names_of(design, {}), files)


def one_namespace(case):
    """All C++ of a design in a namespace of its own, so that many designs make one unit."""

    def body(path):
        text = case.files[path]
        text = re.sub(r"^#include .*\n", "", text, flags=re.M)
        guarded = re.sub(r"^#ifndef (FLOW_\w+_HPP)\n#define \1\n", "", text, flags=re.M)
        if guarded != text:
            guarded = guarded[: guarded.rindex("#endif")]
        # names with C linkage ignore namespaces
        return re.sub(r"\bflow_csim", f"{case.name}_flow_csim", guarded)

    paths = ["hls/types.hpp"]
    for file in case.names.files:
        paths += [path for path in (f"hls/weights/{file}.hpp", f"hls/layers/{file}.hpp") if path in case.files]
    paths += ["hls/top.hpp", "hls/top.cpp", "csim/units/top.cpp"]
    paths += [f"csim/units/{file}.cpp" for file in case.names.files]
    whole = "\n".join(body(path) for path in paths)
    return f"namespace {case.name} {{\n{whole}\n}}\n"


class Library:
    """The compiled designs."""

    def __init__(self, path):
        self.loaded = ctypes.CDLL(str(path))

    def run(self, name, xs, sources, sink, size):
        """Integers through one function of the library; one array and one type for each operand."""
        function = getattr(self.loaded, name)
        function.argtypes = [*[ctypes.c_void_p] * (len(xs) + 1), ctypes.c_long]
        frames = len(xs[0])
        stored = [(x + 1) // 2 if isinstance(t, Bipolar) else x for x, t in zip(xs, sources, strict=True)]
        stored = [np.ascontiguousarray(x.reshape(frames, -1), np.int64) for x in stored]
        result = np.full((frames, size), -999, np.int64)
        assert function(*(x.ctypes.data for x in stored), result.ctypes.data, frames) == 0, name
        return result * 2 - 1 if isinstance(sink, Bipolar) else result


def compiled_library(cases, folder):
    """All of them, compiled by two runs of g++ (one a core) and linked once."""
    headers = {Path(p).name: t for p, t in cases[0].files.items() if p.startswith("csim/include/")}
    for name, text in headers.items():
        (folder / name).write_text(text)
    # compiling takes far longer than running
    common = [str(tools.require(tools.GXX)), "-std=c++14", "-O0", "-fPIC", "-w", "-DFLOW_SEPARATE_UNITS"]
    common += ["-D__AP_FIXED_H__", "-isystem", str(tools.ap_types())]
    common += [f"-I{folder}", *precompiled(common, folder, tools.ap_types())]

    def compile_part(part):
        source = folder / f"part{part}.cpp"
        lines = ["#include <ap_axi_sdata.h>", "#include <ap_int.h>", "#include <hls_stream.h>"]
        source.write_text("\n".join([*lines, *(one_namespace(case) for case in cases[part::2])]))
        command = [*common, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor() as pool:
        for done in pool.map(compile_part, range(2)):
            assert done.returncode == 0, done.stderr[:5000]
    objects = [str(folder / f"part{part}.o") for part in range(2)]
    linked = [common[0], "-shared", "-o", str(folder / "designs.so"), *objects]
    subprocess.run(linked, check=True, capture_output=True)
    return Library(folder / "designs.so")


def random_inputs(source, seed, count=24):
    rng = np.random.default_rng(seed)
    shape = (count, *source.shape)
    if isinstance(source.element, Bipolar):
        return rng.choice(np.array([-1, 1]), shape)
    lo = np.broadcast_to(source.lo, source.shape[-1:])
    hi = np.broadcast_to(source.hi, source.shape[-1:])
    x = rng.integers(np.broadcast_to(lo, shape), np.broadcast_to(hi, shape), endpoint=True)
    x[0], x[1] = lo, hi
    return x


def source_of(graph):
    return next(node for node in graph.nodes if isinstance(node, Source))


def layer_processes(case):
    for identifier, process in zip(case.names.identifiers, case.design.processes, strict=True):
        if isinstance(process, LayerProcess):
            yield identifier, process
