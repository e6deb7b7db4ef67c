# SPDX-License-Identifier: Apache-2.0
"""DynHP: channels go for good, in multiples, and the network in the file is smaller and the same."""

import built
import pytest
import torch
from test_methods import X, accuracy, model, train

from flow.errors import OptionError
from flow.quant.layers import weight_bits, weight_layers
from flow.quant.methods.channels import links
from flow.quant.methods.dynhp import Dynhp
from flow.quant.models import build


def shapes(network):
    return {name: tuple(layer.weight.shape) for name, layer in weight_layers(network).items()}


def seen(network, x):
    """After some frames: norms and activations have statistics."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(x)
    return network


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mlp", (64,), {"1.0": "2.0", "2.0": "3"}),
        ("lenet5", (1, 28, 28), {"1": "5", "5": "10", "10": "13", "13": "16"}),
        # the ends of a block lead to its sum; what is left is inside
        ("resnet8", (3, 8, 8), {"2.body.0.0": "2.body.1.0", "3.body.0.0": "3.body.1.0", "4.body.0.0": "4.body.1.0"}),
        # a depthwise convolution is no reader of all its channels
        ("ds_cnn", (1, 49, 10), {}),
    ],
)
def test_links_are_channels_that_one_layer_reads(name, shape, expected):
    network = build(name, shape, 10, **({"hidden": (8, 8)} if name == "mlp" else {"width": 0.5}))
    names = {id(layer): path for path, layer in weight_layers(network).items()}
    assert {link.name: names[id(link.reader)] for link in links(network)} == expected


@pytest.mark.parametrize("scales", ["channel", "tensor", "pow2"])
@pytest.mark.parametrize(("name", "shape"), [("lenet5", (1, 16, 16)), ("resnet8", (3, 8, 8)), ("mlp", (20,))])
def test_a_network_without_its_mute_channels_is_the_same(name, shape, scales):
    x = torch.rand(16, *shape)
    network = seen(build(name, shape, 10, scales=scales, weight_bits=3, width=0.5), x)
    before, removed = shapes(network), {}
    for link in links(network):
        kept = torch.rand(link.channels) < 0.5
        kept[:2] = torch.tensor([True, False])
        link.mute(kept)
        removed[link.name] = int((~kept).sum()), kept
    network.eval()
    with torch.no_grad():
        mute = network(x)
        for link in links(network):
            link.slim(removed[link.name][1])
        torch.testing.assert_close(network(x), mute, rtol=0, atol=1e-5)  # sums of fewer terms, in float32
    for layer, shape_now in shapes(network).items():
        assert shape_now[0] == before[layer][0] - removed.get(layer, (0,))[0]
    assert all(int(weight_bits(layer).max()) == 3 for layer in weight_layers(network).values())


def test_channels_go_in_multiples_and_never_come_back():
    network, method = model(hidden=(22, 16)), Dynhp(remove=0.5, multiple=4)
    method.prepare(network, X[:8], 100)
    last, counts = None, []
    for step in range(1, 101):
        with torch.no_grad():
            for layer in weight_layers(network).values():
                layer.weight += 0.01  # what an optimiser does
        method.on_step(step)
        now = [link.source.kept_channels.clone() for link in method.links]
        assert all(int(k.sum()) % 4 == 0 or bool(k.all()) for k in now)
        assert not any(bool((k & ~was).any()) for was, k in zip(last or now, now, strict=True))
        for link, kept in zip(method.links, now, strict=True):
            assert not bool(link.source.weight[~kept].any())
            assert not bool(link.reader.weight[:, ~kept].any())
        last = now
        counts.append(sum(int((~k).sum()) for k in now))
    assert counts[18] == 0
    assert counts[-1] in (18, 19), "half of 38 channels, as far as multiples allow"
    assert counts[59] == counts[-1]
    assert len(set(counts)) > 3


def test_the_weakest_go_first():
    network, method = model(hidden=(8, 8)), Dynhp(remove=0.25, multiple=4, rounds=1)
    method.prepare(network, X[:8], 10)
    weak = [0, 3, 5, 6]
    with torch.no_grad():
        method.links[1].norms[0].weight[weak] = 0.01
    method.on_step(3)
    assert bool(method.links[0].source.kept_channels.all())
    assert (~method.links[1].source.kept_channels).nonzero().flatten().tolist() == weak


def test_the_network_in_the_file_is_smaller_and_exact(tmp_path, monkeypatch):
    network, method = model(), Dynhp(remove=0.4)
    train(network, method, steps=100)
    network.eval()
    with torch.no_grad():
        before = network(X[:64])
        method.finalize()
        torch.testing.assert_close(network(X[:64]), before, rtol=0, atol=1e-5)  # sums of fewer terms, in float32
    assert accuracy(network) > 0.6  # 0.9 with all channels
    hidden = [shape[0] for shape in shapes(network).values()][:-1]
    assert sum(hidden) == 24  # of 24 + 16
    assert all(count % 4 == 0 for count in hidden)
    assert not [name for name in network.state_dict() if "kept_channels" in name]
    products = built.exactly(network, X[:8], tmp_path, monkeypatch)
    for name, shape in shapes(network).items():
        assert products[name].weight.T.shape == shape


@pytest.mark.parametrize(
    ("options", "network", "message"),
    [
        ({"remove": 1.0}, {}, "remove = 1"),
        ({"multiple": 0}, {}, "multiple = 0"),
        ({"start": 0.7}, {}, r"start = 0\.7, end = 0\.6"),
        ({"remove": 0.9}, {}, r"remove = 0\.9 are 36 of 40 channels; 32 can go where each layer keeps 4"),
        ({"multiple": 64}, {}, "0 can go"),
        ({}, {"hidden": ()}, "no channel of the model can go"),
        ({}, {"weight_bits": 1}, r"the weights of 1\.0 are binary"),
    ],
)
def test_messages(options, network, message):
    with pytest.raises(OptionError, match=message):
        Dynhp(**options).prepare(model(**network), X[:8], 10)
