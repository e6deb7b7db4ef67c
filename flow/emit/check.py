# SPDX-License-Identifier: Apache-2.0
"""The rules that the emitted C++ keeps, checked on its text: what the HLS tools would only warn of, or take wrongly.

Every emission goes through here (``emit_hls``); a broken rule is a defect of this program. The rules are those of the
portable subset: pragmas as documented and in their places; a loop is pipelined, unrolled, or holds loops; fixed
bounds; nothing between a label and its loop; and those of the top function (``region_rules``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flow.emit.fileset import FileSet
from flow.emit.pragma_rules import FORMS, KERNEL_FORMS, Form
from flow.emit.process_text import Dialect
from flow.emit.region_rules import Function, region_problems

_FUNCTION = re.compile(r"^(?:template <[^>]*> |static inline |extern \"C\" )?[\w:<>]+ (\w+)\((.*)\) \{$")
_PARAMETER = re.compile(r"(?:hls::stream<\w+>&|const [\w:<>]+[&*]?|[\w:<>]+\*?) (\w+)(?:\[\d+\])?(?:, |$)")
_BOUND = r"(?:\d+|[A-Z]+)"
_KERNEL_BOUND = r"\w+"  # the host says how many frames
_ARRAY = re.compile(r"^(?:static const )?[\w:<>]+ (\w+)((?:\[\d+\])+)(?: = \{)?;?$")
_PRAGMA = re.compile(r"^#pragma HLS (\S+) ?(.*)$")
_STREAM = re.compile(r"^hls::stream<\w+> (\w+);$")
_FORBIDDEN = re.compile(r"\b(while|goto|new|delete|malloc|float|double|virtual|throw)\b")


@dataclass
class Block:
    """A pair of braces.

    Attributes:
        kind: ``function``, ``for`` or ``other``.
        pragmas: Names of its own.
        loops: How many of its loops are not unrolled.
        fresh: Nothing but pragmas stands in it so far.
    """

    kind: str
    pragmas: list[str] = field(default_factory=list)
    loops: int = 0
    fresh: bool = True


def check_emission(files: FileSet, top: str, dialect: Dialect) -> None:
    """Checks every file below ``hls/``.

    Raises:
        AssertionError: A rule is broken; all that are, with file and line.
    """
    problems: list[str] = []
    functions: dict[str, Function] = {}
    texts = {str(path): text for path, text in files if path.parts[0] == "hls"}
    for path, text in texts.items():
        tables = texts.get(path.replace("hls/layers/", "hls/weights/"), "") if "/layers/" in path else ""
        reader = _Reader(top, FORMS[dialect], dict(_arrays(tables)), _BOUND)
        problems += [f"{path}:{line}: {problem}" for line, problem in reader.read(text)]
        functions.update(reader.functions)
    problems += region_problems(functions, top)
    if problems:
        raise AssertionError("the C++ breaks rules of its own:\n" + "\n".join(problems))


def check_kernel(text: str, kernel: str, dialect: Dialect) -> None:
    """Checks a kernel that XRT starts: the rules of a file, but for loops bounded by an argument, and its ports.

    Raises:
        AssertionError: A rule is broken; all that are, with their lines.
    """
    reader = _Reader(kernel, KERNEL_FORMS[dialect], {}, _KERNEL_BOUND)
    problems = [f"kernels/{kernel}.cpp:{line}: {problem}" for line, problem in reader.read(text)]
    problems += [f"kernels/{kernel}.cpp: {problem}" for problem in _wrong_ports(text, kernel)]
    if problems:
        raise AssertionError("the C++ breaks rules of its own:\n" + "\n".join(problems))


def _wrong_ports(text: str, kernel: str) -> Iterator[str]:
    """A stream is an AXI-Stream, a pointer memory with its address in a register, the rest registers."""
    head = re.search(rf'^extern "C" void {kernel}\((.*)\) \{{$', text, re.MULTILINE)
    if head is None:
        yield f"no kernel '{kernel}'"
        return
    wanted = {"return": ["s_axilite"]}
    for parameter in head[1].split(", "):
        name = parameter.split()[-1]
        stream, pointer = "hls::stream" in parameter, "*" in parameter
        wanted[name] = ["axis"] if stream else ["m_axi", "s_axilite"] if pointer else ["s_axilite"]
    found = re.findall(r"^#pragma HLS interface (?:mode=)?(\w+) port=(\w+)", text, re.MULTILINE)
    for name, modes in wanted.items():
        given = sorted(mode for mode, port in found if port == name)
        if given != modes:
            yield f"port '{name}' is {', '.join(given) or 'nothing'}, expected {', '.join(modes)}"


def _code(line: str) -> str:
    return line.partition("//")[0].strip()


def _arrays(text: str) -> Iterator[tuple[str, int]]:
    """Every array of a file of constants, with how many dimensions it has."""
    for line in text.splitlines():
        if line.startswith("static const ") and (match := _ARRAY.match(_code(line))):
            yield match[1], match[2].count("[")


class _Reader:
    """Goes through one file line by line, with the braces that are open."""

    def __init__(self, top: str, forms: Mapping[str, tuple[Form, ...]], tables: dict[str, int], bound: str) -> None:
        self.functions: dict[str, Function] = {}
        self._top = top
        self._forms = forms
        self._tables = tables
        self._for = re.compile(rf"^for \(int (\w+) = 0; \1 < {bound}; (?:\+\+\1|\1 \+= \d+)\) \{{$")
        self._arrays: dict[str, int] = {}
        self._blocks: list[Block] = []
        self._function: Function | None = None
        self._last = ""

    def read(self, text: str) -> Iterator[tuple[int, str]]:
        """The rules that are broken, each with its line."""
        label = 0
        for number, raw in enumerate(text.splitlines(), 1):
            line = _code(raw)
            if not line:
                if label:
                    yield number, "a line between a label and its loop"
                continue
            if label and not line.startswith("for ("):
                yield number, f"between a label and its loop: {line}"
            label = number if re.fullmatch(r"\w+:", line) else 0
            if line.startswith("#"):
                yield from ((number, problem) for problem in self._directive(line))
                continue
            yield from ((number, problem) for problem in self._statement(number, line))
        if self._blocks:
            yield 0, "braces do not match"

    def _directive(self, line: str) -> Iterator[str]:
        if not line.startswith("#pragma"):
            return
        match = _PRAGMA.match(line)
        if match is None:
            yield f"not a pragma of ours: {line}"
            return
        name, options = match.groups()
        forms = self._forms.get(name, ())
        if not forms:
            yield f"there is no pragma '{name}' in this dialect"
            return
        wrong = [form.problem(options) for form in forms]
        if all(wrong):
            yield f"{line}: {'; or else '.join(filter(None, wrong))}"
            return
        if self._function is None:
            yield f"{line}: outside of a function"
            return
        variable = re.search(r"\b(?:variable|port)=(\w+)", options)
        places = [form.place for form, problem in zip(forms, wrong, strict=True) if not problem]
        misplaced = [list(self._misplaced(line, place, variable[1] if variable else "", options)) for place in places]
        yield from min(misplaced, key=len)
        block = self._blocks[-1]
        what = f"{name} {variable[1]}" if variable else name
        if block.kind == "for" and what in block.pragmas:
            yield f"{line}: twice in one loop"
        block.pragmas.append(what)
        self._function.pipelined |= name == "pipeline"
        if block.kind == "function":
            self._function.pragmas.append(what)

    def _misplaced(self, line: str, place: str, variable: str, options: str) -> Iterator[str]:
        function, block = self._function, self._blocks[-1]
        assert function is not None
        fresh_function = block.kind == "function" and block.fresh
        if place == "loop" and not (block.kind == "for" and block.fresh):
            yield f"{line}: not at the beginning of a loop"
        if place == "function" and not fresh_function:
            yield f"{line}: not at the beginning of a function"
        if place == "top":
            if function.name != self._top or not fresh_function:
                yield f"{line}: not at the beginning of the top function"
            if variable and variable not in (*function.parameters, "return"):
                yield f"{line}: the top function has no port '{variable}'"
        if place == "array":
            dimensions = self._arrays.get(variable) or self._tables.get(variable)
            wanted = re.search(r"\bdim=(\d+)", options)
            if dimensions is None:
                yield f"{line}: no array '{variable}' is declared before"
            elif wanted and int(wanted[1]) > dimensions:
                yield f"{line}: the array has {dimensions} dimensions"
            if block.kind != "function" and not ((found := _ARRAY.match(self._last)) and found[1] == variable):
                yield f"{line}: neither in the body of the function nor behind the declaration of the array"
        if place == "stream" and not ((found := _STREAM.match(self._last)) and found[1] == variable):
            yield f"{line}: not behind the declaration of its stream"
        if place == "value" and not re.match(rf"^const [\w:<>]+ {variable} = [^=]* \* [^=]*;$", self._last):
            yield f"{line}: not behind the product that it is about"

    def _statement(self, number: int, line: str) -> Iterator[str]:
        if self._function is not None:
            yield from self._rules(line)
            self._function.lines.append((number, line))
        if self._blocks and not re.match(r"^\}", line):
            self._blocks[-1].fresh = False
        self._last = line
        if line.count("{") == line.count("}") and not line.startswith("}"):
            return
        if line.startswith("}"):
            yield from self._close()
        if line.endswith("{"):
            self._open(line)

    def _rules(self, line: str) -> Iterator[str]:
        if found := _FORBIDDEN.search(line):
            yield f"'{found[1]}' is not in the portable subset"
        if line.startswith("static "):
            yield "a static variable in a function keeps its value between frames"
        if line.startswith("for (") and not self._for.match(line):
            yield f"a loop without fixed bounds: {line}"
        assert self._function is not None
        if re.search(rf"(?<![\w:.]){self._function.name}\(", line):
            yield "recursion"
        if "hls::stream<" in line and not _STREAM.match(line):
            yield f"a stream is declared as hls::stream<word> name; found: {line}"
        if (array := _ARRAY.match(line)) and "return" not in line:
            self._arrays[array[1]] = array[2].count("[")

    def _open(self, line: str) -> None:
        if self._function is None and (match := _FUNCTION.match(line)):
            self._function = Function(match[1], tuple(_PARAMETER.findall(match[2])))
            self.functions[match[1]] = self._function
            self._arrays = {}
            self._blocks.append(Block("function"))
        else:
            self._blocks.append(Block("for" if line.startswith("for (") else "other"))

    def _close(self) -> Iterator[str]:
        if not self._blocks:
            yield "braces do not match"
            return
        block = self._blocks.pop()
        if block.kind == "function":
            self._function = None
        unrolled = "unroll" in block.pragmas
        if block.kind == "for":
            if not block.loops and not unrolled and "pipeline" not in block.pragmas:
                yield "an innermost loop that is neither pipelined nor unrolled"
            if block.loops and (unrolled or "pipeline" in block.pragmas):
                yield "a loop that is not unrolled in one that is pipelined or unrolled"
        if self._blocks:
            self._blocks[-1].loops += block.loops if block.kind != "for" else int(not unrolled)
