"""
Goals chosen by HGF on FetchPush
================================

Hindsight Goal Filtering (Algorithm 2) chooses, among the achieved goals of a batch, those that cover the region of
the task's own goals. Uniform choice follows the density of what was achieved: a random hand touches few objects, and
those that it pushes leave many goals, also outside of that region.
"""

import matplotlib.pyplot as plt
import torch

from torchrl_htrpo import FetchEnv, HGFGoalSampler, UniformGoalSampler

torch.manual_seed(0)

# %%
# A batch of FetchPush, with random actions
# -----------------------------------------
# 64 episodes of 50 steps: 3200 achieved goals, the positions of the object.
env = FetchEnv("push", num_envs=64, seed=0)
batch = env.rollout(50)
env.close()
achieved, original = batch["next", "achieved_goal"], batch["desired_goal"][:, 0]
moved = torch.linalg.vector_norm(achieved[:, -1] - batch["achieved_goal"][:, 0], dim=-1) > 0.01
print(f"{moved.sum()} of {len(moved)} objects moved by more than a centimetre")

# %%
# Forty goals by either rule
# --------------------------
# A goal sampler reads a batch and writes goals, shared by all trajectories.
samplers = {"HGF": HGFGoalSampler(num_goals=40), "uniform": UniformGoalSampler(num_goals=40)}
chosen = {name: sampler(batch)["hindsight", "goal"][0, 0] for name, sampler in samplers.items()}

# %%
# Seen from above
# ---------------
figure, axes = plt.subplots(1, 2, figsize=(8, 4.4), sharex=True, sharey=True, layout="constrained")
for axis, (name, goals) in zip(axes, chosen.items(), strict=True):
    axis.scatter(*achieved.flatten(0, 1)[:, :2].T, s=3, color="0.75", label="achieved")
    axis.scatter(*original[:, :2].T, s=14, marker="x", color="tab:blue", label="the task's own goals")
    axis.scatter(*goals[:, :2].T, s=16, color="tab:red", label="hindsight goals")
    axis.set(title=name, xlabel="x [m]", aspect="equal", xlim=(1.1, 1.6), ylim=(0.5, 1.0))
axes[0].set_ylabel("y [m]")
axes[0].legend(loc="lower left", fontsize="small")
plt.show()

# %%
# How well they cover the task's own goals: the mean distance from one of those to the nearest hindsight goal [cm].
{name: round(100 * torch.cdist(original, goals).min(-1).values.mean().item(), 1) for name, goals in chosen.items()}
