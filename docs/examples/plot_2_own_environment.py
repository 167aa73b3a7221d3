"""
An environment of your own
==========================

Two methods make a batched environment in torch: where episodes begin, and how a position moves. An environment that
follows gymnasium's interface needs neither, see :doc:`/pipelines`.
"""

import tempfile

import matplotlib.pyplot as plt
import torch
from torchrl.data import Bounded

import torchrl_htrpo as ht

torch.manual_seed(0)


# %%
# The environment
# ---------------
# A boat crosses a river whose current is strongest in the middle. It starts on the left bank; goals lie on the right.
class River(ht.envs.PositionGoalEnv):
    """Cross a river; ``N`` boats at once."""

    def __init__(self, num_envs, seed):
        reached = ht.WithinDistance(0.1)
        super().__init__(Bounded(-1, 1, (2,)), 2, 2, reached, horizon=20, num_envs=num_envs, seed=seed)

    def sample_start_and_goal(self):
        noise = self.uniform(1)
        return self.bank(-1, noise * 0), self.bank(1, 0.7 * noise)

    def move(self, position, action):
        current = 0.12 * (1 - position[:, :1] ** 2).clamp_min(0)
        return position + 0.2 * action.clamp(-1, 1) + torch.cat((0 * current, current), -1)

    def bank(self, side, height):
        return torch.cat((torch.full_like(height, side), height), -1)


# %%
# Training, in ten lines
# ----------------------
env, exam = River(32, seed=0), River(64, seed=1)
task = env.task(success_reward=10.0)
actor = ht.make_actor(ht.modules.GaussianHead, env, (64, 64))
critic = ht.make_critic(env, (64, 64))
before = ht.evaluation.collect_episodes(River(64, seed=2), actor, 64, 20)
trainer = ht.HTRPOTrainer(
    env, actor, critic, task, horizon=20, total_steps=12_800, gradient_rows=8192, curvature_rows=4096,
    critic_batch_size=2048, directory=tempfile.mkdtemp(),
)  # fmt: skip
trainer.train()
after = ht.evaluation.collect_episodes(River(64, seed=2), actor, 64, 20)
ht.evaluate(exam, actor, task, episodes=200, horizon=20, seed=1)

# %%
# Before and after
# ----------------
# Greedy episodes to the same goals.
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharex=True, sharey=True, layout="constrained")
for axis, title, episodes in zip(axes, ("before", "after"), (before, after), strict=True):
    axis.plot(*episodes["achieved_goal"].permute(2, 1, 0), color="tab:blue", lw=0.6, alpha=0.7)
    axis.scatter(*episodes["desired_goal"][:, 0].T, color="tab:red", s=12, zorder=3, label="goals")
    axis.set(title=title, xlabel="x", xlim=(-1.3, 1.5), ylim=(-1.2, 2))
axes[0].set_ylabel("y")
axes[1].legend(loc="upper left")
plt.show()
