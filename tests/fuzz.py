# SPDX-License-Identifier: Apache-2.0
"""Differential fuzzing over random graphs: ``python tests/fuzz.py 2000``.

Each graph is imported, goes through every pass, and is compared: the integers with the exact reference (levels,
tolerance zero), the reference with qonnx's float32 execution (near-ties are proved), and for a share the C++ of
the whole design and of each layer with the integers. A refusal that is meant is legal; anything else is a
finding, which is shrunk and saved.
"""

import argparse
import collections
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from fuzz_graphs import Recipe, make
from random_designs import compiled_library, layer_processes, random_case

from flow.api.checks import Frames, check_float32, check_integers, to_floats
from flow.api.compile import Compiled, compile_model, random_frames, random_integers
from flow.errors import ExactnessError, OptionError, UnsupportedModelError
from flow.ir.dataflow import execute

FOLDER = Path("build", "fuzz")
FRAMES = 10
CHUNK = 50  # graphs that a process does at a time
SECONDS = 60  # of the processor, for one graph
MEANT = re.compile(
    "|".join(
        (
            # importer
            r"some of its windows see nothing but padding",
            r"does not repeat every pixel equally often",
            # integers
            r"its input is not quantised",
            r"no quantiser stands before the output",
            r"in front of it is not quantised",
            r"pads with zero, but no integer of its input stands for zero",
            r"no integer of its input stands for",
            r"no integer of one of its operands stands for zero",
            r"its phases have unlike offsets",
            r"have unlike scales",
            r"scales that are too far apart",
            r"joins tensors of unlike scales along another axis",
            r"reorders another axis than the channels",
            r"a negative factor stands before it",
            r"both turn in front of it",
            r"divides by another number of values at the border",
            r"it takes the \w+ over axes",
            r"its sums need \d+ bits",
            r"the batch norm '.*' scales its input by a square root",
            r"it repeats channels",
            r"it pads channels, or cuts some off",
            r"what scales its input differs from position to position",
            r"varies along an axis that is not the last",
            r"nothing is left for the hardware",
            r"one of which is repeated",
            r"multiplies its input '.*' without quantising it first",
        )
    )
)


@dataclass
class Outcome:
    """What became of a graph: ``finding`` is its kind, empty where all is well."""

    recipe: Recipe
    refused: str = ""
    finding: str = ""
    detail: str = ""
    ops: tuple[str, ...] = ()
    seconds: float = 0.0
    levels: int = 0
    ties: int = 0
    nodes: int = 0
    cpp: bool = False
    compiled: Compiled | None = field(default=None, repr=False)


class SlowError(Exception):
    """A graph takes longer than it may."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise SlowError(f"more than {seconds} s")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def frames_of(compiled: Compiled, count: int = FRAMES) -> Frames:
    if compiled.integers.head is not None:
        floats = random_frames(compiled.frame_shape, count, seed=3)
        return Frames("random", floats, compiled.integers.encode(floats))
    integers = random_integers(compiled.integers, count, seed=3)
    return Frames("random", to_floats(compiled, integers), integers)


def general(text: str) -> str:
    """A message without the names and numbers of this graph."""
    text = text.split("\n      what to do")[0].split("\n  what to do")[0]
    text = re.sub(r"'[^']*'", "'...'", text)
    return re.sub(r"-?\d[\d.e+-]*", "#", re.sub(r"\[[^]]*\]|\([\d, ]*\)", "[...]", text))[:160]


def kind_of(error: BaseException) -> str:
    """The type of an exception, its message in general, and the innermost function of the compiler."""
    places = [f.name for f in traceback.extract_tb(error.__traceback__) if "/flow/" in f.filename]
    return f"{type(error).__name__} in {places[-1] if places else '?'}: {general(str(error))}"


def compiled_proto(proto: onnx.ModelProto, input_type: str | None) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.onnx")
        path.write_bytes(proto.SerializeToString())
        return compile_model(path, input_type)


def try_graph(recipe: Recipe, *, float32: bool = True, keep: bool = False, seconds: int = SECONDS) -> Outcome:
    """One graph, down to integers."""
    outcome = Outcome(recipe)
    start = time.perf_counter()
    made = make(recipe)
    outcome.ops = tuple(sorted({node.op_type for node in made.model.graph.node}))
    outcome.nodes = len(made.model.graph.node)
    try:
        with limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            _checked(outcome, made.model, made.input_type, float32, keep)
    except (UnsupportedModelError, OptionError) as error:
        problems = getattr(error, "problems", None)
        whys = [f"{p.op}: {p.why}" for p in problems] if problems else [error.message]
        outcome.refused = general(whys[0])
        for why in whys:
            if not MEANT.search(why):
                outcome.finding, outcome.detail = f"refusal: {general(why)}", str(error)
    except ExactnessError as error:
        # gelu(x) - gelu(-x) is x: on a boundary no interval, however narrow, says on which side the sum lies
        if "bits do not decide" in error.message:
            outcome.refused = "a sum of irrational numbers lies on a boundary"
        else:
            outcome.finding, outcome.detail = kind_of(error), str(error)
    except Exception as error:
        outcome.finding = kind_of(error)
        outcome.detail = "".join(traceback.format_exception(error)[-6:])
    outcome.seconds = time.perf_counter() - start
    return outcome


def _checked(outcome: Outcome, proto: onnx.ModelProto, input_type: str | None, float32: bool, keep: bool) -> None:
    compiled = compiled_proto(proto, input_type)
    batch = frames_of(compiled)
    checks = [check_integers(compiled, [batch])]
    outcome.levels = checks[0].compared
    if float32:
        checks.append(check_float32(compiled, [batch]))
        outcome.ties = checks[1].near_ties or 0
    for check in checks:
        if check.differences or not check.compared:
            outcome.finding, outcome.detail = (
                f"differs: {check.name}",
                f"{check.differences} of {check.compared}: " + "\n".join(check.detail),
            )
            return
    if keep:
        outcome.compiled = compiled


# -- C++ -----------------------------------------------------------------------------------------------------------


@cache
def _libraries() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def try_cpp(outcomes: list[Outcome]) -> None:
    """The C++ of graphs that have integers, with random plans, compiled together; findings are set in place."""
    used: collections.Counter[str] = collections.Counter()
    cases = []
    for outcome in outcomes:
        assert outcome.compiled is not None
        try:
            with limited(SECONDS):
                cases.append((outcome, random_case(len(cases), outcome.compiled.graph, used)))
        except UnsupportedModelError as error:
            outcome.refused = general(str(error.problems[0].why))
        except Exception as error:
            outcome.finding, outcome.detail = f"design: {kind_of(error)}", traceback.format_exc()
    if not cases:
        return
    # kept as long as this process: a file in the place of a deleted one may pass for the library that was loaded
    folder = Path(tempfile.mkdtemp(dir=_libraries().name))
    try:
        library = compiled_library([case for _, case in cases], folder)
    except AssertionError as error:
        if len(cases) > 1:  # whose fault it is
            for half in (outcomes[: len(outcomes) // 2], outcomes[len(outcomes) // 2 :]):
                try_cpp([o for o in half if not o.finding and not o.refused])
            return
        cases[0][0].finding, cases[0][0].detail = "C++ does not compile", str(error)[:3000]
        return
    for outcome, case in cases:
        outcome.cpp = True
        _compare_cpp(outcome, case, library)


def _compare_cpp(outcome: Outcome, case: object, library: object) -> None:
    compiled = outcome.compiled
    assert compiled is not None
    x = random_integers(compiled.integers, 6, seed=5)
    tensors = execute(case.graph, {compiled.integers.source.name: x}, keep=True)
    expected = tensors[case.graph.outputs[0]].reshape(len(x), -1)
    design = case.design
    try:
        found = library.run(
            f"{case.name}_flow_csim", [x], [design.source.element], design.sink.element, expected.shape[1]
        )
        if not np.array_equal(found, expected):
            outcome.finding, outcome.detail = "differs: C++ of the whole design", str(design.plan)
        for identifier, process in layer_processes(case):
            layer = process.layer
            found = library.run(
                f"{case.name}_flow_csim_{identifier}",
                [tensors[name] for name in layer.reads],
                [operand.element for operand in layer.xs],
                layer.y.element,
                layer.y.size,
            )
            if not np.array_equal(found, tensors[layer.name].reshape(found.shape)):
                outcome.finding = f"differs: C++ of a layer ({process.block})"
                outcome.detail = f"{identifier}: {layer.kind} {process.plan}"
    except AssertionError as error:
        outcome.finding, outcome.detail = "C++ leaves words in its streams", str(error)


# -- shrinking -----------------------------------------------------------------------------------------------------


def one(recipe: Recipe, *, cpp: bool = False, seconds: int = SECONDS) -> Outcome:
    outcome = try_graph(recipe, keep=cpp, seconds=seconds)
    if cpp and outcome.compiled is not None:
        try_cpp([outcome])
        outcome.compiled = None
    return outcome


def shrunk(recipe: Recipe, same: Callable[[Recipe], bool], seconds: float = 60) -> Recipe:
    """The smallest recipe found that still is ``same``: items are left out, then choices are made simple."""
    end = time.monotonic() + seconds

    def tried(candidate: Recipe) -> bool:
        return time.monotonic() < end and same(candidate)

    better = True
    while better and time.monotonic() < end:
        better = False
        for item in range(make(recipe).items, 0, -1):
            candidate = replace(recipe, dropped=recipe.dropped | {item})
            if item not in recipe.dropped and tried(candidate):
                recipe, better = candidate, True
        for choice in make(recipe).choices:
            if choice in recipe.forced or choice not in make(recipe).choices:
                continue
            candidate = replace(recipe, forced=recipe.forced | {choice})
            if tried(candidate):
                recipe, better = candidate, True
    return recipe


def saved(outcome: Outcome, seconds: float = 60) -> str:
    """Shrinks a finding, saves its smallest graph, and says how it is run again."""
    kind, cpp = outcome.finding, outcome.cpp or "C++" in outcome.finding or outcome.finding.startswith("design")

    def same(candidate: Recipe) -> bool:
        return one(candidate, cpp=cpp, seconds=20).finding == kind

    recipe = shrunk(outcome.recipe, same, seconds) if "SlowError" not in kind else outcome.recipe
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = make(recipe)
    path = FOLDER / f"{recipe.seed}.onnx"
    onnx.save(made.model, path)
    line = f"python tests/fuzz.py --again '{recipe.dump()}'" + (" --cpp" if cpp else "")
    path.with_suffix(".txt").write_text(f"{kind}\n{line}\ninput type: {made.input_type}\n\n{outcome.detail}\n")
    return f"{path} ({len(made.model.graph.node)} nodes): {line}"


# -- many ----------------------------------------------------------------------------------------------------------


def run_chunk(seeds: list[int], cpp: int, float32: int = 1) -> list[Outcome]:
    """Some graphs one after the other; of the first ``cpp`` that have integers the C++ too."""
    outcomes = [
        try_graph(Recipe(seed), float32=number % float32 == 0, keep=number < 2 * cpp)
        for number, seed in enumerate(seeds)
    ]
    if cpp:
        try_cpp([o for o in outcomes if o.compiled is not None][:cpp])
    for outcome in outcomes:
        outcome.compiled = None
    return outcomes


def saved_apart(outcome: Outcome, seconds: float) -> str:
    """``saved`` in a process of its own, which may die of it (C++ that writes out of its bounds)."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(saved, outcome, seconds).result()
        except BrokenProcessPool:
            return f"not shrunk: the process died (--again '{outcome.recipe.dump()}' --cpp)"


def finished(chunks: list[list[int]], jobs: int, cpp_share: int) -> Iterator[list[Outcome]]:
    """Each chunk as it is done. Where a process dies, the chunks in work are a finding, and the others go on."""
    waiting = list(reversed(chunks))
    while waiting:
        with ProcessPoolExecutor(jobs) as pool:
            working: dict[Future[list[Outcome]], list[int]] = {}
            while waiting or working:
                while waiting and len(working) < jobs:
                    chunk = waiting.pop()
                    working[pool.submit(run_chunk, chunk, -(-len(chunk) * cpp_share // 100))] = chunk
                done, _ = wait(working, return_when=FIRST_COMPLETED)
                for future in done:
                    chunk = working.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        why = f"the process died in seeds {chunk[0]} to {chunk[-1]}"
                        yield [Outcome(Recipe(chunk[0]), finding=why)]
                    else:
                        yield future.result()
                if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                    break


def table(outcomes: list[Outcome]) -> str:
    ops: collections.Counter[str] = collections.Counter()
    through: collections.Counter[str] = collections.Counter()
    refused: collections.Counter[str] = collections.Counter()
    findings: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        ops.update(outcome.ops)
        if outcome.finding:
            findings.setdefault(outcome.finding, []).append(outcome)
        elif outcome.refused:
            refused[outcome.refused] += 1
        else:
            through.update(outcome.ops)
    lines = ["operation                graphs  converted"]
    lines += [f"  {op:22} {count:6} {through[op]:10}" for op, count in sorted(ops.items())]
    lines += ["", "refused"]
    lines += [f"  {count:6}  {why}" for why, count in refused.most_common()]
    total = len(outcomes)
    lines += [
        "",
        f"{total} graphs, {sum(refused.values())} refused ({100 * sum(refused.values()) / max(total, 1):.1f} %), "
        f"{sum(o.cpp for o in outcomes)} through C++, {sum(o.levels for o in outcomes)} levels compared, "
        f"{sum(o.ties for o in outcomes)} near-ties, {sum(len(f) for f in findings.values())} findings",
    ]
    for kind, found in sorted(findings.items(), key=lambda f: -len(f[1])):
        lines.append(f"  {len(found):4} x {kind}  (seeds {', '.join(str(o.recipe.seed) for o in found[:5])})")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--cpp-share", type=int, default=10, help="per cent of the graphs that go through g++")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shrink", type=float, default=60, help="seconds for a finding")
    parser.add_argument("--again", help="a recipe, as a finding names it")
    parser.add_argument("--cpp", action="store_true", help="with --again: the C++ too")
    arguments = parser.parse_args()
    if arguments.again:
        outcome = one(Recipe.load(arguments.again), cpp=arguments.cpp)
        print(outcome.finding or f"refused: {outcome.refused}" if outcome.refused else outcome.finding or "no finding")
        print(outcome.detail)
        return bool(outcome.finding)
    # as Ctrl-C: the chunks in work are done, and the table is printed
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    end = arguments.first + arguments.count
    chunks = [list(range(at, min(at + CHUNK, end))) for at in range(arguments.first, end, CHUNK)]
    outcomes: list[Outcome] = []
    known: set[str] = set()
    try:
        for number, chunk in enumerate(finished(chunks, arguments.jobs, arguments.cpp_share), 1):
            outcomes += chunk
            for outcome in chunk:
                if not outcome.finding:
                    continue
                print(f"seed {outcome.recipe.seed}: {outcome.finding}", flush=True)
                if outcome.finding not in known and not outcome.finding.startswith("the process died"):
                    known.add(outcome.finding)
                    print(saved_apart(outcome, arguments.shrink), flush=True)
            if number % 20 == 0:
                print(f"{len(outcomes)} of {arguments.count} graphs", flush=True)
    except KeyboardInterrupt:
        print("stopped")
    print(table(sorted(outcomes, key=lambda o: o.recipe.seed)))
    return any(outcome.finding for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
