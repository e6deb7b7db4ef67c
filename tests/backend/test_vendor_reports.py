# SPDX-License-Identifier: Apache-2.0
"""The reports of the vendor's tools: small ones in the form of public ones of each generation; unknown forms raise."""

from pathlib import Path

import pytest

from flow.backend.hls_report import HlsReport, read_rpt, read_xml
from flow.backend.vivado_report import Power, Timing, read_hierarchy, read_power, read_timing, read_utilization
from flow.errors import ReportError

REPORTS = Path(__file__).resolve().parents[1] / "tcl_stubs" / "reports"


def report(name: str, **values: str) -> str:
    text = (REPORTS / name).read_text()
    for key, value in {"VERSION": "2023.2", "NAME": "network", **values}.items():
        text = text.replace(f"@{key}@", value)
    return text


@pytest.mark.parametrize("generation", ["vitis", "vivado"])
@pytest.mark.parametrize(("reader", "ending"), [(read_xml, "xml"), (read_rpt, "rpt")])
def test_csynth(generation: str, reader, ending: str) -> None:
    """Both files say the same, in both generations."""
    version = {"vitis": "2022.2", "vivado": "2019.2.1"}[generation]
    assert reader(report(f"{generation}_csynth.{ending}", VERSION=version), "x") == HlsReport(
        version=version,
        top="network",
        clock_ns=10.0,
        estimated_ns=7.256,
        latency=(31, 35),
        interval=(7, 8),
        resources={"bram18": 4, "dsp": 3, "ff": 1234, "lut": 2345, "uram": 0},
        available={"bram18": 280, "dsp": 220, "ff": 106400, "lut": 53200, "uram": 0},
    )


def test_csynth_rpt_of_2019() -> None:
    """Then the unit stood in the heading."""
    text = report("vivado_csynth.rpt").replace(
        "| 10.00 ns | 7.256 ns |   1.25 ns  |", "|  10.00|     7.256|        1.25|"
    )
    found = read_rpt(text.replace("+ Timing:", "+ Timing (ns):"), "x")
    assert (found.clock_ns, found.estimated_ns) == (10.0, 7.256)


def test_csynth_that_does_not_know() -> None:
    """A loop without bounds has no latency; Vivado HLS before 2018 has no UltraRAM. Both are unknown, not 0."""
    text = report("vivado_csynth.xml").replace(">35<", ">undef<").replace(">8</Interval-max>", ">?</Interval-max>")
    text = text.replace("<URAM>0</URAM>\n", "")
    found = read_xml(text, "x")
    assert (found.latency, found.interval) == ((31, None), (7, None))
    assert found.resources["uram"] is None


@pytest.mark.parametrize(
    ("old", "new"),
    [("<profile>", "<profiles>"), ("AreaEstimates", "Areas"), ("TopModelName", "Top"), ("ReportVersion", "Version1")],
)
def test_csynth_xml_of_another_form(old: str, new: str) -> None:
    text = (
        report("vitis_csynth.xml")
        .replace(old, new)
        .replace("</profile>", "</profiles>" if "profiles" in new else "</profile>")
    )
    with pytest.raises(ReportError, match=r"^x has a form that is not known: expected profile with"):
        read_xml(text, "x")


@pytest.mark.parametrize("old", ["HLS Report for", "* Version:", "|ap_clk", "+ Latency:", "== Utilization", "|Total"])
def test_csynth_rpt_of_another_form(old: str) -> None:
    with pytest.raises(ReportError, match=r"^x has a form that is not known"):
        read_rpt(report("vitis_csynth.rpt").replace(old, "@"), "x")


def test_a_report_that_was_cut_off() -> None:
    with pytest.raises(ReportError, match=r"^x is not XML"):
        read_xml(report("vitis_csynth.xml")[:700], "x")


# a report of Vivado 2020.1 for an UltraScale+: other rows, no column Prohibited, halves of tiles
ULTRASCALE = """\
| Tool Version : Vivado v.2020.1 (lin64) Build 2902540 Wed May 27 19:54:35 MDT 2020
+----------------------------+--------+-------+-----------+-------+
|          Site Type         |  Used  | Fixed | Available | Util% |
+----------------------------+--------+-------+-----------+-------+
| CLB LUTs*                  | 299868 |     0 |   1728000 | 17.35 |
|   LUT as Logic             | 297675 |     0 |   1728000 | 17.23 |
| CLB Registers              |  49701 |     0 |   3456000 |  1.44 |
| Block RAM Tile             |   16.5 |     0 |      2688 |  0.61 |
| URAM                       |      0 |     0 |      1280 |  0.00 |
| DSPs                       |     24 |     0 |     12288 |  0.20 |
+----------------------------+--------+-------+-----------+-------+
| Site Type | SLR0 | SLR1 | SLR0 % | SLR1 % |
| CLB LUTs  |    0 |    0 |   0.00 |   0.00 |
"""


def test_utilization() -> None:
    found = read_utilization(report("vivado_utilization.rpt"), "x")
    assert found.version == "2023.2"
    assert found.used == {"lut": 1100, "ff": 980, "dsp": 3, "bram18": 5, "uram": None}
    assert found.available == {"lut": 53200, "ff": 106400, "dsp": 220, "bram18": 280, "uram": None}
    assert found.exceeded == ()


def test_utilization_of_ultrascale() -> None:
    found = read_utilization(ULTRASCALE, "x")
    assert found.used == {"lut": 299868, "ff": 49701, "dsp": 24, "bram18": 33, "uram": 0}
    assert found.available == {"lut": 1728000, "ff": 3456000, "dsp": 12288, "bram18": 5376, "uram": 1280}


def test_a_design_larger_than_the_device() -> None:
    found = read_utilization(report("vivado_utilization.rpt").replace("| 1100 |", "| 60000 |", 1), "x")
    assert found.exceeded == ("lut",)
    full = read_utilization(report("vivado_utilization.rpt").replace("| 1100 |", "| 53200 |", 1), "x")
    assert full.exceeded == ()


def test_hierarchy() -> None:
    found = read_hierarchy(report("vivado_hierarchy.rpt"), "x")
    assert found == {
        "": {"lut": 1100, "ff": 980, "dsp": 3, "bram18": 5},
        "fc1_U0": {"lut": 600, "ff": 500, "dsp": 2, "bram18": 4},
        "fc2_U0": {"lut": 300, "ff": 300, "dsp": 1, "bram18": 1},
        "from_fc1_U": {"lut": 60, "ff": 10, "dsp": 0, "bram18": 0},
    }


def test_hierarchy_of_vivado_2019() -> None:
    """Then the column was called after the DSP48."""
    found = read_hierarchy(report("vivado_hierarchy.rpt").replace("DSP Blocks", "DSP48 Blocks"), "x")
    assert found["fc1_U0"]["dsp"] == 2


def test_timing() -> None:
    met = read_timing(report("vivado_timing.rpt", SLACK="     0.512", VERDICT="MET"), "x")
    path = ("fc1_U0/sum_reg[3]/C", "fc1_U0/result_reg[7]/D")
    assert met == Timing("2023.2", 0.512, 0.05, 0, *path)
    assert met.met
    violated = read_timing(report("vivado_timing.rpt", SLACK="    -0.333", VERDICT="VIOLATED"), "x")
    assert (violated.setup_ns, violated.met, violated.worst_to) == (-0.333, False, path[1])
    unconstrained = read_timing(report("vivado_timing.rpt", SLACK="        NA", VERDICT="MET"), "x")
    assert (unconstrained.setup_ns, unconstrained.met) == (None, True)


def test_the_worst_of_several_clocks_is_named() -> None:
    text = report("vivado_timing.rpt", SLACK="     0.512", VERDICT="MET")
    other = text[text.index("Slack (MET)") :].replace("0.512", "-0.2").replace("(MET)", "(VIOLATED)")
    held = (
        text[text.index("Slack (MET)") :].replace("0.512", "-9.9").replace("required time - arr", "arrival time - req")
    )
    found = read_timing(text + other.replace("fc1_U0", "fc2_U0") + held.replace("fc1_U0", "fc3_U0"), "x")
    assert (found.worst_from, found.worst_to) == ("fc2_U0/sum_reg[3]/C", "fc2_U0/result_reg[7]/D")


def test_power() -> None:
    assert read_power(report("vivado_power.rpt"), "x") == Power("2023.2", 0.213, 0.106, 0.107, "Low")
    hot = report("vivado_power.rpt").replace("0.213        |", "30.1 (Junction temp exceeded!) |")
    assert read_power(hot, "x").total == 30.1


@pytest.mark.parametrize(
    ("reader", "name", "old"),
    [
        (read_utilization, "vivado_utilization.rpt", "Slice LUTs"),
        (read_utilization, "vivado_utilization.rpt", "Tool Version"),
        (read_hierarchy, "vivado_hierarchy.rpt", "Instance"),
        (read_timing, "vivado_timing.rpt", "WNS(ns)"),
        (read_power, "vivado_power.rpt", "Total On-Chip"),
    ],
)
def test_a_report_of_another_form(reader, name: str, old: str) -> None:
    with pytest.raises(ReportError, match=r"^x has a form that is not known: expected "):
        reader(report(name).replace(old, "@"), "x")
