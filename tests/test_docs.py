# SPDX-License-Identifier: Apache-2.0
"""The commands in the documentation exist: each is parsed as its program would parse it, and not run."""

import re
import shlex
from pathlib import Path

import click
import pytest

from flow.cli import main
from flow.resources import templates

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "boards/*.md", "vivado_scripts/*.md", "examples/*/*.md")
    for path in ROOT.glob(pattern)
)
OTHERS = {
    *("--config", "--temp_dir", "--output", "--compile", "--link"),  # v++
    *("--mode", "--tcl"),  # vitis-run
    *("--write", "--update-golden", "--first"),  # benchmarks and tests
}


def code_lines(page: Path) -> list[str]:
    """What stands in blocks of code, each command by itself and without its comment."""
    lines = []
    for line in page.read_text().replace("\\\n", "").splitlines():  # a command on two lines
        if re.match(r"( {4}|- {3})", line):
            shown = re.split(r"\s#\s", line)[0].strip()
            lines += [part.strip() for part in shown.split("&&")]
    return lines


def commands(page: Path, program: str) -> list[str]:
    return [line for line in code_lines(page) if re.match(rf"{re.escape(program)} [a-z]", line)]


def parsed(line: str) -> None:
    """Fails as the program would."""
    words = shlex.split(line)[1:]
    with main.make_context("flow", list(words)) as context:
        name, command, rest = main.resolve_command(context, words)
        assert command is not None
        command.make_context(name, rest, parent=context)


CASES = [(page, line) for page in PAGES for line in commands(page, "flow")]


@pytest.mark.parametrize(
    ("page", "line"), CASES, ids=[f"{page.parent.name}/{page.stem}-{line}" for page, line in CASES]
)
def test_a_command_of_flow(page: Path, line: str) -> None:
    parsed(line)


def test_there_are_commands_on_the_pages_that_lead() -> None:
    """So that the test above does not look in the wrong place."""
    found = {str(page.relative_to(ROOT)): len(commands(page, "flow")) for page in PAGES}
    assert found["README.md"] >= 10
    assert found["docs/first_board.md"] >= 5
    assert found["docs/build_directory.md"] >= 7


@pytest.mark.parametrize("line", ["flow build --synth csynth", "flow bild m.onnx", "flow build m.onnx --sinth ooc"])
def test_a_wrong_command_is_seen(line: str) -> None:
    with pytest.raises(click.UsageError):
        parsed(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_what_is_named_in_a_sentence(page: Path) -> None:
    """`flow NAME --option` in a sentence: the command, and its options; an option alone is one of some command."""
    known = {name: {o for p in c.params for o in p.opts} for name, c in main.commands.items()}
    driver = set(re.findall(r'"(--[a-z-]+)"', (templates() / "driver/accelerator.py").read_text()))
    anywhere = set().union(*known.values()) | driver | OTHERS
    for quoted in re.findall(r"`([^`\n]+)`", page.read_text()):
        words = quoted.split()
        options = {word.partition("=")[0].strip(",.") for word in words if re.match(r"--[a-z]", word)}
        if words[:1] == ["flow"] and len(words) > 1:
            assert words[1] in known, quoted
            assert options <= known[words[1]] | {"--help"}, quoted
        elif words and words[0] in {"python", "pip", "pip3", "make", "cmake", "ssh", "git"}:
            continue
        else:
            assert options <= anywhere, quoted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_what_other_programs_are_called_with(page: Path) -> None:
    lines = [*code_lines(page), *re.findall(r"`([^`\n]+)`", page.read_text())]
    for line in lines:
        if match := re.match(r"python (\S+\.py)", line):
            assert (ROOT / match[1]).is_file(), line
        if match := re.match(r"make ([a-z]+)", line):
            assert re.search(rf"^{match[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        if match := re.match(r"sh run\.sh ([a-z-]+)", line):
            assert f'add_parser("{match[1]}"' in (templates() / "driver/accelerator.py").read_text(), line
        if match := re.match(r"(?:vivado -mode batch -source|vitis_hls -f|vivado_hls -f) (\S+\.tcl)$", line):
            assert (ROOT / "vivado_scripts" / match[1]).is_file(), line
