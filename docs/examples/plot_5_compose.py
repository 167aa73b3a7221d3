"""
The parts, one by one
======================

The whole data flow on the smallest task that defeats plain exploration: flip one of six bits per step until they
equal a goal. Random play succeeds in about one episode in thirteen; nothing tells it how near it was.
"""

import matplotlib.pyplot as plt
import torch
from tensordict.nn import TensorDictSequential
from torchrl.collectors import Collector
from torchrl.envs import Compose
from torchrl.objectives.value import TD0Estimator

import torchrl_htrpo as ht

torch.manual_seed(0)

# %%
# A task, a policy and a critic
# -----------------------------
# 32 strings are flipped at once. An observation and a goal have six bits each, and there are six actions, of which one
# per cent is drawn evenly, so that none dies out. The policy is examined in an environment of its own.
env, exam = (ht.BitFlipEnv(num_bits=6, num_envs=32, seed=seed) for seed in (0, 1))
task = env.task("paper_code")
actor = ht.make_actor(ht.modules.CategoricalHead(6, uniform_share=0.01), 12, (64, 64))
critic = ht.make_critic(12, (64, 64))

# %%
# Hindsight, advantages, the objective, the step
# ----------------------------------------------
# Every distinct state reached becomes a goal. Each part is a TorchRL transform or module, so they chain.
hindsight = Compose(ht.AllGoalSampler(), ht.HindsightRelabel(task), ht.CumulativeGoalRatio(actor, gamma=0.9))
advantage = TensorDictSequential(ht.StateValue(critic), TD0Estimator(gamma=0.9, value_network=None))
live_rows = ht.RowSampler()
objective = ht.TrustRegionObjective(actor, critic)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.02)
adam = torch.optim.Adam(critic.parameters(), lr=1e-3)

# %%
# The loop
# --------
# Each iteration collects 32 episodes, relabels them, takes one trust-region step and fits the critic.
steps, evaluations = [], []
for batch in Collector(env, actor, frames_per_batch=192, total_frames=1920, reset_at_each_iter=True):
    rows = live_rows(advantage(hindsight(batch)))
    result = optimizer.step(objective.problem(rows))
    for _ in range(20):
        loss = objective.loss_critic(rows[torch.randint(len(rows), (1024,))])
        adam.zero_grad()
        loss.backward()
        adam.step()
    steps.append(batch.numel() * (len(steps) + 1))
    evaluations.append(ht.evaluate(exam, actor, task, episodes=200, horizon=6))

# %%
# What came of the last step, as data:
result

# %%
# The learning curve, with its binomial interval:
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.plot(steps, [e.success for e in evaluations], marker="o", ms=3)
axes.fill_between(steps, [e.success_low for e in evaluations], [e.success_high for e in evaluations], alpha=0.2)
axes.set(xlabel="environment steps", ylabel="greedy success rate", ylim=(0, 1.02), title="6-bit flipping")
axes.grid(alpha=0.3)
plt.show()
