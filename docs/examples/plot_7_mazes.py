"""
Mazes
=====

The empty room of Hindsight Policy Gradients in seconds, and where a policy that has learned a little gets to. A maze is
a drawing: the same code walks in one of your own.
"""

import matplotlib.pyplot as plt
import torch
from tensordict.nn import TensorDictSequential
from torchrl.collectors import Collector
from torchrl.envs import Compose

import torchrl_htrpo as ht

torch.manual_seed(0)

# %%
# Three mazes
# -----------
# Walls are black, starts are orange. In the four rooms one action in five comes out as a random one.
drawing = ("S....", ".###.", "...#.", ".#.#.", ".#...")
layouts = {"empty_room": "empty_room", "four_rooms": "four_rooms", "a drawing": drawing}
figure, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for one, (name, layout) in zip(axes, layouts.items(), strict=True):
    maze = ht.GridMazeEnv(layout)
    one.imshow(maze.free, cmap="gray")
    one.scatter(*maze.starts.flip(-1).unbind(-1), color="tab:orange")
    one.set(title=name, xticks=[], yticks=[])
plt.show()

# %%
# A few iterations of HTRPO
# -------------------------
# Observation and goal are cells (row, column); 32 walkers, each distinct cell reached is a hindsight goal.
env = ht.GridMazeEnv("empty_room", num_envs=32, seed=0)
task = env.task("sparse", success_reward=10.0)
normalizer = ht.modules.GoalNormalizer(2, 2)
normalizer.update(*[env.reset()["desired_goal"]] * 2)
actor = ht.make_actor(ht.modules.CategoricalHead(4), 4, (64, 64), encoder=normalizer)
critic = ht.make_critic(4, (64, 64), encoder=normalizer)
hindsight = Compose(
    ht.UniformGoalSampler(30, skip_held=task.reached), ht.HindsightRelabel(task), ht.CumulativeGoalRatio(actor)
)
advantage = TensorDictSequential(ht.StateValue(critic), ht.GoalVTrace())
rows, some = ht.RowSampler(4096), ht.RowSampler(2048, uniform_share=1.0)
objective = ht.TrustRegionObjective(actor, critic)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.02)
adam = torch.optim.Adam(critic.parameters(), lr=1e-3)

for batch in Collector(env, actor, frames_per_batch=1024, total_frames=8192):
    relabelled = advantage(hindsight(batch))
    result = optimizer.step(objective.problem(rows(relabelled)))
    for minibatch in some.draws(relabelled, 10):
        loss = objective.loss_critic(minibatch)
        adam.zero_grad()
        loss.backward()
        adam.step()

# %%
# Where it gets to
# ----------------
# One greedy episode for each cell: reached or not, and in how many steps.
episodes = ht.evaluation.collect_episodes(ht.GridMazeEnv("empty_room", num_envs=512, seed=1), actor, 512, 32)
success = task.success(episodes)
steps = torch.where(success.any(-1), success.int().argmax(-1) + 1.0, torch.nan)
goals = episodes["desired_goal"][:, 0].long()
map_of_steps = torch.full(env.free.shape, torch.nan)
map_of_steps[goals[:, 0], goals[:, 1]] = steps
figure, axes = plt.subplots(figsize=(4, 3.4), layout="constrained")
shown = axes.imshow(map_of_steps)
axes.set(title=f"steps to each goal; success {success.any(-1).float().mean():.2f}", xticks=[], yticks=[])
figure.colorbar(shown)
plt.show()
