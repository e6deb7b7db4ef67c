# SPDX-License-Identifier: Apache-2.0
"""Every board file loads and agrees with itself; every mistake in one is named, all at once."""

from dataclasses import asdict
from pathlib import Path

import pytest

from flow import resources as folders
from flow.errors import BoardError
from flow.plan.board import Board, Clock, Dsp, Family, Memory, known, load
from flow.plan.resources import Resources

NAMES = [path.stem for path in sorted(folders.boards().glob("*.toml"))]

GOOD = """\
name = "mine"
title = "My board"
vendor = "Me"
part = "xc7z010clg400-1"
family = "zynq7000"
dsp = "DSP48E1"

[resources]
lut = 17_600
ff = 35_200
dsp = 80
bram18 = 120
uram = 0
lutram = 6_000

[clock]
default_mhz = 100
max_mhz = 142.5

[stream]
axis_bits = 64

[memory]
name = "DDR3"
bytes = 536_870_912
peak_bytes_per_second = 2_100_000_000
"""


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs the test in an empty folder, so that messages show a path without its machine's folders."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(text: str, *, old: str = "", new: str = "") -> str:
    """Writes ``text``, with ``old`` made ``new``, as mine.toml and gives the whole message of its refusal."""
    assert old in text
    Path("mine.toml").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    with pytest.raises(BoardError) as caught:
        load("mine.toml")
    return str(caught.value)


def one_problem(problem: str) -> str:
    return (
        f"mine.toml is not a board file (1 problem):\n  1. {problem}\n"
        "  what to do: boards/README.md says what each key means"
    )


def test_known_boards() -> None:
    assert known() == (
        "arty-a7-100t",
        "arty-a7-35t",
        "arty-z7-20",
        "kv260",
        "pynq-z1",
        "pynq-z2",
        "u250",
        "u55c",
        "ultra96-v2",
        "zcu102",
        "zcu104",
        "zedboard",
    )


def test_a_board_is_read_whole() -> None:
    assert load("pynq-z2") == Board(
        name="pynq-z2",
        title="PYNQ-Z2",
        vendor="TUL",
        part="xc7z020clg400-1",
        board_part="tul.com.tw:pynq-z2:part0:1.0",
        family=Family.ZYNQ7000,
        dsp=Dsp.DSP48E1,
        resources=Resources(lut=53_200, ff=106_400, dsp=220, bram18=280, uram=0),
        lutram=17_400,
        clock=Clock(default_mhz=100, max_mhz=150),
        axis_bits=64,
        memory=Memory(name="DDR3", bytes=512 * 2**20, peak_bytes_per_second=2_100_000_000),
        running_watts=(1.59, 1.77),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_board_is_named_like_its_file(name: str) -> None:
    assert load(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_board_agrees_with_its_family(name: str) -> None:
    board = load(name)
    part, dsp, bits = {
        Family.ZYNQ7000: (("xc7z",), Dsp.DSP48E1, 64),
        Family.ZYNQMP: (("xczu", "xck"), Dsp.DSP48E2, 128),
        Family.ARTIX7: (("xc7a",), Dsp.DSP48E1, 32),
        Family.ALVEO: (("xcu",), Dsp.DSP48E2, 512),
    }[board.family]
    assert board.part.startswith(part)
    assert (board.dsp, board.axis_bits) == (dsp, bits)
    assert board.resources.uram == 0 or board.dsp is Dsp.DSP48E2, "the 7 series has no UltraRAM"


@pytest.mark.parametrize("name", NAMES)
def test_amounts_fit_the_fabric(name: str) -> None:
    """All these parts have two flip-flops per LUT, RAMB18 in pairs, and memory LUTs in slices of four."""
    board = load(name)
    assert board.resources.ff == 2 * board.resources.lut
    assert board.resources.bram18 % 2 == 0
    assert board.lutram % 4 == 0
    assert 0.2 < board.lutram / board.resources.lut < 0.6


def test_the_same_part_has_the_same_resources() -> None:
    found: dict[str, tuple[Resources, int]] = {}
    for board in map(load, NAMES):
        amounts = (board.resources, board.lutram)
        assert found.setdefault(board.part.split("-")[0], amounts) == amounts


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_gives_a_source_for_every_number(name: str) -> None:
    text = (folders.boards() / "README.md").read_text(encoding="utf-8")
    sections = dict(section.split("\n", 1) for section in text.split("\n## ")[1:])
    rows = [line.split("|") for line in sections[name].splitlines() if line.startswith("| `")]
    sourced = {row[1].strip().strip("`"): row[2].strip() for row in rows if row[3].strip()}
    board = load(name)
    assert sourced == {
        "part": f"`{board.part}`",
        "board_part": f"`{board.board_part}`",
        **{f"resources.{key}": f"{amount:,}" for key, amount in board.resources.items()},
        "resources.lutram": f"{board.lutram:,}",
        "clock.default_mhz": f"{board.clock.default_mhz}",
        "clock.max_mhz": f"{board.clock.max_mhz}",
        "stream.axis_bits": f"{board.axis_bits}",
        "memory.name": f"{board.memory.name}",
        "memory.bytes": f"{board.memory.bytes:,}",
        "memory.peak_bytes_per_second": f"{board.memory.peak_bytes_per_second:,}",
        **({"power.running_watts": "{} to {}".format(*board.running_watts)} if board.running_watts else {}),
        **({f"vitis.{key}": f"`{value}`" for key, value in asdict(board.vitis).items()} if board.vitis else {}),
    }


def test_an_unknown_board_names_the_closest() -> None:
    with pytest.raises(BoardError) as caught:
        load("PYNQ_Z2")
    assert str(caught.value) == (
        "unknown board 'PYNQ_Z2'; the known boards are arty-a7-100t, arty-a7-35t, arty-z7-20, kv260, "
        "pynq-z1, pynq-z2, u250, u55c, ultra96-v2, zcu102, zcu104, zedboard\n"
        "  what to do: did you mean 'pynq-z2'? For a board of your own, give the path of its .toml file."
    )


def test_an_unknown_board_like_no_other() -> None:
    with pytest.raises(BoardError) as caught:
        load("?")
    assert str(caught.value) == (
        "unknown board '?'; the known boards are arty-a7-100t, arty-a7-35t, arty-z7-20, kv260, "
        "pynq-z1, pynq-z2, u250, u55c, ultra96-v2, zcu102, zcu104, zedboard\n"
        "  what to do: For a board of your own, give the path of its .toml file."
    )


def test_a_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "whatever.toml"
    path.write_text(GOOD, encoding="utf-8")
    board = load(str(path))
    assert (board.name, board.board_part, board.clock.max_mhz) == ("mine", None, 142.5)


def test_a_file_that_is_missing(in_tmp: Path) -> None:
    with pytest.raises(BoardError) as caught:
        load("boards/mine.toml")
    assert str(caught.value) == "no board file at 'boards/mine.toml'\n  what to do: check the path"


def test_a_folder_in_place_of_a_file(in_tmp: Path) -> None:
    (in_tmp / "mine.toml").mkdir()
    with pytest.raises(BoardError) as caught:
        load("mine.toml")
    assert str(caught.value) == "cannot read the board file 'mine.toml': Is a directory"


def test_a_file_that_is_not_toml(in_tmp: Path) -> None:
    assert refusal("name = \n") == "mine.toml is not TOML: Invalid value (at line 1, column 8)"


def test_a_file_that_is_not_text(in_tmp: Path) -> None:
    (in_tmp / "mine.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(BoardError) as caught:
        load("mine.toml")
    assert str(caught.value) == "mine.toml is not TOML: byte 8 is not UTF-8"


COUNT = "a whole number, 0 or more"
POSITIVE = "a whole number, 1 or more"
MHZ = "a number of MHz above 0"
BITS = "a power of two from 8 to 1024"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"mine"', '"My Board"', "name: expected lower case letters, digits and hyphens, found 'My Board'"),
        ('"My board"', '" "', "title: expected one line of text, found ' '"),
        ('vendor = "Me"', "vendor = 3", "vendor: expected one line of text, found 3"),
        (
            '"xc7z010clg400-1"',
            '"xc7z010"',
            "part: expected a full part such as 'xc7z020clg400-1', found 'xc7z010'",
        ),
        (
            "family =",
            'board_part = "mine"\nfamily =',
            "board_part: expected a Vivado board file such as 'tul.com.tw:pynq-z2:part0:1.0', found 'mine'",
        ),
        (
            '"zynq7000"',
            '"zynq"',
            "family: expected one of 'zynq7000', 'zynqmp', 'artix7', 'alveo', found 'zynq'",
        ),
        ('"DSP48E1"', '"DSP58"', "dsp: expected one of 'DSP48E1', 'DSP48E2', found 'DSP58'"),
        ("lut = 17_600", "lut = 0", f"resources.lut: expected {POSITIVE}, found 0"),
        ("ff = 35_200", "ff = 35_200.0", f"resources.ff: expected {POSITIVE}, found 35200.0"),
        ("dsp = 80", "dsp = -80", f"resources.dsp: expected {COUNT}, found -80"),
        ("bram18 = 120", 'bram18 = "120"', f"resources.bram18: expected {COUNT}, found '120'"),
        ("uram = 0", "uram = false", f"resources.uram: expected {COUNT}, found False"),
        ("lutram = 6_000\n", "", f"resources.lutram: expected {COUNT}, found nothing"),
        (
            "lutram = 6_000",
            "lutram = 17_601",
            "resources.lutram: expected at most resources.lut = 17600, found 17601",
        ),
        (
            "uram = 0",
            "uram = 0\nbram36 = 60",
            ("resources.bram36: unknown key, expected one of lut, ff, dsp, bram18, uram, lutram"),
        ),
        ("default_mhz = 100", "default_mhz = 0", f"clock.default_mhz: expected {MHZ}, found 0"),
        ("default_mhz = 100", "default_mhz = true", f"clock.default_mhz: expected {MHZ}, found True"),
        ("max_mhz = 142.5", "max_mhz = nan", f"clock.max_mhz: expected {MHZ}, found nan"),
        ("max_mhz = 142.5", "max_mhz = inf", f"clock.max_mhz: expected {MHZ}, found inf"),
        (
            "default_mhz = 100",
            "default_mhz = 150",
            "clock.default_mhz: expected at most clock.max_mhz = 142.5, found 150",
        ),
        ("axis_bits = 64", "axis_bits = 48", f"stream.axis_bits: expected {BITS}, found 48"),
        ("axis_bits = 64", "axis_bits = 64.0", f"stream.axis_bits: expected {BITS}, found 64.0"),
        ("[stream]\naxis_bits = 64\n", "", f"stream.axis_bits: expected {BITS}, found nothing"),
        ('"DDR3"', '"two\\nlines"', "memory.name: expected one line of text, found 'two\\nlines'"),
        ("bytes = 536_870_912", "bytes = -1", f"memory.bytes: expected {POSITIVE}, found -1"),
        (
            "_second = 2_100_000_000",
            "_second = 2.1e9",
            f"memory.peak_bytes_per_second: expected {POSITIVE}, found 2100000000.0",
        ),
    ],
)
def test_one_wrong_value(in_tmp: Path, old: str, new: str, problem: str) -> None:
    assert refusal(GOOD, old=old, new=new) == one_problem(problem)


def test_a_value_in_place_of_a_table(in_tmp: Path) -> None:
    text = "stream = 64\n" + GOOD.replace("[stream]\naxis_bits = 64\n", "")
    assert refusal(text) == one_problem("stream: expected a table, found 64")


@pytest.mark.parametrize("value", ["2.0", "[2.0]", "[3.0, 2.0]", "[0, 2.0]", '["a", "b"]', "[1, 2, 3]"])
def test_power_is_a_range(in_tmp: Path, value: str) -> None:
    text = refusal(GOOD + f"\n[power]\nrunning_watts = {value}\n")
    assert "power.running_watts: expected two numbers of watts above 0, the lower first, found" in text


@pytest.mark.parametrize("key", ["price", '""'])
def test_an_unknown_key_on_top(in_tmp: Path, key: str) -> None:
    assert refusal(f"{key} = 1\n" + GOOD) == one_problem(
        f"{key.strip(chr(34))}: unknown key, expected one of name, title, vendor, part, board_part, family, "
        "dsp, resources, clock, stream, memory, power, vitis"
    )


def test_all_problems_at_once(in_tmp: Path) -> None:
    assert refusal('nmae = "mine"\n[resources]\nlut = -1\nlutram = 1\n[clock]\ndefault_mhz = 9\n') == (
        "mine.toml is not a board file (17 problems):\n"
        "  1. name: expected lower case letters, digits and hyphens, found nothing\n"
        "  2. title: expected one line of text, found nothing\n"
        "  3. vendor: expected one line of text, found nothing\n"
        "  4. part: expected a full part such as 'xc7z020clg400-1', found nothing\n"
        "  5. family: expected one of 'zynq7000', 'zynqmp', 'artix7', 'alveo', found nothing\n"
        "  6. dsp: expected one of 'DSP48E1', 'DSP48E2', found nothing\n"
        "  7. nmae: unknown key, expected one of name, title, vendor, part, board_part, family, dsp, "
        "resources, clock, stream, memory, power, vitis\n"
        "  8. resources.lut: expected a whole number, 1 or more, found -1\n"
        "  9. resources.ff: expected a whole number, 1 or more, found nothing\n"
        "  10. resources.dsp: expected a whole number, 0 or more, found nothing\n"
        "  11. resources.bram18: expected a whole number, 0 or more, found nothing\n"
        "  12. resources.uram: expected a whole number, 0 or more, found nothing\n"
        "  13. clock.max_mhz: expected a number of MHz above 0, found nothing\n"
        "  14. stream.axis_bits: expected a power of two from 8 to 1024, found nothing\n"
        "  15. memory.name: expected one line of text, found nothing\n"
        "  16. memory.bytes: expected a whole number, 1 or more, found nothing\n"
        "  17. memory.peak_bytes_per_second: expected a whole number, 1 or more, found nothing\n"
        "  what to do: boards/README.md says what each key means"
    )


ONE = Resources(lut=10, ff=20, dsp=3, bram18=4, uram=5)


def test_resources_add_up() -> None:
    assert ONE + Resources(lut=1, ff=2, dsp=4, bram18=8, uram=16) == Resources(lut=11, ff=22, dsp=7, bram18=12, uram=21)
    assert ONE + Resources.zero() == ONE


def test_resources_scale() -> None:
    assert ONE.scaled(3) == Resources(lut=30, ff=60, dsp=9, bram18=12, uram=15)
    assert ONE.scaled(0) == Resources.zero()


@pytest.mark.parametrize("name", ["lut", "ff", "dsp", "bram18", "uram"])
def test_resources_fit_when_none_exceeds_its_budget(name: str) -> None:
    one_too_few = Resources(**{key: amount - (key == name) for key, amount in ONE.items()})
    assert ONE.fits(ONE)
    assert one_too_few.fits(ONE)
    assert not ONE.fits(one_too_few)


def test_resources_are_listed_in_order() -> None:
    assert list(ONE.items()) == [("lut", 10), ("ff", 20), ("dsp", 3), ("bram18", 4), ("uram", 5)]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            'platform = "xilinx_u50"\n',
            "vitis.frames: expected a memory of the platform such as 'DDR[0]', found nothing",
        ),
        (
            'platform = "a b"\nframes = "HBM[0]"\nresults = "HBM[1]"\n',
            "vitis.platform: expected a platform's name, or the path of its .xpfm, found 'a b'",
        ),
        (
            'platform = "p"\nframes = "HBM"\nresults = "HBM[1]"\n',
            "vitis.frames: expected a memory of the platform such as 'DDR[0]', found 'HBM'",
        ),
    ],
)
def test_the_table_of_a_card_is_whole(in_tmp: Path, table: str, problem: str) -> None:
    assert problem in refusal(GOOD + f"\n[vitis]\n{table}")
