"""A mixed policy on your own gymnasium environment, whose actions are a ``Dict`` of discrete and continuous parts."""

import tempfile

import gymnasium
import numpy as np
import torch

import torchrl_htrpo as ht


class Crane(gymnasium.Env):
    """Drive along a line in the gear chosen, backwards or forwards, to a goal within 8 steps."""

    action_space = gymnasium.spaces.Dict(gear=gymnasium.spaces.Discrete(2), push=gymnasium.spaces.Box(0, 1, (1,)))
    observation_space = gymnasium.spaces.Dict(
        dict.fromkeys(("observation", "achieved_goal", "desired_goal"), gymnasium.spaces.Box(-9, 9, (1,)))
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps, self.goal = np.zeros(1), 0, self.np_random.uniform(-1, 1, 1)
        return self.seen(), {}

    def step(self, action):
        self.place = self.place + 0.4 * (2 * action["gear"] - 1) * np.clip(action["push"], 0, 1)
        self.steps += 1
        return self.seen(), 0.0, False, self.steps == 8, {}

    def seen(self):
        seen = {"observation": self.place, "achieved_goal": self.place, "desired_goal": self.goal}
        return {key: value.astype(np.float32) for key, value in seen.items()}


torch.manual_seed(0)
env, exam = (ht.make_goal_env(Crane, 32, seed=seed) for seed in (0, 1))
parts = {"gear": ht.modules.CategoricalHead(2), "push": ht.modules.GaussianHead(1)}
head = ht.modules.MixedHead(parts)  # writes ("action", "gear") and ("action", "push")
actor, critic = ht.make_actor(head, 2, (32, 32)), ht.make_critic(2, (32, 32))
task, folder = ht.GoalTask(ht.WithinDistance(0.1)), tempfile.mkdtemp()
before = ht.evaluate(exam, actor, task, episodes=200, horizon=8, seed=1).success
ht.HTRPOTrainer(env, actor, critic, task, horizon=8, total_steps=6_000, directory=folder).train()
success = ht.evaluate(exam, actor, task, episodes=200, horizon=8, seed=1).success

assert success > 0.8 > before + 0.3, (before, success)
