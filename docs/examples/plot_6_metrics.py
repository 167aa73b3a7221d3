"""
Reading the metrics of a run
============================

Two runs on a maze, one with a radius that works and one that is far too large, and what their ``metrics.csv`` says.
:doc:`/metrics` defines every column, :doc:`/troubleshooting` says what to do.
"""

import tempfile
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import torchrl_htrpo as ht
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.records import read_table


def run(radius: float) -> dict[str, list[tuple[int, float]]]:
    """Train on the empty room; return the metrics, each a list of (environment steps, value)."""
    torch.manual_seed(0)
    env, exam = (ht.GridMazeEnv("empty_room", num_envs=8, seed=seed) for seed in (0, 1))
    task, normalizer = env.task("sparse", success_reward=10.0), ht.make_normalizer(env)
    actor = ht.make_actor(CategoricalHead(4, uniform_share=0.02), env, (64, 64), encoder=normalizer)
    critic = ht.make_critic(env, (64, 64), encoder=normalizer)
    folder = Path(tempfile.mkdtemp())
    ht.HTRPOTrainer(
        env,
        actor,
        critic,
        task,
        horizon=32,
        total_steps=4_608,
        warmup_steps=512,
        replay_batches=8,
        optimizer=partial(ht.TrustRegionOptimizer, max_divergence=radius, damping=0.05),
        gradient_rows=4096,
        curvature_rows=2048,
        critic_updates=10,
        critic_batch_size=2048,
        evaluator=ht.Evaluator(exam, task, horizon=32, every=2, episodes=100),
        directory=folder,
    ).train()
    return read_table(folder / "metrics.csv")


runs = {radius: run(radius) for radius in (0.01, 1.0)}

# %%
# Does it learn?
# --------------
# ``hindsight/solved_share`` moves first: the share of pairs of a trajectory and a goal that end in a success.
# ``eval/success`` follows. The share may fall later, since a policy that goes straight to its goal passes fewer others.


def draw(*names: str) -> None:
    """Draw metrics over environment steps."""
    _, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        for radius, table in runs.items():
            axis.plot(*zip(*table[name], strict=True), label=f"radius {radius}")
        axis.set(title=name, xlabel="environment steps", yscale="log" if name == "step/divergence" else "linear")
        axis.grid(alpha=0.3)
    axes[0].legend()
    plt.show()


draw("hindsight/solved_share", "eval/success")

# %%
# Is there data behind the update?
# --------------------------------
# The effective sample size (ESS) is high while the policy ignores its goal, and falls when it starts to depend on it.
# ``hindsight/trajectories`` is the same for each goal and step: near 1, one trajectory has all the weight, and nothing
# can be learned for that goal. More trajectories (``replay_batches``) help.
draw("hindsight/ess", "hindsight/trajectories", "hindsight/goals")

# %%
# Is the step taken?
# ------------------
# ``step/accepted`` is 1 for an accepted step. ``step/divergence`` should be near the radius (at most 1.5 times), and
# ``step/step_fraction`` near 1. Here every step is accepted: the large radius shows in the line search that halves, and
# in ``eval/success``, which rises and falls.
draw("step/accepted", "step/divergence", "step/step_fraction")
accepted = {radius: [value for _, value in table["step/accepted"]] for radius, table in runs.items()}
{radius: sum(values) / len(values) for radius, values in accepted.items()}

# %%
# Why a step was refused
# ----------------------
# A run logs the status of a refused step as a warning. In a loop of your own it is in the result. Here every goal
# already holds where its trajectory began, so that no row is left:
env = ht.GridMazeEnv("empty_room", num_envs=8, seed=0)
actor, critic = ht.make_actor(CategoricalHead(4), env, (16,)), ht.make_critic(env, (16,))
batch = env.rollout(4, actor)
batch["next", "achieved_goal"] = batch["achieved_goal"] = batch["achieved_goal"][:, :1].expand(-1, 4, -1).clone()
rows = ht.hindsight_pipeline(actor, critic, env.task())(batch)
objective = ht.TrustRegionObjective(actor, critic)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.01)
result = optimizer.step(objective.problem(ht.RowSampler()(rows)))
print(result.status.name, "-", result.status.value)
