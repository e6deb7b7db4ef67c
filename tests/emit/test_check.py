# SPDX-License-Identifier: Apache-2.0
"""The rules of the emitted C++: every emission keeps them, and each is broken here once."""

import collections
import re

import pytest
from random_designs import random_case
from test_random_networks import KINDS, layer_network

from flow.emit.check import check_emission, check_kernel
from flow.emit.fileset import FileSet
from flow.emit.hls import Dialect
from flow.emit.pragma_rules import FORMS
from flow.resources import templates

TOP = """\
#include "top.hpp"
void network(hls::stream<axis_in_t>& in, hls::stream<axis_out_t>& out) {
#pragma HLS interface mode=axis port=in
#pragma HLS interface mode=axis port=out
#pragma HLS interface mode=ap_ctrl_none port=return
#pragma HLS dataflow
    hls::stream<a_t> from_first;
#pragma HLS stream variable=from_first depth=2
#pragma HLS aggregate variable=from_first compact=bit
    first(in, from_first);
    second(from_first, out);
}
"""
FIRST = """\
static inline ap_uint<4> first_step(const ap_int<9> x, const int p) {
#pragma HLS inline
    return first_stage[p] + x;
}

void first(hls::stream<axis_in_t>& in, hls::stream<a_t>& out) {
#pragma HLS array_reshape variable=first_weights type=complete dim=2
#pragma HLS bind_storage variable=first_weights type=rom_1p impl=bram
    ap_int<9> sum[4];  // running
#pragma HLS array_partition variable=sum type=complete dim=1
#pragma HLS dependence variable=sum inter false
rows:
    for (int row = 0; row < 8; ++row) {
words:
        for (int word = 0; word < 16; ++word) {
#pragma HLS pipeline II=1
            const axis_in_t x = in.read();
            for (int p = 0; p < 4; ++p) {
#pragma HLS unroll
                const ap_int<9> product = x.data * first_weights[word][p];
#pragma HLS bind_op variable=product op=mul impl=dsp
                sum[p] += product;
            }
            if (word == 15) out.write(sum);
        }
    }
}
"""
WEIGHTS = "static const ap_int<4> first_weights[16][4] = {\n};\nstatic const ap_int<4> first_stage[4] = {\n};\n"
SECOND = """\
void second(hls::stream<a_t>& in, hls::stream<axis_out_t>& out) {
words:
    for (int word = 0; word < 8; ++word) {
#pragma HLS pipeline II=1
        out.write(in.read());
    }
}
"""
GOOD = {
    "hls/top.cpp": TOP,
    "hls/layers/00_first.hpp": FIRST,
    "hls/weights/00_first.hpp": WEIGHTS,
    "hls/layers/01_second.hpp": SECOND,
}


def problems(files: dict[str, str], dialect: Dialect = "vitis") -> list[str]:
    try:
        check_emission(FileSet.of(files), "network", dialect)
    except AssertionError as error:
        return str(error).splitlines()[1:]
    return []


def test_a_design_that_keeps_the_rules() -> None:
    assert problems(GOOD) == []


BROKEN = [
    # pragmas: names, options, values
    ("HLS pipeline II=1\n            const", "HLS PIPELINE II=1\n            const", "there is no pragma 'PIPELINE'"),
    ("HLS pipeline II=1\n            const", "HLS pipeline II=N\n            const", "II=N: expected"),
    ("HLS unroll", "HLS unroll factor=2", "there is no option factor="),
    ("HLS unroll", "HLS unroll complete", "words complete: expected (none)"),
    ("sum type=complete dim=1", "sum complete dim=1", "option type= is missing"),
    ("sum type=complete dim=1", "sum type=complete dim=2", "the array has 1 dimensions"),
    ("type=rom_1p impl=bram", "type=rom_1p impl=uram", "impl=uram: expected bram|lutram"),
    ("op=mul impl=dsp", "op=mul", "option impl= is missing"),
    ("inter false", "false inter", "words false inter: expected"),
    ("inter false", "inter RAW distance=4 false", "words inter RAW false"),
    ("depth=2", "depth=0", "depth=0: expected"),
    (" compact=bit", "", "option compact= is missing"),
    ("compact=bit", "compact=byte", "compact=byte: expected bit"),
    ("port=out", "port=output", "no port 'output'"),
    ("#pragma HLS unroll", "#pragma unroll", "not a pragma of ours"),
    # pragmas: places
    ("#pragma HLS inline\n    return", "    return", None),
    ("    return first_stage[p] + x;", "    return 0;\n#pragma HLS inline", "not at the beginning of a function"),
    ("#pragma HLS inline\n", "#pragma HLS pipeline II=1\n", "not at the beginning of a loop"),
    ("    ap_int<9> sum[4];  // running\n", "", "no array 'sum' is declared before"),
    ("variable=first_weights type=complete", "variable=other type=complete", "no array 'other'"),
    ("= x.data * first_weights[word][p];", "= x.data + first_weights[word][p];", "not behind the product"),
    ("from_first;\n", "from_first;\n    hls::stream<a_t> other;\n", "not behind the declaration of its stream"),
    ("#pragma HLS dataflow\n", "", "is neither a dataflow region nor a pipeline"),
    ("#pragma HLS dataflow\n", "#pragma HLS dataflow\n#pragma HLS pipeline II=1\n", "nor a pipeline, or both"),
    ("second(from_first, out);", "second(from_first, out);\n#pragma HLS dataflow", "not at the beginning of the top"),
    ("void second(", "#pragma HLS inline\nvoid second(", "outside of a function"),
    # loops
    ("words:\n        for", "words:\n// a remark\n        for", "a line between a label and its loop"),
    ("words:\n        for", "words:\n#pragma HLS unroll\n        for", "between a label and its loop"),
    ("#pragma HLS unroll\n", "", "neither pipelined nor unrolled"),
    ("int p = 0; p < 4", "int p = 0; p < many", "a loop without fixed bounds"),
    ("row < 8; ++row) {\n", "row < 8; ++row) {\n#pragma HLS pipeline II=1\n", "not unrolled in one that is pipelined"),
    (
        "sum[p] += product;",
        "for (int q = 0; q < 2; ++q) {\n#pragma HLS pipeline II=1\n}",
        "not unrolled in one that is pipelined or unrolled",
    ),
    ("HLS unroll\n", "HLS unroll\n#pragma HLS unroll\n", "twice in one loop"),
    # the portable subset
    ("sum[p] += product;", "while (x) ++sum[p];", "'while' is not in the portable subset"),
    ("ap_int<9> sum[4];", "static ap_int<9> sum[4];", "a static variable in a function"),
    ("return first_stage[p] + x;", "return first_step(x, p);", "recursion"),
    ("        out.write(in.read());\n", "        out.write(in.read());\n    }\n", "braces do not match"),
    # the dataflow region
    ("hls::stream<a_t> from_first;", 'hls::stream<a_t> from_first("a");', "a stream is declared as"),
    ("    second(from_first, out);", "    second(from_first, out);\n    first(in, from_first);", "is called 2 times"),
    ("    first(in, from_first);\n", "", "has 0 producers and 1 consumers"),
    ("    second(from_first, out);\n", "", "has 1 producers and 0 consumers"),
    ("    second(from_first, out);\n", "", "port 'out' is used 0 times"),
    ("out.write(in.read());", "out.write(0); in.write(0);", "has 2 producers and 0 consumers"),
    ("    second(from_first, out);", "    if (true) second(from_first, out);", "not a local stream and not a call"),
    ("second(from_first, out);", "second(from_first, elsewhere);", "neither a local stream nor a port"),
    ("second(from_first, out);", "third(from_first, out);", "'third' is not defined"),
    ("second(from_first, out);", "second(from_first);", "'second' has 2 parameters"),
    ("out.write(in.read());", "out.write(in.read()); in.write(0);", "both reads and writes 'in'"),
    ("out.write(in.read());", "in.read();", "'second' does not use 'out'"),
    (
        "    first(in, from_first);\n    second(from_first, out);",
        "    second(from_first, out);\n    first(in, from_first);",
        "is read before it is written: feedback",
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), BROKEN)
def test_a_broken_rule_is_named(old: str, new: str, expected: str | None) -> None:
    [path] = [path for path, text in GOOD.items() if old in text]
    found = problems({**GOOD, path: GOOD[path].replace(old, new)})
    if expected is None:  # a pragma that may be there need not
        assert found == []
    else:
        assert any(expected in line for line in found), found
        assert all(re.match(r"hls/[\w/.]+:", line) for line in found)


UNROLLED = {
    "hls/top.cpp": """\
void network(hls::stream<axis_in_t>& in, hls::stream<axis_out_t>& out) {
#pragma HLS interface mode=axis port=in
#pragma HLS interface mode=axis port=out
#pragma HLS interface mode=ap_ctrl_none port=return
#pragma HLS pipeline II=2
    ap_uint<4> from_first[8];
#pragma HLS array_partition variable=from_first type=complete dim=1
    ap_int<9> from_second[2];
#pragma HLS array_partition variable=from_second type=complete dim=1
    first(in, from_first);
    second(from_first, from_second);
    third(from_second, out);
}
""",
    "hls/layers/00_first.hpp": """\
void first(hls::stream<axis_in_t>& in, ap_uint<4> x[8]) {
#pragma HLS inline
    for (int word = 0; word < 8; ++word) {
#pragma HLS unroll
        x[word] = in.read();
    }
}
""",
    "hls/layers/01_second.hpp": """\
void second(const ap_uint<4> x[8], ap_int<9> y[2]) {
#pragma HLS inline
    const ap_uint<7> n0 = (ap_uint<7>(x[0]) << 3) - x[7];
    y[0] = n0;
    y[1] = x[3];
}
""",
    "hls/layers/02_third.hpp": """\
void third(const ap_int<9> y[2], hls::stream<axis_out_t>& out) {
#pragma HLS inline
    out.write(y[0]);
    out.write(y[1]);
}
""",
}
BROKEN_UNROLLED = [
    ("dim=1\n    ap_int", "dim=1\n    hls::stream<a_t> other;\n    ap_int", "not a local array and not a call"),
    ("#pragma HLS array_partition variable=from_second type=complete dim=1\n", "", "'from_second' is not partitioned"),
    ("    third(from_second, out);\n", "", "'from_second' has 1 producers and 0 consumers"),
    ("second(from_first, from_second);", "second(from_second, from_second);", "is read before it is written: feedback"),
    ("second(from_first, from_second);", "second(from_first, other);", "'other' is neither a local array nor a port"),
    ("    ap_int<9> from_second[2];\n", "    static ap_int<9> from_second[2];\n", "a static variable in a function"),
    ("third(from_second, out);", "third(from_second, out);\n    third(from_second, out);", "is called 2 times"),
    ("#pragma HLS inline\n    for", "    for", "'first' is not inlined"),
    ("HLS unroll", "HLS pipeline II=1", "'first' has a pipeline of its own"),
    ("#pragma HLS unroll\n", "", "neither pipelined nor unrolled"),
    ("    y[1] = x[3];", "    y[1] = x[3];\n    x[4] = 0;", "both reads and writes 'x'"),
    ("    y[0] = n0;\n    y[1] = x[3];\n", "", "does not use 'y'"),
    ("#pragma HLS pipeline II=2\n", "", "is neither a dataflow region nor a pipeline"),
]


def test_an_unrolled_design_that_keeps_the_rules() -> None:
    assert problems(UNROLLED) == []


@pytest.mark.parametrize(("old", "new", "expected"), BROKEN_UNROLLED)
def test_a_broken_rule_of_an_unrolled_design_is_named(old: str, new: str, expected: str) -> None:
    [path] = [path for path, text in UNROLLED.items() if old in text]
    found = problems({**UNROLLED, path: UNROLLED[path].replace(old, new)})
    assert any(expected in line for line in found), found


def test_the_top_must_be_there() -> None:
    assert problems({"hls/layers/01_second.hpp": SECOND}) == ["hls/top.cpp: no function 'network'"]


@pytest.mark.parametrize("dialect", ["vitis2020", "vivado"])
def test_a_dialect_refuses_the_pragmas_of_another(dialect: Dialect) -> None:
    found = "\n".join(problems(GOOD, dialect))
    assert "option mode=" in found or "words (none): expected axis|ap_ctrl_none" in found or "no option mode=" in found
    assert "there is no option type=" in found
    assert ("there is no pragma 'bind_storage'" in found) == (dialect == "vivado")


def test_every_kind_of_layer_keeps_them_in_every_dialect() -> None:
    """``emit_hls`` checks; here every kind comes in every dialect, and no pragma is known that none writes."""
    written = collections.defaultdict(set)
    for seed in range(3 * len(KINDS)):
        case = random_case(seed, layer_network(seed), collections.Counter())
        text = "\n".join(case.files.values())
        keyed = "mode=axis" in text
        dialect = "vitis" if keyed else "vivado" if "HLS resource" in text else "vitis2020" if "bind_" in text else ""
        if dialect:
            written[dialect] |= set(re.findall(r"#pragma HLS (\w+)", text))
    assert written == {dialect: set(forms) for dialect, forms in FORMS.items()}


def test_pragmas_are_written_in_one_place() -> None:
    """Each dialect is a file with the same macros; no other template has a pragma."""
    folder = templates() / "hls"
    others = [p for p in folder.rglob("*.j2") if p.parent != folder / "pragmas" and "#pragma" in p.read_text()]
    assert others == []
    macros = {
        path.stem: re.findall(r"macro (\w+\(.*?\))", path.read_text()) for path in (folder / "pragmas").glob("*.j2")
    }
    assert set(macros) == set(FORMS)
    assert len({tuple(names) for names in macros.values()}) == 1


# -- the kernels of an Alveo -----------------------------------------------------------------------------------------

KERNEL = """\
#include "../hls/types.hpp"
extern "C" void read_frames(const ap_uint<512>* frames, hls::stream<axis_in_t>& words, int count) {
#pragma HLS interface mode=m_axi port=frames offset=slave bundle=gmem0
#pragma HLS interface mode=axis port=words
#pragma HLS interface mode=s_axilite port=frames bundle=control
#pragma HLS interface mode=s_axilite port=count bundle=control
#pragma HLS interface mode=s_axilite port=return bundle=control
    const int total = count * 2;
    for (int i = 0; i < total; ++i) {
#pragma HLS pipeline II=1
        words.write(frames[i]);
    }
}
"""


def test_a_good_kernel() -> None:
    check_kernel(KERNEL, "read_frames", "vitis")
    check_kernel(KERNEL.replace("mode=", ""), "read_frames", "vitis2020")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("offset=slave", "offset=direct", "offset=direct: expected slave"),
        ("bundle=control", "bundle=ctrl", "bundle=ctrl: expected control"),
        ("mode=axis", "axis", "option mode= is missing"),
        ("mode=axis port=words", "mode=ap_fifo port=words", "mode=ap_fifo: expected axis"),
        ("#pragma HLS interface mode=axis port=words\n", "", "port 'words' is nothing, expected axis"),
        (
            "#pragma HLS interface mode=s_axilite port=frames bundle=control\n",
            "",
            "port 'frames' is m_axi, expected m_axi, s_axilite",
        ),
        ("port=count", "port=frames", "port 'count' is nothing, expected s_axilite"),
        ("port=return", "port=result", "the top function has no port 'result'"),
        ("#pragma HLS pipeline II=1\n", "", "an innermost loop that is neither pipelined nor unrolled"),
        ("int i = 0; i < total", "int i = 1; i < total", "a loop without fixed bounds"),
        ("read_frames(", "frames_in(", "no kernel 'read_frames'"),
    ],
)
def test_a_kernel_that_breaks_a_rule(old: str, new: str, problem: str) -> None:
    assert old in KERNEL
    with pytest.raises(AssertionError, match=re.escape(problem)):
        check_kernel(KERNEL.replace(old, new, 1), "read_frames", "vitis")
