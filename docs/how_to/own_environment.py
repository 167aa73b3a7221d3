"""Train on your own environment in ten lines; its reward reads ``info``."""

import tempfile

import gymnasium
import numpy as np
import torch

import torchrl_htrpo as ht


class PointMass(gymnasium.Env):
    """Push a mass in the plane to a goal within 20 steps; ``info`` tells what a push cost."""

    action_space = gymnasium.spaces.Box(-1, 1, (2,))
    observation_space = gymnasium.spaces.Dict(
        observation=gymnasium.spaces.Box(-np.inf, np.inf, (4,)),
        achieved_goal=gymnasium.spaces.Box(-np.inf, np.inf, (2,)),
        desired_goal=gymnasium.spaces.Box(-1, 1, (2,)),
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.speed, self.steps = np.zeros(2), np.zeros(2), 0
        self.goal = self.np_random.uniform(-1, 1, 2)
        return self.seen(), {}

    def step(self, action):
        push = np.clip(action, -1, 1)
        self.speed = 0.6 * self.speed + 0.1 * push
        self.place, self.steps = self.place + self.speed, self.steps + 1
        info = {"cost": float(np.square(push).sum())}
        return self.seen(), self.compute_reward(self.place, self.goal, info), False, self.steps == 20, info

    def seen(self):
        both = np.concatenate((self.place, self.speed))
        seen = {"observation": both, "achieved_goal": self.place, "desired_goal": self.goal}
        return {key: value.astype(np.float32) for key, value in seen.items()}

    def compute_reward(self, achieved, desired, info):
        """The reward of one step or of many: relabelling computes it again for every goal."""
        return 1.0 * (np.linalg.norm(achieved - desired, axis=-1) < 0.15) - 0.001 * info["cost"]


torch.manual_seed(0)
env, exam = (ht.make_goal_env(PointMass, 32, seed=seed, info_keys=["cost"]) for seed in (0, 1))
task = ht.GoalTask.from_gymnasium(env, reached=ht.WithinDistance(0.15), info_keys=["cost"])
actor, critic = ht.make_actor(ht.modules.GaussianHead, env, (64, 64)), ht.make_critic(env, (64, 64))
folder = tempfile.mkdtemp()
trainer = ht.HTRPOTrainer(env, actor, critic, task, horizon=20, total_steps=20_000, directory=folder)
trainer.train()
success = ht.evaluate(exam, actor, task, episodes=200, horizon=20, seed=1).success

assert success >= 0.95, success
