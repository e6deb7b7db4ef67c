# SPDX-License-Identifier: Apache-2.0
"""What layers are called after, and where they came from."""

from flow.frontend.importer import ImportedModel
from flow.plan.layers import Layer


def layer_labels(layers: tuple[Layer, ...], imported: ImportedModel) -> dict[str, str]:
    """What each layer is called after: its module where the exporter kept it, else its tensor."""
    labels: dict[str, str] = {}
    for layer in layers:
        node = layer.op if layer.op is not None else layer.step
        assert node is not None
        origin = imported.origin_of(node.name)
        labels[layer.name] = origin.module if origin is not None and origin.module else node.name
    return labels


def layer_origins(layers: tuple[Layer, ...], imported: ImportedModel) -> dict[str, str]:
    """From which ONNX nodes each layer came, in words."""
    found: dict[str, str] = {}
    for layer in layers:
        nodes = [node.name for node in (layer.op, layer.step) if node is not None]
        words = [str(imported.origin_of(name) or name) for name in nodes]
        found[layer.name] = "From " + ", then ".join(words)
    return found
