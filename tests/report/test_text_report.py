# SPDX-License-Identifier: Apache-2.0
"""The report as text: what is known, how it is known, and what failed."""

from dataclasses import replace

from flow.report.schema import BuildReport, Check, Estimated, LayerReport, Measured, StreamReport
from flow.report.text import render_text

NAMES = ("lut", "ff", "dsp", "bram18", "uram")


def figures(*values):
    return {n: Estimated(v, "cost", f"error of {n}") for n, v in zip(NAMES, values, strict=True)}


LAYER = LayerReport(
    name="fc1.out",
    identifier="fc1",
    origin="From MatMul 'fc1'",
    kind="dense",
    shape="16 x 8",
    bits={"weight": "i4", "input": "u4", "accumulator": "i11", "output": "u2"},
    weights=128,
    weight_bits=512,
    macs=128,
    pe=4,
    simd=8,
    weight_memory="bram",
    multiplier="lut",
    packing=None,
    adders=None,
    form="thresholds",
    certificate="thresholds: proved on 24",
    scale="2^-3",
    cycles=Estimated(4, "cycles", None),
    resources=figures(1234, 567, 0, 3, 0),
    terms={},
)
REPORT = BuildReport(
    model={"file": "net.onnx", "sha256": "00"},
    board={"name": "pynq-z2", "title": "PYNQ-Z2", "part": "xc7z020clg400-1"},
    style="stream",
    clock_mhz=125.0,
    input={},
    output={},
    layers=(LAYER,),
    converters=(),
    streams=(
        StreamReport(
            name="copy1_from_x",
            reader="total",
            words=400,
            bits=12,
            depth=64,
            occupancy=Estimated(57, "events", None),
            chosen="least price",
            resources=figures(71, 33, 0, 0, 0),
        ),
    ),
    interval=Estimated(4, "cycles", None),
    latency=Estimated(25, "cycles", "depths assumed"),
    fps=Estimated(31250000.0, "cycles", None),
    total=figures(5320, 1064, 0, 28, 0),
    parts={"layers": dict(zip(NAMES, (1234, 567, 0, 3, 0), strict=True))},
    budget=dict(zip(NAMES, (53200, 106400, 220, 280, 0), strict=True)),
    binding="lut",
    optimality="given by the user",
    checks=(
        Check("a against b", "200 random frames", 1600, 0, 3, ("near-tie at 'h', frame 7",)),
        Check("b against c", "200 random frames", 1600, 0),
    ),
    accuracy=0.9712,
    host_input="the input arrives as u8",
    host_output="an output integer is worth 4",
)


def lines_with(text, *words):
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_head_and_figures():
    text = render_text(REPORT)
    assert text.splitlines()[0] == "net.onnx on PYNQ-Z2 (xc7z020clg400-1) at 125 MHz, stream style"
    assert (
        "a frame every 4 cycles, 31,250,000 frames/s, latency 25 cycles (0.20 us); estimated, depths assumed"
        in text.replace("\n", " ")
    )
    assert "plan: given by the user; binding resource: LUT" in text
    assert "host: the input arrives as u8; an output integer is worth 4" in text
    assert "accuracy of the hardware's integers on the labels: 97.12%" in text


def test_layers():
    (line,) = lines_with(render_text(REPORT), "│ fc1 ")
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    certificate = "thresholds: proved on 24"
    assert cells == [
        *("fc1", "16 x 8", "i4", "u4", "i11", "u2", "4", "8", "bram"),
        *(certificate, "4", "1,234", "567", "0", "3"),
    ]


def test_layer_without_product_or_step():
    bits = {"input": "u4", "output": "u2"}
    text = render_text(replace(REPORT, layers=(replace(LAYER, kind="step", bits=bits, certificate=None),)))
    (line,) = lines_with(text, "│ fc1 ")
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[2:10] == ["-", "u4", "-", "u2", "4", "8", "-", "-"]


def test_totals_with_share_and_error():
    text = render_text(REPORT)
    (line,) = lines_with(text, "│ LUT ")
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["LUT", "1,234", "5,320", "", "53,200", "10.0%", "error of lut"]
    assert lines_with(text, "│ DSP ", "0.0%")
    assert not lines_with(text, "URAM")  # the board has none, the design takes none


def test_estimates_with_their_intervals():
    lut = Estimated(5320, "cost", "error of lut", 4000, 7000)
    text = render_text(replace(REPORT, total={**REPORT.total, "lut": lut}))
    (line,) = lines_with(text, "│ LUT ")
    assert [cell.strip() for cell in line.strip("│").split("│")][2:4] == ["5,320", "4,000 to 7,000"]
    within = {**LAYER.resources, "lut": Estimated(1234, "cost", None, 900, 1700)}
    lines = render_text(replace(REPORT, layers=(replace(LAYER, resources=within),))).splitlines()
    place = next(number for number, line in enumerate(lines) if "│ fc1 " in line)
    assert "900 to 1,700" in " ".join(lines[place + 1 : place + 3]).replace("│", "")


def test_energy_only_where_it_is_known():
    assert "energy" not in render_text(REPORT)
    energy = Estimated(30.5e-6, "board power", "rough: measured power for the time", 29e-6, 32e-6)
    text = render_text(replace(REPORT, energy=energy))
    assert "energy: 29 to 32 uJ a frame (rough: measured power for the time)" in text


def test_checks():
    text = render_text(REPORT)
    assert lines_with(text, "a against b", "1,600", "0 (+ 3 proved near-ties)", "exact")
    assert lines_with(text, "b against c", "1,600", "exact")
    assert "  near-tie at 'h', frame 7" in text
    failed = replace(REPORT, checks=(Check("b against c", "200 frames", 1600, 2, None, ("'h', frame 1",)),))
    assert not failed.held
    assert lines_with(render_text(failed), "b against c", "2", "FAILED")


def test_unknown_is_not_zero():
    unknown = {**LAYER.resources, "dsp": None}
    text = render_text(replace(REPORT, layers=(replace(LAYER, resources=unknown),)))
    (line,) = lines_with(text, "│ fc1 ")
    assert line.strip("│").split("│")[-2].strip() == "unknown"


def test_total_that_is_unknown():
    assert "unknown" in render_text(replace(REPORT, total={**REPORT.total, "dsp": None}))


def test_measured_figures_are_called_measured():
    total = {name: Measured(1, "Vivado", "2023.2", "00") for name in NAMES}
    text = render_text(replace(REPORT, total=total))
    assert "(estimated)" not in text
    assert "Resources of the design (measured by Vivado 2023.2)" in text


def test_brackets_are_no_markup():
    assert "net[v2].onnx" in render_text(replace(REPORT, model={"file": "net[v2].onnx", "sha256": "00"}))


def test_no_colours_and_no_blanks_at_line_ends():
    text = render_text(REPORT)
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert text.endswith("\n")


def test_same_report_same_text():
    assert render_text(REPORT) == render_text(replace(REPORT))
