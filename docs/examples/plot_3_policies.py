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
from torchrl.envs import ExplorationType

import torchrl_htrpo as ht
from torchrl_htrpo.modules import CategoricalHead, GaussianHead, GaussianMixtureHead, MixedHead


def train(env, head, steps, **weights):
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
        total_steps=steps,
        pipeline=ht.hindsight_pipeline(actor, critic, task, gamma=0.95, **weights),
        optimizer=partial(ht.TrustRegionOptimizer, max_divergence=0.015, damping=0.05),
        critic_optimizer=torch.optim.Adam(critic.parameters(), lr=1e-3),
        gradient_rows=8192,
        curvature_rows=4096,
        critic_updates=20,
        critic_batch_size=2048,
        directory=tempfile.mkdtemp(),
    ).train()
    return actor


# %%
# A mixture where there are two ways
# ----------------------------------
# A wall has two gaps, one of them closed, and which one cannot be seen. A policy without memory has to try both at
# random: the mean of the two actions runs into the wall, so one Gaussian is not enough.
heads = {"Gaussian": GaussianHead(2), "mixture of 8": GaussianMixtureHead(2, num_components=8)}
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharex=True, sharey=True, layout="constrained")
success = {}
for axis, (name, head) in zip(axes, heads.items(), strict=True):
    actor = train(ht.HiddenGapEnv(128, seed=0), head, 46_080)
    with torch.no_grad():
        first = actor(ht.HiddenGapEnv(1000, seed=1).reset())["action"].clamp(-1, 1)
    axis.scatter(*first.T, s=3, alpha=0.4)
    for sign in (-1, 1):
        axis.plot((0, 1.2), (0, sign * 0.6), color="black", ls=":", lw=1)
    axis.set(title=name, xlabel="forwards", xlim=(-1.1, 1.2), ylim=(-1.1, 1.1))
    exam, sampled = ht.HiddenGapEnv(64, seed=2), ExplorationType.RANDOM
    found = ht.evaluate(exam, actor, exam.task(), episodes=500, horizon=8, seed=2, exploration=sampled)
    success[name] = round(found.success, 2)
axes[0].set_ylabel("sideways")
plt.show()

# %%
# The first action of 1000 episodes. Dotted: through the middle of a gap. Success of sampled actions:
success

# %%
# A gear and a push
# -----------------
# ``MixedHead`` names the parts of an action. They share one log-probability, so the trust region covers both.
env, exam = ht.GearShiftEnv(32, seed=0), ht.GearShiftEnv(64, seed=1)
actor = train(env, MixedHead({"gear": CategoricalHead(3), "push": GaussianHead(1)}), 12_800, finished="include")
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
