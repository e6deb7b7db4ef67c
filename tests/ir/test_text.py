# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import numpy as np
import pytest
import random_models
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import VerifyError
from flow.frontend.importer import import_proto
from flow.ir.dataflow import Dense, Flatten, Source, Step
from flow.ir.graph import Graph
from flow.ir.model import (
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Constant,
    Input,
    LeakyRelu,
    MatMul,
    Quant,
    QuantizedConstant,
    Reshape,
    Softmax,
    Transpose,
    Unary,
)
from flow.ir.rounding import Rounding
from flow.ir.text import parse_graph, print_graph
from flow.ir.types import Bipolar, IntType


def ints(*values):
    return np.array(values, np.int64)


def returns(graph):
    text = print_graph(graph)
    found = parse_graph(text)
    assert found.same(graph), text
    assert print_graph(found) == text


MODEL = Graph(
    (
        Input("x", (2, 3)),
        Constant("c", np.array(0.1)),
        QuantizedConstant("w", np.arange(-8, 13, dtype=np.int64).reshape(3, 7), np.array([[0.5], [1e-300], [3.0]])),
        Quant("q", "x", np.array(0.25), np.array(-3.0), 5, False, True, Rounding.HALF_AWAY),
        BipolarQuant("b", "x", np.array([1.5]), np.zeros(())),
        MatMul("m", "q", "w"),
        Binary("s", "sub", "m", "c"),
        Unary("r", "relu", "s"),
        Clip("k", "r", -math.inf, 1 / 3),
        LeakyRelu("l", "k", np.array(0.01)),
        BatchNorm("n", "l", *(np.linspace(-1, 1, 7) * k for k in range(4)), 1e-5),
        Reshape("e", "n", (7, 2)),
        Reshape("f", "e", (14,)),
        Transpose("t", "e", (1, 0)),
        Softmax("y", "t", 1),
    ),
    ("y", "b"),
)
DATAFLOW = Graph(
    (
        Source("x", (2,), Bipolar(), ints(-1), ints(1)),
        Dense("d", "x", np.arange(-20, 20, dtype=np.int64).reshape(2, 20), IntType(9, signed=True)),
        Flatten("f", "d", (1, 20)),
        Step("y", "f", ints(-5, 3).reshape(1, 2), ints(0), ints(-1), ints(-40), ints(40), IntType(2, signed=True)),
        Step("n", "f", np.empty((1, 0), np.int64), ints(0), ints(2), ints(-40), ints(40), Bipolar()),
    ),
    ("y",),
)


@pytest.mark.parametrize("graph", [MODEL, DATAFLOW], ids=["model", "dataflow"])
def test_every_operation_returns(graph):
    returns(graph)


def test_the_text_is_for_people():
    small = Graph((Input("x", (2,)), Unary("y", "relu", "x")), ("y",))
    assert print_graph(small) == '%"x" = Input(shape=(2,))\n%"y" = Unary(kind=\'relu\', x=%"x")\nreturn %"y"\n'
    assert (
        print_graph(MODEL).splitlines()[1] == "%\"c\" = Constant(value=array('float64', [], ['0x1.999999999999ap-4']))"
    )
    line = print_graph(DATAFLOW).splitlines()[1]
    assert line.startswith('%"d" = Dense(x=%"x", weight=array(\'int64\', [2, 20], \'zlib:')
    assert line.endswith("least=-20, greatest=19), acc=type('i9'))")
    assert "array('int64', [1, 2], [-5, 3])" in print_graph(DATAFLOW)


def test_comments_and_empty_lines_are_skipped():
    text = "# a comment\n\n  # another\n" + print_graph(DATAFLOW).replace("\n", "\n\n")
    assert parse_graph(text).same(DATAFLOW)


HOSTILE = [
    "'",
    '"',
    "%",
    '%"',
    "\\",
    'a" = Input(',
    "\n",
    "\r\n",
    "\t",
    "\u2028",
    "\x0b",
    "é",
    "日本",
    "",
    " ",
    "return ",
]
HOSTILE += [
    "(x=%",
    ", x=%",
    "a, b",
    "x=%",
    "zlib:",
    "# no",
    ")",
    "(",
    "type('u4')",
    'y="',
    "\\u0041",
    "\x00",
    "{x}",
    "\\1",
    "\\g<0>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name):
    returns(Graph((Input(name, (1,)), Input("other", ()), Binary("z", "add", name, "other")), (name, "z")))
    returns(Graph((Input(name, (1,)), Input("other", ()), Binary("z", "add", "other", name)), ("z", name)))
    returns(
        Graph((Input("i", (1,)), Quant(name, "i", np.ones(20), np.zeros(3), 2, True, False, Rounding.AWAY)), (name,))
    )


@pytest.mark.parametrize("name", [", y=%", "\U0001f600"])
def test_hostile_names_that_do_not_return(name):
    returns(Graph((Input(name, (1,)), Input("other", ()), Binary("z", "add", name, "other")), (name, "z")))


names = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8).filter(
    lambda s: "y=%" not in s
)


@settings(max_examples=150, deadline=None)
@given(st.lists(names, min_size=2, max_size=4, unique=True), st.data())
def test_any_name_and_any_float(chosen, data):
    reals = st.lists(st.floats(allow_nan=False), max_size=40)
    nodes = [Constant(chosen[0], np.array(data.draw(reals), np.float64))]
    nodes += [Clip(n, o, data.draw(st.floats(allow_nan=False)), 1.0) for o, n in itertools.pairwise(chosen)]
    returns(Graph(tuple(nodes), tuple(chosen[1:])))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40), st.booleans())
def test_any_integers(values, signed):
    array = np.array(values, np.int64)
    returns(Graph((Dense("d", "x", array.reshape(1, -1), IntType(48, signed)),), ("d",)))
    returns(Graph((Dense("d", "x", array.reshape(-1, 1), IntType(1, signed)),), ("d",)))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_arrays_of_all_sizes(size, kind):
    returns(Graph((Constant("c", np.arange(size).astype(kind) - 3),), ("c",)))


def test_strided_arrays():
    returns(Graph((Constant("c", np.arange(60.0).reshape(6, 10).T[::2, ::-1]),), ("c",)))


def test_random_models_return():
    for seed in range(40):
        returns(import_proto(random_models.random_model(seed)).graph)


GOOD = '%"x" = Input(shape=(2,))\n'
WRONG = {
    "no operation": ("x = Input(shape=(2,))", "expected '%\"name\" = Op(...)'"),
    "unknown": ('%"y" = Foo(x=%"x")', "'Foo'"),
    "bracket": ('%"y" = Unary(kind=\'relu\', x=%"x"', "'(' was never closed (<unknown>, line 1)"),
    "type": ("%\"y\" = Source(shape=(1,), element=type('q4'), lo=1, hi=1)", "not an integer type: 'q4'"),
    "rounding": ("%\"y\" = Quant(rounding=Rounding('odd'))", "'odd' is not a valid Rounding"),
    "function": ("%\"y\" = Quant(rounding=Other('odd'))", "'Other'"),
    "field": ('%"y" = Input(shp=(2,))', "Input.__init__() got an unexpected keyword argument 'shp'"),
    "missing": ('%"y" = Unary(x=%"x")', "Unary.__init__() missing 1 required positional argument: 'kind'"),
    "array": ("%\"y\" = Constant(value=array('int64', [3], [1, 2]))", "cannot reshape array of size 2 into shape (3,)"),
    "return": ("return %x", "expected names after 'return'"),
    "return of two": ('return %"x" %"x"', "expected names after 'return'"),
    "python": ('%"y" = Input(shape=__import__("os"))', "'__import__'"),
    "expression": ('%"y" = Input(shape=1) + 2', "expected an operation"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_the_line(case):
    line, why = WRONG[case]
    with pytest.raises(VerifyError) as error:
        parse_graph(f'# comment\n{GOOD}{line}\nreturn %"x"\n')
    assert str(error.value) == f"line 3: {why}: {line[:80]}"


@pytest.mark.parametrize(
    "line",
    [
        "%\"y\" = Constant(value=array('int64', [99], 'zlib:abc'))",
        '%"y" = Input(shape=type())',
        '%"y" = Input(shape=a.b())',
        "%\"y\" = Constant(value=array('int64', [1], [99999999999999999999]))",
    ],
    ids=["zlib", "no argument", "method", "overflow"],
)
def test_errors_that_do_not_name_the_line(line):
    with pytest.raises(VerifyError, match=r"^line 1: "):
        parse_graph(line + '\nreturn %"y"\n')


def test_no_return():
    with pytest.raises(VerifyError) as error:
        parse_graph(GOOD)
    assert str(error.value) == "the text has no line 'return ...'"
