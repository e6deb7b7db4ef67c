# SPDX-License-Identifier: Apache-2.0
"""The passes by name, in order; the reason for a place stands on its line."""

from flow.ir.dataflow import DataflowGraph
from flow.ir.model import ModelGraph
from flow.passes.absorb_transposes import absorb_transposes
from flow.passes.base import Pass
from flow.passes.divide_common_factors import divide_common_factors
from flow.passes.drop_identities import drop_identities
from flow.passes.drop_idle_quantizers import drop_idle_quantizers
from flow.passes.drop_wire_steps import drop_wire_steps
from flow.passes.find_shuffles import find_shuffles
from flow.passes.fold_constant_layout import fold_constant_layout
from flow.passes.fold_shuffles import fold_shuffles
from flow.passes.fuse_steps import fuse_steps
from flow.passes.merge_pads import merge_pads
from flow.passes.merge_reshapes import merge_reshapes
from flow.passes.narrow_accumulators import narrow_accumulators
from flow.passes.narrow_sums import narrow_sums
from flow.passes.orient_channels import orient_channels
from flow.passes.quantize_constants import quantize_constants
from flow.passes.quantize_early import quantize_early
from flow.passes.remove_dead_nodes import remove_dead_nodes
from flow.passes.trim_steps import trim_steps

MODEL_PASSES: tuple[Pass[ModelGraph], ...] = (
    find_shuffles,  # before absorb_transposes: what it finds works on channels that lie last
    absorb_transposes,
    merge_reshapes,
    drop_identities,  # after merge_reshapes: two reshapes may lead back to the first shape
    quantize_early,  # after absorb_transposes: a maximum is taken over windows of channels that lie last
    merge_pads,
    drop_idle_quantizers,
    quantize_constants,
    fold_constant_layout,  # after quantize_constants: it moves levels together with their scales
    remove_dead_nodes,
)

INTEGERIZE = "integerize"
"""The step between the two languages; not a pass, since it changes the type of the graph."""

DATAFLOW_PASSES: tuple[Pass[DataflowGraph], ...] = (
    fuse_steps,
    drop_wire_steps,  # after fuse_steps: a wire may be half of a pair
    fold_shuffles,
    remove_dead_nodes,
    divide_common_factors,
    orient_channels,
    narrow_sums,
    trim_steps,  # after the weights are final
    narrow_accumulators,  # after the weights are final
)


def pass_names() -> tuple[str, ...]:
    """Every name that ``--dump-after`` takes, in the order in which they run."""
    names = ["import", *(p.__name__ for p in MODEL_PASSES), INTEGERIZE]
    return tuple(dict.fromkeys([*names, *(p.__name__ for p in DATAFLOW_PASSES)]))
