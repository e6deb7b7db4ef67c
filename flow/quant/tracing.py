# SPDX-License-Identifier: Apache-2.0
"""How data goes through a model: layer by layer, without its values."""

from torch import fx, nn

from flow.errors import OptionError


class _Tracer(fx.Tracer):
    """Looks into containers, and not into layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m.__module__.startswith("brevitas.") or super().is_leaf_module(m, module_qualified_name)


def traced(model: nn.Module, failed: str, remedy: str) -> fx.Graph:
    """The graph of a model's layers.

    Raises:
        OptionError: What the model does depends on its input. It begins with ``failed``.
    """
    try:
        return _Tracer().trace(model)
    except Exception as error:  # whatever the model's own code raises when it meets no numbers
        raise OptionError(f"{failed}: {error}", remedy) from error
