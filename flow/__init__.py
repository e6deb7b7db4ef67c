# SPDX-License-Identifier: Apache-2.0
"""flow: a quantised neural network to an edge FPGA, exact to the last integer.

``flow.build``, ``flow.inspect`` and ``flow.simulate`` are what the command line offers, with typed results.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flow.api.build import BuildResult, build
    from flow.api.inspect import InspectResult, inspect
    from flow.api.simulate import SimulationResult, simulate

__all__ = ["BuildResult", "InspectResult", "SimulationResult", "build", "inspect", "simulate"]

_HOMES = {
    "build": "flow.api.build",
    "BuildResult": "flow.api.build",
    "inspect": "flow.api.inspect",
    "InspectResult": "flow.api.inspect",
    "simulate": "flow.api.simulate",
    "SimulationResult": "flow.api.simulate",
}


def __getattr__(name: str) -> Any:
    """Imports the API when it is first used: ``flow --help`` must not load onnx."""
    if name not in _HOMES:
        raise AttributeError(f"module 'flow' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
