"""Export a trained policy with ``torch.export``, and run it on a plain gymnasium environment without this library."""

import tempfile
from pathlib import Path

import gymnasium
import gymnasium_robotics
import torch
from torchrl.envs import ExplorationType, set_exploration_type

import torchrl_htrpo as ht

# 1. Where it was trained: a run's folder, here a policy kept in the repository. Greedy actions only.
policy = ht.load_policy(Path(__file__).parents[2] / "policies/reach").eval().select_out_keys("action")
observation, goal = torch.zeros(1, 10), torch.zeros(1, 3)  # one state of FetchReach
file = Path(tempfile.mkdtemp()) / "reach.pt2"
with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
    exported = torch.export.export(policy, args=(), kwargs={"observation": observation, "desired_goal": goal})
torch.export.save(exported, file)

# 2. Where it acts: torch and the environment, nothing else.
act = torch.export.load(file).module()
gymnasium.register_envs(gymnasium_robotics)
env = gymnasium.make("FetchReach-v4")
reached = 0
for episode in range(5):
    seen, _ = env.reset(seed=episode)
    over = False
    while not over:
        state, goal = (torch.tensor(seen[key], dtype=torch.float32)[None] for key in ("observation", "desired_goal"))
        action = act(observation=state, desired_goal=goal)[0].detach().numpy()
        seen, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated or info["is_success"]
    reached += bool(info["is_success"])

assert reached == 5, reached
