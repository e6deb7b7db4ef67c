# SPDX-License-Identifier: Apache-2.0
"""The methods, by the names that recipes use. A method is one file and one line here."""

from flow.quant.methods.a2q import A2q, A2qPlus
from flow.quant.methods.admm import Admm
from flow.quant.methods.base import Method, Task
from flow.quant.methods.bitat import Bitat
from flow.quant.methods.dcq import Dcq
from flow.quant.methods.dynasty import Dynasty
from flow.quant.methods.dynhp import Dynhp
from flow.quant.methods.exhaustive import Exhaustive
from flow.quant.methods.fdmp import Fdmp
from flow.quant.methods.greedy import Greedy
from flow.quant.methods.grids import Dorefa, Wrpn
from flow.quant.methods.hgq import Hgq
from flow.quant.methods.ilp import Ilp
from flow.quant.methods.pfq import Pfq
from flow.quant.methods.po2 import Po2
from flow.quant.methods.ptilmpq import Ptilmpq
from flow.quant.methods.ptq import Ptq
from flow.quant.methods.random_search import Random
from flow.quant.methods.releq import Releq
from flow.quant.methods.sensitivity import Sensitivity
from flow.quant.methods.sinareq import Sinareq
from flow.quant.methods.sinreq import Sinreq
from flow.quant.methods.uniform import Uniform

__all__ = ["METHODS", "Method", "Task"]

METHODS: dict[str, type[Method]] = {
    "uniform": Uniform,
    "dorefa": Dorefa,
    "wrpn": Wrpn,
    "sinreq": Sinreq,
    "sinareq": Sinareq,
    "a2q": A2q,
    "a2q+": A2qPlus,
    "hgq": Hgq,
    "fdmp": Fdmp,
    "greedy": Greedy,
    "random": Random,
    "exhaustive": Exhaustive,
    "ilp": Ilp,
    "releq": Releq,
    "sensitivity": Sensitivity,
    "dcq": Dcq,
    "po2": Po2,
    "bitat": Bitat,
    "ptq": Ptq,
    "ptilmpq": Ptilmpq,
    "pfq": Pfq,
    "dynasty": Dynasty,
    "admm": Admm,
    "dynhp": Dynhp,
}
