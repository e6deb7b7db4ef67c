# SPDX-License-Identifier: Apache-2.0
"""What a network with weights of learned widths takes of a board: the planner's own figures, joined by lines.

The network is compiled once for each whole width, with the weights that it has then. PE, SIMD, memory and multiplier
of every layer are those of the best plan for the present widths, or for narrower ones where these do not fit; the form
of a step function is for each width the cheapest. So each entry of a table belongs to a design, and where all widths
are whole the sum of the entries is what the planner counts for that design. The best plan for them costs no more.

In between the figures lie on lines. Only layers in a chain are independent of each other: behind a fork the depth of
a stream follows from the latencies of both branches, and the sum may be off by some words of such a stream.
"""

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from flow.api.compile import compile_model
from flow.api.names import layer_labels
from flow.errors import InfeasibleError, OptionError
from flow.plan.board import Board
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_resources
from flow.plan.folding import fold
from flow.plan.goals import Goals, cost
from flow.plan.layers import Layer, layers_of
from flow.plan.packing import multiplier_options
from flow.plan.plan import FormName, LayerPlan, Plan
from flow.plan.resources import Resources
from flow.quant.cost import Use, Widths
from flow.quant.layers import replace_weight_quantizer, weight_layers
from flow.quant.qonnx import export

LEAST_BITS = 2
"""The narrowest weights with a sign on an even grid: -1, 0, 1."""
NAMES = tuple(name for name, _ in Resources.zero().items())


class EvenGrid(nn.Module):
    """Weights on the even grid of a whole width over their range."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.register_buffer("bits", torch.tensor(float(bits)))
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        step = weight.abs().max().clamp_min(1e-12) / (torch.pow(2.0, self.bits - 1) - 1)
        return torch.round(weight / step) * step, step, self.zero, self.bits


@dataclass(frozen=True)
class Compiled:
    """The layers of the integer network of a model.

    Attributes:
        layers: As the planner takes them.
        modules: The path of the module with its weights, for each layer that has weights.
    """

    layers: tuple[Layer, ...]
    modules: Mapping[str, str]

    def uses(self) -> dict[str, Use]:
        """How each layer uses its weights, by module path."""
        return {
            self.modules[layer.name]: Use(layer.positions, layer.core_x.element.bits)
            for layer in self.layers
            if layer.name in self.modules
        }


@dataclass(frozen=True)
class BoardTable:
    """What a design takes, as a function of widths.

    Attributes:
        least: The least width in the tables.
        base: (resources,): of the design at the widths at which all tables are zero.
        layers: (widths, resources) for each layer with learned widths: what it adds to that.
    """

    least: int
    base: Tensor
    layers: Mapping[str, Tensor]

    def amounts(self, widths: Widths) -> Tensor:
        """(resources,): on lines between whole widths, and along the outermost lines beyond them.

        Weights are stored and multiplied at the greatest width of their layer.
        """
        device = next(iter(widths.values())).device
        total = self.base.to(device)
        for name, table in self.layers.items():
            place = widths[name].max() - self.least
            below = int(place.detach().floor().clamp(0, len(table) - 2))
            left, right = table[below].to(device), table[below + 1].to(device)
            total = total + left + (place - below) * (right - left)
        return total


def compiled(model: nn.Module, example: Tensor, bits: Mapping[str, int] | None = None) -> Compiled:
    """The integer network of a copy of a model, with the weights of some layers on even grids.

    Args:
        model: What is trained.
        example: (frames, *shape); a model that has not seen a frame yet takes its scales from these.
        bits: Widths, by module path; other layers keep the quantisers that they have.

    Raises:
        OptionError: Layers with weights are no products in the integer network.
        FlowError: The model cannot be exported or compiled.
    """
    with torch.random.fork_rng(devices=[]):
        twin = copy.deepcopy(model).to("cpu")
        frames = example.detach().cpu()
        twin.train()
        with torch.no_grad():
            twin(frames)
        for name, layer in weight_layers(twin).items():
            if bits is not None and name in bits:  # from here on, so that scales do not depend on these widths
                replace_weight_quantizer(layer, EvenGrid(bits[name]))
        with tempfile.TemporaryDirectory() as scratch:
            found = compile_model(export(twin, Path(scratch) / "model.onnx", frames[:1]))
    layers = layers_of(found.graph)
    labels = layer_labels(layers, found.imported)
    modules = {layer.name: labels[layer.name] for layer in layers if layer.product is not None}
    missing = weight_layers(model).keys() - set(modules.values())
    if missing or len(set(modules.values())) < len(modules):
        raise OptionError(
            f"what the weights of {', '.join(sorted(missing)) or 'a layer'} cost is not known: in the integer network "
            "they are no product of their own",
            "use each layer once, or train without a budget",
        )
    return Compiled(layers, modules)


def board_table(
    networks: Mapping[int, Compiled],
    present: Mapping[str, int],
    board: Board,
    clock_mhz: float,
    goals: Goals,
) -> BoardTable:
    """Prices a network at whole widths.

    Args:
        networks: The network with all learned layers at one width, for each width from the least to the greatest.
        present: The widths that layers have now, by module path, for all layers whose width is learned.
        board: Where it shall run.
        clock_mhz: At which clock.
        goals: What the design shall reach.

    Raises:
        OptionError: Nothing meets the goals, not even with the least widths.
    """
    widths = sorted(networks)
    names = [layer.name for layer in networks[widths[0]].layers]
    if any([layer.name for layer in network.layers] != names for network in networks.values()):
        raise OptionError(
            "with other widths the integer network has other layers: what widths cost is not known",
            "train for a budget of bits or bit operations, which does not ask the planner",
        )
    modules = networks[widths[0]].modules

    def layers_at(bits: Mapping[str, int]) -> tuple[Layer, ...]:
        at = [bits.get(modules.get(name, ""), widths[0]) for name in names]
        return tuple(networks[b].layers[place] for place, b in enumerate(at))

    def amounts(layers: tuple[Layer, ...]) -> Tensor:
        plans = [_with_cheapest_form(layer, p, board) for layer, p in zip(layers, decided.layers, strict=True)]
        design = build_design(layers, replace(decided, layers=tuple(plans)), board.axis_bits)
        return torch.tensor([float(n) for _, n in design_resources(design, board).total.items()])

    least, middle = dict.fromkeys(present, widths[0]), dict.fromkeys(present, widths[len(widths) // 2])
    start: Mapping[str, int] = least
    decided = _least_plan(layers_at(least), widths[0], board, clock_mhz, goals)
    for bits in (present, middle):
        try:
            start, decided = bits, fold(layers_at(bits), board, clock_mhz, goals).plan
        except InfeasibleError:
            continue
        break
    base = amounts(layers_at(start))
    tables = {
        module: torch.stack([amounts(layers_at({**start, module: bits})) - base for bits in widths])
        for module in present
    }
    return BoardTable(widths[0], base, tables)


def _least_plan(layers: tuple[Layer, ...], bits: int, board: Board, clock_mhz: float, goals: Goals) -> Plan:
    """The best plan for the least widths.

    Raises:
        OptionError: There is none.
    """
    try:
        return fold(layers, board, clock_mhz, goals).plan
    except InfeasibleError as error:
        raise OptionError(
            f"no widths meet the budget: even with {bits} bits for each weight whose width is learned, {error.message}",
            f"{error.remedy}; or take a smaller model, or activations of fewer bits",
        ) from error


def _with_cheapest_form(layer: Layer, decided: LayerPlan, board: Board) -> LayerPlan:
    """The decisions for a layer at another width, which has other forms, and may not fit a packed product."""
    multiplier = decided.multiplier
    if multiplier == "packed" and multiplier not in multiplier_options(layer, decided.pe, board):
        multiplier = "dsp"
    forms: list[FormName] = list(layer.forms) or ["none"]  # type: ignore[arg-type]
    plans = [replace(decided, multiplier=multiplier, form=form) for form in forms]
    return min(plans, key=lambda p: cost(_total(layer, p, board), board))


def _total(layer: Layer, plan: LayerPlan, board: Board) -> Resources:
    return sum(layer_resources(layer, plan, board).values(), Resources.zero())
