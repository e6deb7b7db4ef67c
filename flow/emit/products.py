# SPDX-License-Identifier: Apache-2.0
"""The C++ of matrix products and convolutions: packed weights, products, sums."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from flow.emit.cxx import Table, codes, type_name, unsigned_table
from flow.emit.process_text import HlsOptions, add_layer, finish, interval_type, layer_header, number
from flow.ir.dataflow import Pooling, Product
from flow.ir.types import Bipolar, ElementType, Ints, IntType
from flow.plan.packing import SUM_BITS, packing_of
from flow.plan.processes import LayerProcess


def add_dense(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A folded matrix-vector unit: each output from all inputs of its group."""
    layer, plan = process.layer, process.plan
    product = layer.product
    assert product is not None
    add_layer(text, process)
    groups = layer.groups
    folds, synapse_folds = layer.outputs // groups // plan.pe, layer.inputs // plan.simd
    text.header = layer_header(process, options, [*_numbers(process), _folding(process, folds, synapse_folds)])
    text.tables.insert(0, _weights(text, product, process))
    x, w, acc = layer.core_x.element, product.weight_type, product.acc
    product_type: str | None = None
    for chunk in text.chunk_list:
        chunk.x = f"x[i{chunk.offset}]"
        chunk.term = _signed_term(chunk.x, x, w)
    if not isinstance(x, Bipolar) and not isinstance(w, Bipolar):
        product_type = type_name(_product_type(product.weight, layer.core_x.lo, layer.core_x.hi))
    total, sum_type = "total", type_name(acc)
    if layer.xnor:  # count the equal bits: the sum is twice the count, less the number of inputs
        for chunk in text.chunk_list:
            chunk.bits = chunk.lanes
        sum_type = f"ap_uint<{layer.inputs.bit_length()}>"
        total = f"{type_name(acc)}(2 * total - {layer.inputs})"
    fold = f"group * {folds} + neuron" if groups > 1 and folds > 1 else ("group" if groups > 1 else "neuron")
    row = fold if synapse_folds == 1 else f"({fold}) * {synapse_folds} + synapse"
    if groups == 1:
        row = f"neuron * {synapse_folds} + synapse" if folds > 1 and synapse_folds > 1 else row
        row = "synapse" if folds == 1 else row
    vars(text).update(
        xnor=layer.xnor,
        positions=layer.positions,
        groups=groups,
        neuron_folds=folds,
        synapse_folds=synapse_folds,
        row=row,
        slices=process.in_lanes // plan.simd,
        parts=process.out_lanes // plan.pe,
        packing=_packing_text(text, process, options),
        memory=plan.weight_memory,
        multiplier=plan.unit,
        w_type=type_name(w),
        product_type=product_type,
        sum_type=sum_type,
        finish=finish(text, total, fold),
    )


def _packing_text(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> SimpleNamespace | None:
    """How the products of several outputs share DSP slices; None where they do not."""
    packing = packing_of(process.layer, process.plan, options.dsp)
    if packing is None:
        return None
    text.header.append(f"packing: {packing}")
    for chunk in text.chunk_list:
        chunk.chain = min(packing.chain, chunk.lanes)
    x = process.layer.core_x.element
    return SimpleNamespace(
        count=packing.count,
        spacing=packing.spacing,
        slice=packing.dsp.value,
        sum_bits=SUM_BITS,
        operand_type=type_name(IntType(packing.operand_bits, signed=True)),
        product_type=type_name(IntType(packing.operand_bits + x.bits, signed=True)),
    )


def add_lanewise(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """One tap a cycle in every lane: a depthwise convolution, or a pool over windows that overlap."""
    layer, plan = process.layer, process.plan
    add_layer(text, process)
    folds, taps = layer.outputs // plan.pe, layer.taps
    x = layer.core_x.element
    how = f"PE {plan.pe}: {layer.positions} positions x {folds} folds x {taps} taps = {process.cycles} cycles a frame"
    total_type, product_type, term = text.acc_type, None, number("x[p]", x)
    greatest, weight = False, ""
    if isinstance(layer.op, Pooling):
        what = [f"{layer.op.kind} over {taps} taps of {layer.outputs} channels: {x} -> {layer.y.element}"]
        greatest = layer.op.kind == "max"
        if greatest:  # the codes of bipolar values are in order, too
            total_type, term = text.x_type, "x[p]"
    else:
        product = layer.product
        assert product is not None
        what = _numbers(process)
        text.tables.insert(0, _weights(text, product, process))
        w = product.weight_type
        weight = type_name(w)
        term = _signed_term("x[p]", x, w)
        if not isinstance(x, Bipolar) and not isinstance(w, Bipolar):
            product_type = type_name(_product_type(product.weight, layer.core_x.lo, layer.core_x.hi))
            term = "product"
    place = " + ".join([*([f"fold * {taps}"] if folds > 1 else []), *(["tap"] if taps > 1 else [])]) or "0"
    text.header = layer_header(process, options, [*what, how])
    vars(text).update(
        positions=layer.positions,
        folds=folds,
        taps=taps,
        total_type=total_type,
        product_type=product_type,
        w_type=weight,
        term=term,
        greatest=greatest,
        place=place,
        memory=plan.weight_memory,
        multiplier=plan.unit,
        finish=finish(text, "total", "fold" if folds > 1 else "0"),
    )


def _signed_term(value: str, x: ElementType, w: ElementType) -> str:
    """A product with a bipolar operand: the other one, or its negative; empty where both are integers."""
    match x, w:
        case Bipolar(), Bipolar():
            return f"({value} == w) ? ap_int<2>(1) : ap_int<2>(-1)"
        case Bipolar(), IntType():
            return f"({value} == 1) ? ap_int<{w.bits + 1}>(w) : ap_int<{w.bits + 1}>(-w)"
        case IntType(), Bipolar():
            wide = x.bits + (1 if x.signed else 2)
            return f"(w == 1) ? ap_int<{wide}>({value}) : ap_int<{wide}>(-{value})"
        case _:
            return ""


def _numbers(process: LayerProcess) -> list[str]:
    layer = process.layer
    product = layer.product
    assert product is not None
    x = layer.core_x
    groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
    return [
        f"{layer.positions} x {layer.inputs} -> {layer.outputs}{groups}: inputs {x.element} in "
        f"[{x.lo.min()}, {x.hi.max()}], weights {product.weight_type} in "
        f"[{product.weight.min()}, {product.weight.max()}], accumulator {product.acc} in "
        f"[{layer.acc.lo.min()}, {layer.acc.hi.max()}], outputs {layer.y.element}"
    ]


def _folding(process: LayerProcess, folds: int, synapse_folds: int) -> str:
    plan, groups = process.plan, process.layer.groups
    parts = f"{groups} groups x " if groups > 1 else ""
    return (
        f"PE {plan.pe} x SIMD {plan.simd}: {parts}{folds} neuron folds x {synapse_folds} synapse folds "
        f"= {process.cycles} cycles a frame"
    )


def _weights(text: SimpleNamespace, product: Product, process: LayerProcess) -> Table:
    """The weights packed: chunks of at most 64 bits, in the order in which they are read."""
    pe, simd = process.plan.pe, process.plan.simd
    element = product.weight_type
    bits = element.bits
    inputs, outputs = product.matrix.shape
    per_chunk = min(simd, 64 // bits)
    chunks = -(-simd // per_chunk)
    # (inputs, outputs) -> [pe][neuron fold * synapse fold][simd]
    folded = codes(product.matrix, element).T.reshape(outputs // pe, pe, inputs // simd, simd)
    ordered = folded.transpose(1, 0, 2, 3).reshape(pe, -1, simd)
    packed = np.zeros((*ordered.shape[:2], chunks), np.uint64)
    mask = np.int64((1 << bits) - 1)
    for lane in range(simd):
        word = (ordered[:, :, lane] & mask).astype(np.uint64) << np.uint64(bits * (lane % per_chunk))
        packed[:, :, lane // per_chunk] |= word
    vars(text).update(
        chunks=chunks,
        weight_bits=bits,
        chunk_list=[
            SimpleNamespace(
                number=c,
                lanes=min(per_chunk, simd - c * per_chunk),
                bits=bits * per_chunk,
                index=f"[{c}]" if chunks > 1 else "",
                offset=f" + {c * per_chunk}" if c else "",
            )
            for c in range(chunks)
        ],
    )
    order = (
        f"fold * {inputs} + tap" if process.block == "lanewise" else f"neuron fold * {inputs // simd} + synapse fold"
    )
    comment = (
        f"Weights, {element}: [PE][{order}]"
        + (f"[{chunks} chunks]" if chunks > 1 else "")
        + (f", {per_chunk} to a word, the first input in the low bits" if process.block != "lanewise" else "")
    )
    values = packed if chunks > 1 else packed[:, :, 0]
    arrangement = (("partition", 1), *([("reshape", 3)] if chunks > 1 else []))
    packed_table = unsigned_table(f"{text.identifier}_weights", comment, values, bits * per_chunk)
    return replace(packed_table, arrangement=arrangement)


def _product_type(weight: Ints, lo: Ints, hi: Ints) -> IntType:
    ends = [int(a) * int(b) for a in (weight.min(), weight.max()) for b in (lo.min(), hi.max())]
    return interval_type(min(ends), max(ends))
