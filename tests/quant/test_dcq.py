# SPDX-License-Identifier: Apache-2.0
"""DCQ: sections learn from the teacher in isolation, then they are one network again."""

import copy

import pytest
import torch
from test_methods import TASK, X, Y, model, train
from torch import nn

from flow.errors import OptionError
from flow.quant import data
from flow.quant.layers import weight_layers
from flow.quant.methods import Task
from flow.quant.methods.dcq import Dcq
from flow.quant.methods.floating import Floating, float_copy
from flow.quant.methods.uniform import Uniform
from flow.quant.models import build


def begun(step, **options):
    network, method = model(weight_bits=1), Dcq(**{"teacher": 0.3, "isolated": 0.4, **options})
    method.see(TASK)
    method.prepare(network, X[:8], 100)
    for passed in range(1, step + 1):
        method.on_step(passed)
    return network, method


def test_a_float_network_has_no_quantiser():
    network = model(weight_bits=2, act_bits=2).eval()
    x = X[:16]
    quantised = network(x)
    layers = [network[i][0] if i < 3 else network[i] for i in (1, 2, 3)]
    expected = x
    for layer, norm in zip(layers[:2], (network[1][1], network[2][1]), strict=True):
        expected = torch.relu(norm(expected @ layer.weight.T))
    expected = expected @ layers[2].weight.T + layers[2].bias
    floating = Floating(network)
    torch.testing.assert_close(network(x), expected)
    torch.testing.assert_close(float_copy(network)(x), expected)
    assert set(weight_layers(network)) == {"1.0", "2.0", "3"}, "between two runs the model looks as ever"
    floating.remove()
    assert torch.equal(network(x), quantised)


def test_isolated_sections_learn_only_from_their_own_loss():
    """The loss behind a cut has no gradient in front of it, and each section's own loss has."""
    network, method = begun(40, sections=3)
    assert (method.phase, method.cuts) == ("isolated", ["1.2", "2.2"])
    network.train()
    nn.functional.cross_entropy(network(X[:64]), Y[:64]).backward()
    first, second, last = (layer.weight for layer in weight_layers(network).values())
    assert first.grad is None
    assert second.grad is None
    assert float(last.grad.abs().sum()) > 0
    network.zero_grad()
    network(X[:64])
    losses = list(method._losses)
    assert len(losses) == 3  # two cuts, and the answer
    losses[0].backward(retain_graph=True)
    assert float(first.grad.abs().sum()) > 0
    assert second.grad is None


def test_a_stitched_network_learns_as_a_whole():
    network, method = begun(75)
    assert method.phase == "stitched"
    network.train()
    nn.functional.cross_entropy(network(X[:64]), Y[:64]).backward()
    assert all(float(layer.weight.grad.abs().sum()) > 0 for layer in weight_layers(network).values())


def test_the_teacher_stays_what_it_was():
    network, method = begun(30)
    taught = copy.deepcopy(float_copy(network).state_dict())
    with torch.no_grad():
        for layer in weight_layers(network).values():
            layer.weight += 1.0
    network.train()
    wanted = float_copy(network)
    method.model.get_submodule("1.0").dcq_teacher.give(wanted)
    now = wanted.state_dict()
    assert all(torch.equal(now[name], value) for name, value in taught.items())


def test_nothing_is_left_at_the_end():
    before = set(model(weight_bits=1).state_dict())
    network, method = model(weight_bits=1), Dcq()
    train(network, method, steps=10)
    method.finalize()
    assert set(network.state_dict()) == before
    hooked = [m for m in network.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooked


def test_a_section_may_end_within_a_residual_network():
    network, method = build("resnet8", (3, 8, 8), 10, width=0.25), Dcq(teacher=0.0, sections=4)
    frames = torch.rand(8, 3, 8, 8)
    method.prepare(network, frames, 10)
    network.train()(frames)
    loss = method.loss()
    assert torch.isfinite(loss)
    loss.backward()


# ------------------------------------------------------------------------------------ against plain training


def epochs(network, method, x, y, count, lr, seed):
    """Adam with a cosine; the float network where there is no method."""
    steps, batch = count * (len(x) // 64), 64
    if method is not None:
        method.see(Task(x, y, nn.functional.cross_entropy))
        method.prepare(network, x[:batch], steps)
    optimiser = torch.optim.Adam(network.parameters() if method is None else method.param_groups(lr), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for step in range(steps):
        place = step % (steps // count)
        if place == 0:
            order = torch.randperm(len(x), generator=generator)
        chosen = order[place * batch : (place + 1) * batch]
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
        (loss if method is None else loss + method.loss()).backward()
        optimiser.step()
        schedule.step()
        if method is not None:
            method.on_step(step + 1)


def test_it_beats_plain_training_of_a_deep_binary_network():
    """Both start from the same float network, and learn with binary weights for five epochs at the same rate.

    The rate is the one of 0.003 and 0.01 that was the better for plain training.
    """
    digits = data.load("digits", None)
    scores = {Uniform: [], Dcq: []}
    for seed in range(3):
        torch.manual_seed(seed)
        network = build("mlp", digits.shape, digits.classes, weight_bits=1, hidden=(24,) * 9)
        floating = Floating(network)
        epochs(network, None, digits.train_x, digits.train_y, 20, 3e-3, seed)
        floating.remove()
        for method in (Uniform(), Dcq(teacher=0, isolated=0.3)):
            twin = copy.deepcopy(network)
            epochs(twin, method, digits.train_x, digits.train_y, 5, 1e-2, seed + 50)
            method.finalize()
            with torch.no_grad():
                right = twin.eval()(digits.test_x).argmax(1) == digits.test_y
            scores[type(method)].append(float(right.float().mean()))
    plain, distilled = (sum(found) / 3 for found in scores.values())
    assert distilled > plain + 0.01, scores


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sections": 1}, "sections = 1"),
        ({"teacher": 0.7, "isolated": 0.5}, r"teacher = 0\.7 and isolated = 0\.5"),
        ({"sections": 9}, "9 sections need 8 activations between layers, the model has 2"),
    ],
)
def test_messages(options, message):
    with pytest.raises(OptionError, match=message):
        Dcq(**options).prepare(model(), X[:8], 10)
