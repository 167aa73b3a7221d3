"""TRPO alone: an ordinary task, a policy of your own, TorchRL's collector and GAE."""

import torch
from tensordict.nn import InteractionType, NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import Compose, DoubleToFloat, GymEnv, RewardSum, TransformedEnv
from torchrl.modules import MLP, IndependentNormal, ProbabilisticActor, ValueOperator
from torchrl.objectives.value import GAE

import torchrl_htrpo as ht

torch.manual_seed(0)
env = TransformedEnv(GymEnv("InvertedPendulum-v5"), Compose(DoubleToFloat(), RewardSum()))
env.set_seed(0)
network = nn.Sequential(MLP(4, 2, num_cells=[64, 64], activation_class=nn.Tanh), NormalParamExtractor())
actor = ProbabilisticActor(
    TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
    in_keys=["loc", "scale"],
    distribution_class=IndependentNormal,
    return_log_prob=True,
    default_interaction_type=InteractionType.RANDOM,  # greedy otherwise, where nothing else is said
)
critic = ValueOperator(MLP(4, 1, num_cells=[64, 64], activation_class=nn.Tanh), in_keys=["observation"])
advantage = GAE(gamma=0.99, lmbda=0.97, value_network=critic, average_gae=True)

# KLLoss is the KL in closed form, which torch has for this distribution; QKLLoss takes any that scores actions.
# Rows without "importance_weight" count alike.
objective = ht.TrustRegionObjective(actor, critic, divergence=ht.KLLoss)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.01)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)

returns = []
for batch in Collector(env, actor, frames_per_batch=2000, total_frames=20_000, auto_register_policy_transforms=False):
    advantage(batch)
    result = optimizer.step(objective.problem(batch))
    for _ in range(5):
        for minibatch in torch.randperm(2000).split(200):
            critic_optimizer.zero_grad()
            objective.loss_critic(batch[minibatch]).backward()
            critic_optimizer.step()
    returns.append(batch["next", "episode_reward"][batch["next", "done"]].mean().item())
assert result.divergence < 0.015
assert returns[-1] > 3 * returns[0], returns
