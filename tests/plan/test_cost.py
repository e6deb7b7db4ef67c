# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import fields, replace
from math import ceil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flow.plan import cost, cost_coefficients, cost_fit, cost_memory
from flow.plan.cost import MatrixVector, StepHardware
from flow.plan.cost_coefficients import Coefficients, Interval, Kind, coefficients, cost_file
from flow.plan.cost_interval import bounds
from flow.plan.resources import Resources

ROOT = Path(__file__).resolve().parents[2]
ARITHMETIC = ("product", "adder_tree", "accumulator", "control")
FORMS = ("wire", "shift", "multiply_shift", "thresholds", "search", "table")

UNIT = MatrixVector(
    inputs=64,
    outputs=32,
    positions=9,
    pe=4,
    simd=8,
    weight_bits=4,
    input_bits=5,
    acc_bits=14,
    xnor=False,
    weight_memory="lut",
    multiplier="lut",
)
STEP = StepHardware(
    form="thresholds",
    channels=32,
    pe=4,
    in_bits=14,
    out_bits=4,
    levels=15,
    factor_bits=7,
    bias_bits=12,
    multiplier="lut",
)


@st.composite
def matrix_vectors(draw: st.DrawFn) -> MatrixVector:
    pe, simd = (2 ** draw(st.integers(0, 6)) for _ in range(2))
    xnor = draw(st.booleans())
    weight_bits, input_bits = (1, 1) if xnor else (draw(st.integers(1, 12)), draw(st.integers(1, 16)))
    return MatrixVector(
        inputs=simd * 2 ** draw(st.integers(1, 7)),
        outputs=pe * 2 ** draw(st.integers(2, 6)),
        positions=draw(st.integers(1, 100)),
        pe=pe,
        simd=simd,
        weight_bits=weight_bits,
        input_bits=input_bits,
        acc_bits=draw(st.integers(weight_bits + input_bits, 32)),
        xnor=xnor,
        weight_memory=draw(st.sampled_from(["lut", "bram", "uram"])),
        multiplier=draw(st.sampled_from(["lut", "dsp"])),
    )


@st.composite
def amounts(draw: st.DrawFn) -> Resources:
    return Resources(*(draw(st.integers(0, 100_000)) for _ in range(5)))


BRAM18_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
BRAM36_SHAPES = ((32768, 1), (16384, 2), (8192, 4), (4096, 9), (2048, 18), (1024, 36), (512, 72))


def interval_lines(text: str) -> list[tuple[str, str]]:
    """The factors for LUTs and flip-flops in the page's table of intervals."""
    table = text.split("| kind |")[1].splitlines()[2:6]
    return [(cells[2].strip(), cells[4].strip()) for cells in (line.split("|") for line in table)]


def tiles_over(depth: int, width: int, words: int, bits: int) -> int:
    """Tiles of ``words`` x ``bits`` until every bit of every word is covered."""
    tiles, left = 0, 0
    while left < width:
        top = 0
        while top < depth:
            top += words
            tiles += 1
        left += bits
    return tiles


def arithmetic(config: MatrixVector) -> Resources:
    terms = cost.matrix_vector(config, "DSP48E1")
    return sum((terms[name] for name in ARITHMETIC), Resources.zero())


def total(config: MatrixVector) -> Resources:
    return sum(cost.matrix_vector(config, "DSP48E1").values(), Resources.zero())


def price(amount: Resources) -> float:
    return amount.lut + coefficients().luts_per_bram18 * (amount.bram18 + amount.dsp)


class TestMemory:
    @pytest.mark.parametrize(
        ("depth", "width", "blocks"),
        [
            (16384, 1, 1),
            (16385, 1, 2),
            (8192, 2, 1),
            (4096, 4, 1),
            (4097, 4, 2),
            (2048, 9, 1),
            (1024, 18, 1),
            (512, 36, 1),
            (512, 37, 2),
            (513, 36, 2),
            (2048, 3, 1),
            (14, 3584, 100),  # this and the rest: as Vivado built them
            (896, 56, 4),
            (1125, 80, 9),
            (45000, 6, 22),
            (180000, 6, 88),
            (22500, 12, 18),
        ],
    )
    def test_block_ram_has_the_shapes_of_the_primitive(self, depth: int, width: int, blocks: int) -> None:
        assert cost.rom(depth, width, "bram") == Resources(0, 0, 0, blocks, 0)

    @pytest.mark.parametrize(
        ("depth", "width", "blocks"), [(4096, 72, 1), (4097, 72, 2), (4096, 73, 2), (10000, 200, 9)]
    )
    def test_ultra_ram_is_4096_words_of_72_bits(self, depth: int, width: int, blocks: int) -> None:
        assert cost.rom(depth, width, "uram") == Resources(0, 0, 0, 0, blocks)

    @pytest.mark.parametrize(
        ("depth", "width", "luts"),
        [
            (2, 7, 4),  # two bits in a LUT
            (32, 8, 4),
            (33, 8, 8),
            (64, 1, 1),
            (65, 1, 2),
            (256, 10, 40),  # the multiplexers of the slice join four
            (512, 10, 90),  # eight, and one that selects
            (1024, 10, 170),
            (4096, 1, 64 + 5),
        ],
    )
    def test_a_lut_is_64_bits_of_rom(self, depth: int, width: int, luts: int) -> None:
        assert cost.rom(depth, width, "lut").lut == luts
        assert cost.rom(depth, width, "lut").ff == ceil(coefficients().rom_ff * width)

    @pytest.mark.parametrize("memory", ["lut", "bram", "uram"])
    def test_one_word_is_a_constant(self, memory: cost.RomMemory) -> None:
        assert cost.rom(1, 100, memory) == Resources.zero()

    def test_a_small_rom_moves_to_block_ram_where_that_is_cheaper(self) -> None:
        assert cost_memory.small_rom(256, 36).bram18 == 0  # 144 LUTs against 190 for a block RAM
        assert cost_memory.small_rom(512, 36) == cost.rom(512, 36, "bram")  # 324 LUTs

    def test_a_buffer_is_distributed_ram_of_64_words_by_3_bits_in_4_luts(self) -> None:
        assert cost_memory.buffer(64, 9) == Resources(12, 9, 0, 0, 0)
        assert cost_memory.buffer(32, 12) == Resources(8, 12, 0, 0, 0)
        assert cost_memory.buffer(64, 10).lut == 12 + 2  # one bit more: RAM64X1D
        assert cost_memory.buffer(64, 11).lut == 12 + 4
        assert cost_memory.buffer(32, 13).lut == 8 + 2  # RAM32X1D
        assert cost_memory.buffer(128, 3).lut == 2 * 4 + 3  # two banks, and what selects one
        assert cost_memory.buffer(1, 12) == Resources(0, 12, 0, 0, 0)
        assert cost_memory.buffer(4096, 4) == Resources(0, 4, 0, 1, 0)

    def test_a_fifo_goes_from_registers_over_shift_registers_to_block_ram(self) -> None:
        c = coefficients()
        short, middle, long = (cost.fifo(depth, 32) for depth in (2, 64, 1024))
        assert short.ff == ceil(c.fifo_register_control_ff + c.fifo_register_ff * 32)
        control = ceil(c.fifo_control_lut + c.fifo_srl_lut * 32)
        assert middle.lut == control + 2 * 32
        assert (long.lut, long.bram18) == (control, 2)

    @given(st.integers(2, 20000), st.integers(1, 80))
    def test_block_rams_tile_the_memory(self, depth: int, width: int) -> None:
        """Against laying the primitive's shapes over words x bits, one after the other, until all is covered."""
        counts = {shape: tiles_over(depth, width, *shape) for shape in BRAM18_SHAPES}
        found = cost_memory.bram18(depth, width)
        assert found in counts.values()
        assert found == min(n for (_, bits), n in counts.items() if bits > 2 or width <= 2)
        assert found * 18 * 1024 >= depth * width
        # a RAMB36 is a pair: never more than one RAMB18 would be saved
        pairs = min(tiles_over(depth, width, *shape) for shape in BRAM36_SHAPES if shape[1] > 2 or width <= 2)
        assert found <= 2 * pairs

    @given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 8))
    def test_a_buffer_or_a_fifo_never_gets_cheaper(self, depth: int, width: int, more: int) -> None:
        for kind in (cost_memory.buffer, cost_memory.fifo):
            assert price(kind(depth, width)) <= price(kind(depth, width + more))

    def test_what_is_not_a_memory_has_no_price(self) -> None:
        with pytest.raises(ValueError, match=r"^'ddr' is no memory$"):
            cost.rom(16, 4, "ddr")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"^depth must be at least 1; found 0$"):
            cost.rom(0, 4, "lut")

    @given(st.integers(1, 70000), st.integers(1, 600), st.sampled_from(["lut", "bram", "uram"]))
    def test_more_words_or_bits_never_take_less(self, depth: int, width: int, memory: cost.RomMemory) -> None:
        here = cost.rom(depth, width, memory)
        assert here.fits(cost.rom(depth, width + 1, memory))
        assert here.fits(cost.rom(depth + 1, width, memory))


class TestStreams:
    def test_equal_words_need_no_converter(self) -> None:
        assert cost.width_converter(7, 7, 5) == Resources.zero()

    @pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 1), (6, 4), (4, 6), (1, 64)])
    def test_a_converter_is_registers_and_logic(self, before: int, after: int) -> None:
        found = cost.width_converter(before, after, 4)
        assert found.ff >= 4 * max(before, after)
        assert found.lut > 0

    def test_lanes_that_do_not_divide_cost_more(self) -> None:
        assert price(cost.width_converter(6, 4, 8)) > price(cost.width_converter(8, 4, 8))

    def test_a_port_takes_its_registers_even_without_a_converter(self) -> None:
        assert cost.stream_reader(8, 8, 8, 64).ff >= 2 * 64
        assert cost.stream_reader(8, 2, 8, 64) == cost.stream_reader(8, 8, 8, 64) + cost.width_converter(8, 2, 8)
        assert cost.stream_writer(2, 8, 8, 64) == cost.stream_reader(8, 8, 8, 64) + cost.width_converter(2, 8, 8)


class TestShell:
    def test_by_family(self) -> None:
        zynq = cost.shell("zynq7000")
        assert zynq == cost.shell("zynqmp")
        assert 4_500 < zynq.lut < 8_000
        assert zynq.bram18 > 0
        assert cost.shell("artix7") == Resources.zero()
        assert cost.shell("alveo").lut > 0
        with pytest.raises(ValueError, match=r"^the shell of family 'ice40' has no price$"):
            cost.shell("ice40")


class TestMatrixVector:
    def test_cycles(self) -> None:
        assert cost.matrix_vector_cycles(UNIT) == 9 * (32 // 4) * (64 // 8)

    @given(matrix_vectors())
    def test_every_structure_has_a_price(self, config: MatrixVector) -> None:
        terms = cost.matrix_vector(config, "DSP48E2")
        assert list(terms) == [*ARITHMETIC[:3], "weight_memory", "input_buffer", "control"]
        for name, amount in terms.items():
            if name == "adder_tree" and config.simd == 1 and not config.xnor:
                continue  # no tree
            assert amount != Resources.zero(), name

    def test_weights_in_each_memory(self) -> None:
        in_lut, in_bram, in_uram = (
            cost.matrix_vector(replace(UNIT, weight_memory=memory), "DSP48E1")["weight_memory"]
            for memory in ("lut", "bram", "uram")
        )
        assert in_lut.lut == 4 * 32  # 4 ROMs of 64 words by 32 bits
        assert in_bram == Resources(0, 0, 0, 4, 0)
        assert in_uram == Resources(0, 0, 0, 0, 4)

    def test_unfolded_weights_are_constants_and_inputs_a_register(self) -> None:
        terms = cost.matrix_vector(replace(UNIT, pe=32, simd=64), "DSP48E1")
        assert terms["weight_memory"] == Resources.zero()
        assert terms["input_buffer"] == Resources(0, 64 * 5, 0, 0, 0)

    def test_inputs_are_kept_for_the_outputs_that_follow(self) -> None:
        folded = cost.matrix_vector(UNIT, "DSP48E1")["input_buffer"]
        assert folded == Resources(0, 40, 0, 0, 0) + cost_memory.buffer(8, 40)
        assert cost.matrix_vector(replace(UNIT, pe=32), "DSP48E1")["input_buffer"].lut == 0

    def test_a_tree_of_eight(self) -> None:
        assert cost.adder_tree_bits(8, 9, acc_bits=32) == 4 * 10 + 2 * 11 + 12
        assert cost.adder_tree_bits(8, 9, acc_bits=10) == 7 * 10
        assert cost.adder_tree_bits(5, 4, acc_bits=32) == 2 * 5 + 6 + 7
        assert cost.adder_tree_bits(1, 9, acc_bits=32) == 0

    @pytest.mark.parametrize(
        ("left", "right", "kind", "slices"),
        [
            (8, 8, "DSP48E1", 1),
            (25, 18, "DSP48E1", 1),
            (18, 25, "DSP48E1", 1),
            (26, 18, "DSP48E1", 2),
            (26, 18, "DSP48E2", 1),
            (27, 18, "DSP48E2", 1),
            (28, 19, "DSP48E2", 2),
            (28, 28, "DSP48E2", 4),
            (1, 1, "DSP48E1", 1),
        ],
    )
    def test_products_in_dsp_slices(self, left: int, right: int, kind: str, slices: int) -> None:
        assert cost.dsp_slices(left, right, kind) == slices

    def test_a_dsp_slice_for_each_product_and_none_for_bipolar_ones(self) -> None:
        in_dsp = replace(UNIT, multiplier="dsp")
        assert total(in_dsp).dsp == 32
        assert total(UNIT).dsp == 0
        bipolar = replace(in_dsp, xnor=True, weight_bits=1, input_bits=1)
        assert total(bipolar).dsp == 0
        with pytest.raises(ValueError, match=r"^'DSP58' is no DSP slice; known: DSP48E1, DSP48E2$"):
            cost.matrix_vector(in_dsp, "DSP58")

    def test_an_impossible_unit_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^pe = 5 does not divide 32$"):
            replace(UNIT, pe=5)
        with pytest.raises(ValueError, match=r"^bipolar operands have one bit"):
            replace(UNIT, xnor=True)

    @given(matrix_vectors())
    def test_arithmetic_never_shrinks(self, config: MatrixVector) -> None:
        """With PE, SIMD and bits, in every resource.

        The memories are apart: real block RAMs and multiplexers can waste less of a wider, shallower memory,
        so a whole unit may take a little less memory at twice the SIMD.
        """
        more = [
            replace(config, pe=2 * config.pe),
            replace(config, simd=2 * config.simd),
            replace(config, acc_bits=config.acc_bits + 1),
        ]
        if not config.xnor:
            more += [replace(config, weight_bits=config.weight_bits + 1)]
            more += [replace(config, input_bits=config.input_bits + 1)]
        for other in more:
            assert arithmetic(config).fits(arithmetic(other)), other

    @given(matrix_vectors())
    def test_a_unit_never_gets_cheaper_with_bits_or_pe(self, config: MatrixVector) -> None:
        assume(config.weight_memory != "uram")
        more = [replace(config, pe=2 * config.pe)]
        if not config.xnor:
            more += [replace(config, weight_bits=config.weight_bits + 1)]
            more += [replace(config, input_bits=config.input_bits + 1)]
        for other in more:
            assert price(total(config)) <= price(total(other)), other

    def test_a_binary_unit_is_far_cheaper_than_a_wide_one(self) -> None:
        """LUT for each product a cycle, without memories: published designs take 2.8 to 3.1 and 18 to 22."""
        wide = replace(UNIT, inputs=1024, outputs=64, pe=32, simd=32, acc_bits=12)
        binary = arithmetic(replace(wide, xnor=True, weight_bits=1, input_bits=1)).lut / 1024
        w2a3 = arithmetic(replace(wide, weight_bits=2, input_bits=3)).lut / 1024
        assert 1.2 < binary < 3.1
        assert 5 < w2a3 < 22

    def test_the_extremes_are_sensible(self) -> None:
        least = replace(UNIT, pe=1, simd=1, weight_bits=1, input_bits=1, acc_bits=7)
        most = replace(UNIT, inputs=4096, pe=32, simd=128, weight_bits=12, input_bits=16, acc_bits=32)
        assert 150 < arithmetic(least).lut < 300
        assert 4096 * 100 < arithmetic(most).lut < 4096 * 400


class TestStepFunction:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("channels", [1, 32])
    def test_every_form_has_a_price(self, form: cost.StepForm, channels: int) -> None:
        config = replace(STEP, form=form, channels=channels)
        terms = cost.step_terms(config, "DSP48E1")
        assert cost.step_function(config, "DSP48E1") == sum(terms.values(), Resources.zero())
        if form == "wire":
            assert terms == {}
            return
        assert terms["logic"].lut > 0
        assert terms["logic"].ff > 0
        assert (terms["memory"] != Resources.zero()) == (channels > 1 or form in ("search", "table"))

    def test_without_a_form_there_is_no_price(self) -> None:
        with pytest.raises(ValueError, match=r"^a step function in the form 'spline' has no price$"):
            cost.step_function(replace(STEP, form="spline"), "DSP48E1")  # type: ignore[arg-type]

    def test_multiply_shift_in_dsp_slices(self) -> None:
        config = replace(STEP, form="multiply_shift", multiplier="dsp")
        in_dsp, in_lut = (cost.step_function(c, "DSP48E1") for c in (config, replace(config, multiplier="lut")))
        assert in_dsp.dsp == 4
        assert in_lut.dsp == 0
        assert in_dsp.lut < in_lut.lut

    def test_a_table_is_a_word_for_each_input(self) -> None:
        config = replace(STEP, form="table", in_bits=8, channels=4)
        memory = cost.step_terms(config, "DSP48E1")["memory"]
        assert memory == cost.rom(256, 4, "lut").scaled(4)
        folded = cost.step_terms(replace(config, channels=8), "DSP48E1")["memory"]
        assert folded == cost.rom(512, 4, "lut").scaled(4)

    def test_a_search_compares_once_a_stage(self) -> None:
        wide = replace(STEP, levels=255)
        searched, compared = (cost.step_function(replace(wide, form=f), "DSP48E1") for f in ("search", "thresholds"))
        assert price(searched) < price(compared) / 5

    def test_thresholds_of_one_function_are_constants(self) -> None:
        alike, different = (cost.step_function(replace(STEP, channels=n), "DSP48E1") for n in (1, 32))
        assert alike.lut < different.lut

    @given(
        st.sampled_from(FORMS[1:]),
        st.sampled_from([1, 16, 64, 1000]),
        st.integers(0, 4),
        st.integers(2, 14),
        st.integers(1, 8),
        st.integers(1, 15),
        st.integers(0, 15),
        st.sampled_from(["lut", "dsp"]),
    )
    def test_a_step_never_gets_cheaper_with_bits(
        self,
        form: cost.StepForm,
        channels: int,
        pe: int,
        in_bits: int,
        out_bits: int,
        factor_bits: int,
        bias_bits: int,
        multiplier: cost.Multiplier,
    ) -> None:
        config = StepHardware(
            form, channels, 2**pe, in_bits, out_bits, 2**out_bits - 1, factor_bits, bias_bits, multiplier
        )
        here = price(cost.step_function(config, "DSP48E2"))
        for name in ("in_bits", "out_bits", "levels", "factor_bits", "bias_bits"):
            other = replace(config, **{name: getattr(config, name) + 1})
            assert here <= price(cost.step_function(other, "DSP48E2")), name


class TestCoefficients:
    def test_each_has_a_value_a_unit_and_an_origin(self) -> None:
        file = cost_file()
        names = {field.name for field in fields(Coefficients)}
        assert names == set(file.units) == set(file.origins) == set(file.sources)
        assert all(getattr(file.coefficients, name) > 0 for name in names)
        assert all(file.sources.values())
        assert "to be written" not in cost_coefficients.FILE.read_text()

    def test_what_is_unmeasured_says_so(self) -> None:
        file = cost_file()
        assert {n for n, origin in file.origins.items() if origin == "assumed"} == {
            "kernel_control_ff",
            "kernel_control_lut",
            "luts_per_bram18",
            "xnor_lut",
        }

    def test_missing_and_unknown_keys_are_errors(self, tmp_path: Path) -> None:
        text = cost_coefficients.FILE.read_text()
        text = text.replace("[coefficients.adder_lut]", "[coefficients.adder_luts]")
        text = text.replace("lut_smape", "lut_mape").replace('origin = "fitted"', 'origin = "guessed"', 1)
        broken = tmp_path / "coefficients.toml"
        broken.write_text(text)
        with pytest.raises(ValueError, match=r"^coefficients.toml is not complete:") as caught:
            cost_coefficients.read(broken)
        assert str(caught.value).splitlines()[1:] == [
            "  - coefficients: unknown key 'adder_luts'",
            "  - coefficients: missing key 'adder_lut'",
            "  - error: unknown key 'lut_mape'",
            "  - error: missing key 'lut_smape'",
            "  - product_lut: origin 'guessed' is none of architecture, fitted, measured, assumed",
        ]

    def test_the_error_is_told_for_each_resource(self) -> None:
        error = cost.error_of_model()
        assert error.sentence("lut") == (
            f"SMAPE {error.lut_smape:g} %, median ratio {error.lut_ratio:g} on {error.configurations} units "
            f"of {error.repositories} authors, each left out in turn"
        )
        for name, _ in Resources.zero().items():
            assert error.sentence(name)
        with pytest.raises(ValueError, match=r"^'gate' is no resource$"):
            error.sentence("gate")

    def test_every_kind_has_an_interval_and_only_the_unmeasured_is_assumed(self) -> None:
        intervals = cost_file().intervals
        assert set(intervals) == set(get_args(cost_coefficients.Kind))
        assert {kind for kind, interval in intervals.items() if not interval.blocks} == {"other"}
        assert all(interval.lut >= 1 and interval.ff >= 1 for interval in intervals.values())


class TestIntervals:
    @given(st.lists(st.tuples(st.sampled_from(get_args(cost_coefficients.Kind)), amounts()), max_size=8))
    def test_the_ends_of_a_sum_are_the_sums_of_the_ends(self, blocks: list[tuple[Kind, Resources]]) -> None:
        low, high = bounds(blocks)
        for_each = [bounds([block]) for block in blocks]
        assert low == sum((ends[0] for ends in for_each), Resources.zero())
        assert high == sum((ends[1] for ends in for_each), Resources.zero())
        total = sum((amount for _, amount in blocks), Resources.zero())
        assert low.fits(total)
        assert total.fits(high)

    def test_by_hand(self) -> None:
        block = Resources(lut=100, ff=90, dsp=3, bram18=4, uram=5)
        using: dict[Kind, Interval] = {"fifo": Interval(lut=2, ff=1.5, blocks=1, authors=1)}
        assert bounds([("fifo", block)], using) == (Resources(50, 60, 3, 4, 5), Resources(200, 135, 3, 4, 5))


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("scipy", reason="the fit needs scipy, which comes with the extra 'calibrate'")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return ROOT / "benchmarks"


class TestErrors:
    def test_the_measures_of_error(self) -> None:
        pairs = [(100.0, 100.0), (300.0, 100.0), (0.0, 0.0)]
        assert cost_fit.smape(pairs) == pytest.approx(100 / 3)
        assert cost_fit.ratio(pairs[:2]) == 2.0
        assert cost_fit.within(pairs, 0) == pytest.approx(200 / 3)

    def test_a_factor_counts_every_author_alike_and_both_directions(self) -> None:
        many = [(100.0, 100.0 + step) for step in range(10)]  # off by up to 9 %, upwards
        few = [(100.0, 100.0), (300.0, 100.0)]  # one is right, one three times too high
        groups = ["many"] * len(many) + ["few"] * len(few)
        assert cost_fit.factor([*many, *few], groups, 0.75) == 1.09
        assert cost_fit.factor([*many, *few], groups, 0.8) == 3.0
        assert cost_fit.factor(few, ["few"] * 2, 0.5) == 1.0

    @given(st.lists(st.tuples(st.floats(1, 1e5), st.floats(1, 1e5)), min_size=1), st.sampled_from([0.5, 0.8, 1.0]))
    def test_a_factor_holds_the_share_that_it_was_made_for(
        self, pairs: list[tuple[float, float]], share: float
    ) -> None:
        found = cost_fit.factor(pairs, ["one"] * len(pairs), share)
        held = [max(e / t, t / e) <= found for e, t in pairs]
        assert sum(held) >= share * len(pairs) - 1e-6  # but for the rounding of the weights
        tighter = [max(e / t, t / e) < found for e, t in pairs]
        assert sum(tighter) < share * len(pairs) + 1e-6


class TestFit:
    def test_coefficients_are_found_again(self) -> None:
        pytest.importorskip("scipy", reason="the fit needs scipy, which comes with the extra 'calibrate'")
        lines = np.array([[1.0, 1.0], [4.0, 1.0], [20.0, 1.0], [100.0, 1.0]])
        true = np.array([2.5, 7.0])
        assert cost_fit.line_fit(lines, lines @ true) == pytest.approx(true, rel=1e-3)  # of an iterative solver
        known = np.array([3.0, 0.0, 5.0, 100.0])
        found = cost_fit.positive_fit(lines, known, lines @ true + known, true, np.ones(4))
        assert found == pytest.approx(true, rel=1e-6)  # the priors are right, so the minimum is where the fit starts
        # a prior that is wrong pulls, the more the fewer blocks there are: here by less than a tenth
        many = np.tile(lines, (50, 1))
        found = cost_fit.positive_fit(many, np.zeros(200), many @ true, 2 * true, np.ones(200))
        assert found == pytest.approx(true, rel=0.1)

    @pytest.mark.parametrize(
        ("asked", "inputs", "outputs", "legal"), [(1024, 80, 24, 960), (1024, 24, 120, 960), (4093, 104, 64, 3328)]
    )
    def test_a_reuse_factor_becomes_a_legal_one(
        self, benchmarks: Path, asked: int, inputs: int, outputs: int, legal: int
    ) -> None:
        import fit_cost

        assert fit_cost.legal_reuse(asked, inputs, outputs) == legal

    def test_rows_are_sorted_by_rule(self, benchmarks: Path, shared: Callable[..., Path]) -> None:
        import finn_rows

        rows = finn_rows.read_rows(shared("ground_truth", "calibration.csv"))
        found = finn_rows.sort_rows(rows)
        everywhere = [row for group in (*found.used.values(), *found.left_out.values()) for row in group]
        assert sorted(map(id, everywhere)) == sorted(map(id, rows))
        assert all(finn_rows.is_built(row) for use, group in found.used.items() if "HLS" not in use for row in group)

    def test_an_author_who_is_left_out_has_no_influence(self, benchmarks: Path, shared: Callable[..., Path]) -> None:
        """Ten times the resources in all rows of an author change nothing of what is estimated for them."""
        import finn_rows
        import fit_cost

        base = coefficients()
        found = finn_rows.sort_rows(finn_rows.read_rows(shared("ground_truth", "calibration.csv")))
        chosen = finn_rows.units(found.used["matrix-vector units"])
        small = finn_rows.kernels(found, base)
        shell = finn_rows.shell_blocks(found.used["shell"])
        author = "rossoneill567/QDCNN-EEG-SubjectSpecific"

        def larger(blocks: list[Any]) -> list[Any]:
            return [replace(b, lut=10 * b.lut, ff=10 * b.ff) if b.repository == author else b for b in blocks]

        def theirs(compared: list[tuple[Any, Any]]) -> list[Resources]:
            return [c.estimate for _, c in compared if c.repository == author]

        before = theirs(fit_cost.left_out(chosen, small, shell, base))
        after = theirs(fit_cost.left_out(larger(chosen), larger(small), larger(shell), base))
        assert len(before) > 30
        assert before == after

    def test_the_coefficients_are_what_the_fit_gives(self, benchmarks: Path, shared: Callable[..., Path]) -> None:
        import fit_cost

        measured = shared("ground_truth", "calibration.csv")
        current = cost_file()
        outcome = fit_cost.run(fit_cost.read_rows(measured), current)
        for name, value in outcome.values.items():
            # another scipy may stop an iteration elsewhere
            assert value == pytest.approx(getattr(current.coefficients, name), rel=2e-3), name
        for field in fields(outcome.error):
            assert getattr(outcome.error, field.name) == pytest.approx(getattr(current.error, field.name), rel=1e-2), (
                field.name
            )
        for kind, interval in outcome.intervals.items():
            stored = current.intervals[kind]
            assert (interval.blocks, interval.authors) == (stored.blocks, stored.authors)
            assert (interval.lut, interval.ff) == pytest.approx((stored.lut, stored.ff), rel=1e-2), kind
        assert outcome.sources.items() <= current.sources.items()
        fitted = {name for name, origin in current.origins.items() if origin in ("fitted", "measured")}
        assert fitted == set(outcome.values)

    def test_the_page_shows_what_the_file_holds(self) -> None:
        text = (ROOT / "docs" / "cost_model.md").read_text()
        error, intervals = cost_file().error, cost_file().intervals
        assert f"**{error.lut_smape:.1f} %**, {error.lut_ratio:.2f} | **{error.ff_smape:.1f} %**" in text
        assert f"within one for {error.bram18_within_one:g} % of {error.bram18_rows} units" in text
        assert f"exact for {error.dsp_exact:g} % of {error.dsp_rows}" in text
        assert (
            f"({error.sums} builds) | ends added | **{error.lut_covered} %** | ends added | **{error.ff_covered} %**"
            in text
        )
        for kind, line in zip(("matrix_vector", "fifo", "converter", "shell"), interval_lines(text), strict=True):
            assert [float(cell) for cell in line] == [round(intervals[kind].lut, 2), round(intervals[kind].ff, 2)]

    def test_the_goals_are_met_on_authors_who_were_left_out(self) -> None:
        """The figures that the file holds, which the test above finds again; FINN's own estimate: 56 % for LUTs."""
        error = cost_file().error
        assert error.lut_smape <= 25
        assert error.ff_smape <= 30
        assert error.dsp_exact >= 80
        assert error.bram18_within_one >= 80
        assert min(error.lut_covered, error.ff_covered) >= 80
