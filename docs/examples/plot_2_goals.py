"""
Goals chosen by HGF, and uniformly
==================================

Hindsight Goal Filtering (Algorithm 2) picks, among the goals a batch achieved, those that cover the region where the
task's own goals lie. Uniform choice follows the density of what was achieved, and that is highest where every episode
starts.
"""

import matplotlib.pyplot as plt
import torch

from torchrl_htrpo import FetchEnv, HGFGoalSampler, UniformGoalSampler

torch.manual_seed(0)

# %%
# A batch of FetchReach, with random actions
# ------------------------------------------
# 32 episodes of 50 steps: 1600 achieved goals.
env = FetchEnv("reach", num_envs=32, seed=0)
batch = env.rollout(50)
env.close()
achieved = batch["next", "achieved_goal"].flatten(0, 1)
original = batch["desired_goal"][:, 0]

# %%
# Forty goals by either rule
# --------------------------
# A goal sampler reads a batch and writes goals, shared by all trajectories.
samplers = {"HGF": HGFGoalSampler(num_goals=40), "uniform": UniformGoalSampler(num_goals=40)}
chosen = {name: sampler(batch)["hindsight", "goal"][0, 0] for name, sampler in samplers.items()}

# %%
# Seen from above
# ---------------
figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True, layout="constrained")
for axis, (name, goals) in zip(axes, chosen.items(), strict=True):
    axis.scatter(*achieved[:, :2].T, s=3, color="0.8", label="achieved")
    axis.scatter(*original[:, :2].T, s=14, marker="x", color="tab:blue", label="original goals")
    axis.scatter(*goals[:, :2].T, s=16, color="tab:red", label="hindsight goals")
    axis.set(title=name, xlabel="x [m]", aspect="equal")
axes[0].set_ylabel("y [m]")
axes[0].legend(loc="lower left", fontsize="small")
plt.show()

# %%
# How far the chosen goals lie from each other [m]: the smallest distance between any two.
{name: round(torch.pdist(goals).min().item(), 4) for name, goals in chosen.items()}
