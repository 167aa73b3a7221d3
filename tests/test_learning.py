"""The parts together learn Bit Flipping, and do not without hindsight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDictBase
from torchrl.envs import Compose, ExplorationType, set_exploration_type

from torchrl_htrpo.batch import RowSampler
from torchrl_htrpo.envs import BitFlipEnv
from torchrl_htrpo.hindsight import AllGoalSampler, CumulativeGoalRatio, HindsightRelabel
from torchrl_htrpo.modules import CategoricalHead, make_actor, make_critic
from torchrl_htrpo.objectives import GoalVTrace, StateValue, TrustRegionObjective
from torchrl_htrpo.optim import TrustRegionOptimizer

BITS, BATCH, STEPS = 8, 128, 2048


def train(seed: int, hindsight: bool) -> float:
    """Greedy success over 200 episodes after 2 k environment steps."""
    torch.manual_seed(seed)
    env = BitFlipEnv(BITS, BATCH // BITS, seed=seed)
    task = env.task("paper_code")
    actor, critic = make_actor(CategoricalHead(BITS), 2 * BITS, (64, 64)), make_critic(2 * BITS, (64, 64))
    relabel = HindsightRelabel(task)
    weigh = CumulativeGoalRatio(actor, gamma=0.9)
    prepare: Callable[[TensorDictBase], TensorDictBase] = Compose(
        AllGoalSampler() if hindsight else OwnGoals(), relabel, weigh
    )
    values, advantages = StateValue(critic), GoalVTrace(0.9, 0.95)
    objective = TrustRegionObjective(actor, critic)
    rows, everything = RowSampler(4096), RowSampler(None)  # the critic must not see rows drawn by contribution
    step = TrustRegionOptimizer(objective.trainable_params, 1e-2, damping=1e-3)
    adam = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for _ in range(STEPS // BATCH):
        batch = everything(advantages(values(prepare(env.rollout(BITS, actor)))))
        step.step(objective.problem(rows(batch)))
        for _ in range(20):
            loss = objective.loss_critic(batch[torch.randint(len(batch), (1024,))])
            adam.zero_grad()
            loss.backward()
            adam.step()
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        greedy = BitFlipEnv(BITS, 200, seed=seed + 1000).rollout(BITS, actor)
    return task.success(greedy).any(-1).float().mean().item()


class OwnGoals(torch.nn.Module):
    """No hindsight: each trajectory keeps its original goal."""

    def forward(self, batch: TensorDictBase) -> TensorDictBase:
        return batch.copy().set(("hindsight", "goal"), batch["desired_goal"].unsqueeze(-2))


@pytest.mark.parametrize("seed", [0, 1])
def test_eight_bits_are_learnt_within_two_thousand_steps(seed):
    assert train(seed, hindsight=True) >= 0.9


def test_without_hindsight_eight_bits_are_not_learnt():
    assert train(0, hindsight=False) < 0.5
