"""
Mixtures, and actions in parts
==============================

The divergence needs only the log-probabilities of actions, so a policy may be a mixture, or choose a number and a
category at once. :doc:`/policies` has every head.
"""

import tempfile
from functools import partial

import matplotlib.pyplot as plt
import torch

import torchrl_htrpo as ht
from torchrl_htrpo.modules import CategoricalHead, GaussianHead, GaussianMixtureHead, MixedHead


def train(env, head, **weights):
    """Train a head on a small task; return the policy."""
    torch.manual_seed(0)
    task = env.task(success_reward=10.0)
    actor, critic = ht.make_actor(head, env, (64, 64)), ht.make_critic(env, (64, 64))
    ht.HTRPOTrainer(
        env,
        actor,
        critic,
        task,
        horizon=env.horizon,
        total_steps=12_800,
        pipeline=ht.hindsight_pipeline(actor, critic, task, gamma=0.95, **weights),
        optimizer=partial(ht.TrustRegionOptimizer, max_divergence=0.01, damping=0.05),
        gradient_rows=4096,
        curvature_rows=2048,
        critic_updates=20,
        critic_batch_size=1024,
        directory=tempfile.mkdtemp(),
    ).train()
    return actor


# %%
# A mixture where there are two ways
# ----------------------------------
# The straight way is closed by a wall. A single Gaussian has to choose a side; a mixture may keep both.
heads = {"Gaussian": GaussianHead(2), "mixture of 4": GaussianMixtureHead(2, num_components=4)}
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True, sharey=True, layout="constrained")
for axis, (name, head) in zip(axes, heads.items(), strict=True):
    actor = train(ht.DetourEnv(32, seed=0), head)
    with torch.no_grad():
        walks = ht.DetourEnv(64, seed=1).rollout(20, actor)
    axis.plot(*walks["achieved_goal"].permute(2, 1, 0), color="tab:blue", lw=0.5, alpha=0.6)
    axis.plot((0, 0), (-0.2, 0.2), color="black", lw=3)
    axis.scatter(*walks["desired_goal"][:, 0].T, color="tab:red", s=8, zorder=3)
    axis.set(title=name, xlim=(-0.6, 0.7), ylim=(-0.6, 0.6))
plt.show()

# %%
# A gear and a push
# -----------------
# ``MixedHead`` names the parts of an action. They share one log-probability, so the trust region covers both.
env, exam = ht.GearShiftEnv(32, seed=0), ht.GearShiftEnv(64, seed=1)
actor = train(env, MixedHead({"gear": CategoricalHead(3), "push": GaussianHead(1)}), finished="include")
with torch.no_grad():
    drive = exam.rollout(20, actor)
drive["action"]

# %%
# How often each gear is chosen on each ground. The car moves only in the gear of the ground.
ground, gear = drive["observation"][..., 1:].argmax(-1).flatten(), drive["action", "gear"].flatten()
chosen = torch.zeros(3, 3).index_put((ground, gear), torch.ones(len(gear)), accumulate=True)
figure, axes = plt.subplots(figsize=(3.4, 2.8), layout="constrained")
shown = axes.imshow(chosen / chosen.sum(1, keepdim=True), vmin=0, vmax=1)
axes.set(xlabel="gear", ylabel="ground", xticks=range(3), yticks=range(3))
figure.colorbar(shown)
plt.show()

# %%
# Greedy success:
ht.evaluate(exam, actor, env.task(), episodes=200, horizon=20, seed=2)
