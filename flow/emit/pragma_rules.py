# SPDX-License-Identifier: Apache-2.0
"""The pragmas that this program writes, as the vendor documents them: options, values, and where they may stand.

Sources: UG1399 (Vitis HLS User Guide), sections "pragma HLS ..." of 2020.2, 2021.1, 2021.2, 2022.2, 2023.2, 2024.1
and 2025.2; UG902 (Vivado HLS) 2019.2 by the same sections. What changed on the way:

- ``array_partition``, ``array_reshape``: the type stands alone up to 2021.1 and is ``type=`` since 2021.2.
- ``interface``: the mode is ``mode=`` in the editions since 2021.2. The section of 2020.2 was not at hand; UG902's
  form without a name is what AMD's own tutorials still use with 2025.2.
- ``dependence``: words without names in every edition up to 2025.2.
- ``aggregate``: has ``compact=`` since 2021.1; by default the tool decides whether fields are padded to bytes. Vivado
  HLS has ``data_pack`` instead, without which each lane becomes a FIFO of its own.
- ``bind_storage``, ``bind_op``: Vitis HLS only; Vivado HLS has ``resource`` and names of cores.

The forms are narrower than the documentation where a design of ours needs no more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flow.emit.process_text import Dialect

Place = Literal["function", "top", "loop", "array", "stream", "value"]
"""Where a pragma stands: at the beginning of a function, of the top function or of a loop; where an array can be
seen; behind the declaration of a local stream; behind the statement that declares its variable as a product."""

_NAME = r"[A-Za-z_]\w*"
_COUNT = r"[1-9]\d*"


@dataclass(frozen=True, slots=True)
class Form:
    """One pragma in one dialect.

    Attributes:
        place: Where it stands.
        required: Options with a value that must be there, each with the pattern of its value.
        words: Options without a name, in order, each with the pattern of its value; all must be there.
    """

    place: Place
    required: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def problem(self, options: str) -> str | None:
        """What is wrong with the options of a pragma; None if nothing is."""
        named = dict(word.split("=", 1) for word in options.split() if "=" in word)
        words = [word for word in options.split() if "=" not in word]
        for name in self.required.keys() - named.keys():
            return f"option {name}= is missing"
        for name, value in named.items():
            if name not in self.required:
                return f"there is no option {name}="
            if not re.fullmatch(self.required[name], value):
                return f"{name}={value}: expected {self.required[name]}"
        if len(words) != len(self.words) or not all(map(re.fullmatch, self.words, words)):
            return f"words {' '.join(words) or '(none)'}: expected {' '.join(self.words) or '(none)'}"
        return None


def _array(type_option: bool) -> Form:
    named = {"variable": _NAME, "dim": r"\d+"}  # 0: all of them
    return Form("array", {**named, "type": "complete"}) if type_option else Form("array", named, ("complete",))


def _interface(mode_option: bool, mode: str = "axis|ap_ctrl_none", **options: str) -> Form:
    named = {"port": _NAME, **options}
    return Form("top", {"mode": mode, **named}) if mode_option else Form("top", named, (mode,))


_ALIKE: Mapping[str, tuple[Form, ...]] = {
    "pipeline": (Form("loop", {"II": _COUNT}), Form("top", {"II": _COUNT})),
    "unroll": (Form("loop"),),
    "inline": (Form("function"),),
    "dataflow": (Form("top"),),
    "stream": (Form("stream", {"variable": _NAME, "depth": _COUNT}),),
    "dependence": (
        Form("array", {"variable": _NAME}, ("inter", "false")),
        Form("array", {"variable": _NAME, "distance": _COUNT}, ("inter", "RAW", "true")),
    ),
}
_PACKED = {"variable": _NAME}
_BIND: Mapping[str, tuple[Form, ...]] = {
    "bind_storage": (Form("array", {"variable": _NAME, "type": "rom_1p", "impl": "bram|lutram"}),),
    "bind_op": (Form("value", {"variable": _NAME, "op": "mul", "impl": "fabric|dsp"}),),
}
_RESOURCE: Mapping[str, tuple[Form, ...]] = {
    "resource": (
        Form("array", {"variable": _NAME, "core": "ROM_1P_BRAM|ROM_1P_LUTRAM"}),
        Form("value", {"variable": _NAME, "core": "Mul_LUT|DSP48"}),
    ),
}


def _of(type_option: bool, mode_option: bool) -> Mapping[str, tuple[Form, ...]]:
    array = (_array(type_option),)
    return {"array_partition": array, "array_reshape": array, "interface": (_interface(mode_option),), **_ALIKE}


FORMS: Mapping[Dialect, Mapping[str, tuple[Form, ...]]] = {
    "vitis": {**_of(True, True), **_BIND, "aggregate": (Form("stream", {**_PACKED, "compact": "bit"}),)},
    "vitis2020": {**_of(False, False), **_BIND, "aggregate": (Form("stream", _PACKED),)},
    "vivado": {**_of(False, False), **_RESOURCE, "data_pack": (Form("stream", _PACKED),)},
}


def _kernel(dialect: Dialect, mode_option: bool) -> Mapping[str, tuple[Form, ...]]:
    interface = (
        _interface(mode_option, "axis"),
        _interface(mode_option, "m_axi", offset="slave", bundle=_NAME),
        _interface(mode_option, "s_axilite", bundle="control"),
    )
    return {**FORMS[dialect], "interface": interface}


KERNEL_FORMS: Mapping[Dialect, Mapping[str, tuple[Form, ...]]] = {
    "vitis": _kernel("vitis", True),
    "vitis2020": _kernel("vitis2020", False),
}
"""Of a kernel that XRT starts (UG1393, "Kernel Interfaces"): memory, streams, and registers for the rest."""
