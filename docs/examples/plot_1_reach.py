"""
FetchReach in a minute
======================

Environment, task, policy, critic, evaluator, trainer: HTRPO moves the hand of a real MuJoCo robot to its goal, with a
reward of 0 everywhere but at the goal.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import torchrl_htrpo as ht
from torchrl_htrpo.records import read_table

torch.manual_seed(0)

# %%
# Environment, task, networks
# ---------------------------
# 16 robots are stepped at once. The policy is a Gaussian; it and the critic read observation and goal, normalised with
# running statistics of their own.
env, exam = (ht.make_goal_env("reach", num_envs=16, seed=seed) for seed in (0, 1))
task = ht.GoalTask(ht.WithinDistance(0.05), success_reward=10.0)  # a goal is reached within 5 cm
normalizer = ht.make_normalizer(env)
actor = ht.make_actor(ht.modules.GaussianHead, env, (128, 128), encoder=normalizer)
critic = ht.make_critic(env, (128, 128), encoder=normalizer)

# %%
# Training
# --------
# Each batch is one episode of every robot (800 steps), trained on together with the three batches before it.
folder = Path(tempfile.mkdtemp())
trainer = ht.HTRPOTrainer(
    env,
    actor,
    critic,
    task,
    horizon=50,
    total_steps=5_200,
    warmup_steps=320,
    replay_batches=4,
    gradient_rows=8192,
    curvature_rows=4096,
    critic_updates=20,
    critic_batch_size=2048,
    evaluator=ht.Evaluator(exam, task, horizon=50, episodes=50),
    directory=folder,
)
trainer.train()

# %%
# The learning curve
# ------------------
# Greedy success on goals that were not trained on, with its 95 % interval.
table = read_table(folder / "metrics.csv")
steps, success = zip(*table["eval/success"], strict=True)
low, high = ([value for _, value in table[f"eval/success_{end}"]] for end in ("low", "high"))
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.plot(steps, success, marker="o", ms=3)
axes.fill_between(steps, low, high, alpha=0.2)
axes.set(xlabel="environment steps", ylabel="success rate", ylim=(0, 1.02), title="FetchReach")
axes.grid(alpha=0.3)
plt.show()

# %%
# What the hand does
# ------------------
# The distance to the goal in ten greedy episodes.
env = ht.make_goal_env("reach", num_envs=10, seed=2)
episodes = ht.evaluation.collect_episodes(env, actor, 10, 50)
env.close()
distance = torch.linalg.vector_norm(episodes["next", "achieved_goal"] - episodes["desired_goal"], dim=-1)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(100 * distance.T, color="tab:blue", alpha=0.6)
axes.axhline(5, color="black", ls=":", label="reached")
axes.set(xlabel="step", ylabel="distance to the goal [cm]", ylim=(0, None))
axes.legend()
plt.show()
