# SPDX-License-Identifier: Apache-2.0
"""ReLeQ: an agent walks the layers, chooses a width for each, and learns from what the whole assignment was worth.

Source: Elthakeb et al., ReLeQ: a reinforcement learning approach for deep quantization of neural networks,
arXiv:1811.01704 (read: the abstract and the authors' code; the formulas are theirs, restated). Two things differ: one
score for an episode, as in the variant of their code that updates once for all layers, and so no accuracy in the state;
and more than one episode for each update, at a higher rate, since evaluations are few here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flow.quant.methods.search import CHOICES, Problem, Search, Widths

EPISODES = 400
"""At most: assignments that were scored before cost nothing, and an agent that has settled finds no others."""
BATCH = 8
"""Episodes for each update."""
_EPOCHS = 4
_RATE = 3e-3
_CLIP = 0.2
_ENTROPY = 0.05
_HIDDEN = 64


class Agent(nn.Module):
    """A recurrent layer that remembers the layers before, a policy, and a guess of what the episode will be worth."""

    def __init__(self, features: int, choices: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(features, _HIDDEN, batch_first=True)
        self.policy = nn.Sequential(nn.Linear(_HIDDEN, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, choices))
        self.worth = nn.Sequential(nn.Linear(_HIDDEN, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, 1))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of the policy (episodes, layers, choices), and worths, for states (episodes, layers, n)."""
        remembered, _ = self.memory(states)
        return self.policy(remembered).log_softmax(-1), self.worth(remembered).squeeze(-1)


@dataclass(frozen=True)
class Episode:
    """One walk over the layers.

    Attributes:
        states: (layers, features).
        taken: (layers,) places of the widths among the choices.
        logs: (layers,) logarithms of their probabilities.
        widths: The assignment.
    """

    states: Tensor
    taken: Tensor
    logs: Tensor
    widths: Widths


class Releq(Search):
    """Proximal policy optimisation of an LSTM policy over the widths of the layers, one after the other.

    Args:
        choices: Widths to choose from, for each layer.
        budget: The most bits a weight on average; None for the paper's reward.
        evaluations: How many assignments are scored; hundreds, for the agent to learn from.
        tune: Steps of training for each of them.
        start: When it searches, as a share of the training.
        seed: Of the agent.
    """

    def __init__(
        self,
        choices: Sequence[int] = CHOICES,
        budget: float | None = None,
        evaluations: int = 200,
        tune: int = 20,
        start: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(choices, budget, evaluations, tune, start, seed)

    def search(self, problem: Problem) -> None:
        """Plays, learns, and scores the settled agent's own choice."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            learn(problem)


def learn(problem: Problem) -> tuple[Widths, list[float]]:
    """Trains an agent: what it chooses without chance in the end, and what each episode was worth."""
    agent = Agent(7, len(problem.choices))
    optimiser = torch.optim.Adam(agent.parameters(), _RATE)
    worths: list[float] = []
    while len(worths) < EPISODES:
        episodes = [play(agent, problem) for _ in range(BATCH)]
        rewards = [problem.value(episode.widths) for episode in episodes]
        _update(agent, optimiser, episodes, rewards)
        worths += rewards
    settled = play(agent, problem, chance=False).widths
    problem.value(settled)
    return settled, worths


def play(agent: Agent, problem: Problem, *, chance: bool = True) -> Episode:
    """One episode; without chance each layer gets the most probable width."""
    states: list[Tensor] = []
    taken: list[int] = []
    logs: list[Tensor] = []
    memory = None
    with torch.no_grad():
        for place in range(len(problem.layers)):
            states.append(_state(problem, taken, place))
            remembered, memory = agent.memory(states[-1][None, None], memory)
            policy = agent.policy(remembered)[0, 0].log_softmax(-1)
            choice = int(torch.multinomial(policy.exp(), 1)) if chance else int(policy.argmax())
            taken.append(choice)
            logs.append(policy[choice])
    widths = tuple(problem.choices[choice] for choice in taken)
    return Episode(torch.stack(states), torch.tensor(taken), torch.stack(logs), widths)


def _state(problem: Problem, taken: Sequence[int], place: int) -> Tensor:
    """Seven numbers about 1: the place, the last width, the bits so far, and the layer itself."""
    layers, most = problem.layers, problem.choices[-1]
    layer = layers[place]
    chosen = [problem.choices[choice] for choice in taken]
    widest = max(max(each.inputs, each.outputs) for each in layers)
    so_far = [*chosen, *[most] * (len(layers) - place)]
    return torch.tensor(
        [
            place / len(layers),
            (chosen[-1] if chosen else most) / most,
            problem.bits(tuple(so_far)) / most,
            layer.outputs / widest,
            layer.inputs / widest,
            layer.kernel / max(each.kernel for each in layers),
            layer.deviation / max(each.deviation for each in layers),
        ]
    )


def _update(agent: Agent, optimiser: torch.optim.Optimizer, episodes: list[Episode], rewards: list[float]) -> None:
    """The clipped objective; all of an episode's choices share its reward, which comes at its end."""
    states = torch.stack([episode.states for episode in episodes])
    taken = torch.stack([episode.taken for episode in episodes])
    before = torch.stack([episode.logs for episode in episodes])
    reward = torch.tensor(rewards)[:, None].expand_as(before)
    for _ in range(_EPOCHS):
        policy, worth = agent(states)
        logs = policy.gather(-1, taken[..., None]).squeeze(-1)
        gain = reward - worth.detach()
        gain = (gain - gain.mean()) / (gain.std() + 1e-3)
        ratio = torch.exp(logs - before)
        surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - _CLIP, 1 + _CLIP) * gain).mean()
        entropy = -(policy.exp() * policy).sum(-1).mean()
        loss = nn.functional.mse_loss(worth, reward) - surrogate - _ENTROPY * entropy
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
