"""An environment of your own, and a reward that reads what its ``info`` says."""

import gymnasium
import numpy as np
import torch
from torchrl.data import Unbounded
from torchrl.envs import Compose, GymWrapper, default_info_dict_reader

import torchrl_htrpo as ht

GAMMA = 0.95


class Slide(gymnasium.Env):
    """Move along a line to a goal; ``info`` tells what a push cost."""

    observation_space = gymnasium.spaces.Dict(
        {key: gymnasium.spaces.Box(-4, 4, (1,)) for key in ("observation", "achieved_goal", "desired_goal")}
    )
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = np.zeros(1, np.float32), 0
        self.goal = self.np_random.uniform(0.5, 1.5, 1).astype(np.float32) * self.np_random.choice([-1, 1])
        return self.seen(), {"cost": np.zeros(1, np.float32)}

    def step(self, action):
        self.place, self.steps = self.place + 0.3 * np.clip(action, -1, 1), self.steps + 1
        return self.seen(), 0.0, False, self.steps == 8, {"cost": np.abs(action).astype(np.float32)}

    def seen(self):
        place = self.place.astype(np.float32)
        return {"observation": place, "achieved_goal": place, "desired_goal": self.goal.astype(np.float32)}


def make() -> GymWrapper:
    costs = default_info_dict_reader(["cost"], spec={"cost": Unbounded((1,))})
    return GymWrapper(Slide()).set_info_dict_reader(costs)


def reward(td):
    """Ten for the first success, less the cost of the way: computed again for every goal that a trajectory is given."""
    success = ht.WithinDistance(0.1)(td["next", "achieved_goal"], td["desired_goal"])
    first = success & (success.cumsum(-1) == 1)
    return 10.0 * first.unsqueeze(-1) - 0.1 * td["next", "cost"]


torch.manual_seed(0)
task = ht.GoalTask(ht.WithinDistance(0.1), reward)
env, exam = ht.make_goal_env(make, 16, seed=0), ht.make_goal_env(make, 16, seed=1)
actor, critic = ht.make_actor(ht.modules.GaussianHead(1), 2, (32, 32)), ht.make_critic(2, (32, 32))
hindsight = Compose(ht.HGFGoalSampler(20), ht.HindsightRelabel(task), ht.CumulativeGoalRatio(actor, gamma=GAMMA))
prepare = Compose(hindsight, ht.StateValue(critic), ht.GoalVTrace(gamma=GAMMA))
objective, rows = ht.TrustRegionObjective(actor, critic), ht.RowSampler(4096)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.02, damping=0.05)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)

before = ht.evaluate(exam, actor, task, episodes=64, horizon=8, seed=1)
for _ in range(20):
    with torch.no_grad():
        relabelled = prepare(env.rollout(8, actor))
    optimizer.step(objective.problem(rows(relabelled)))
    for _ in range(10):
        critic_optimizer.zero_grad()
        objective.loss_critic(rows(relabelled)).backward()
        critic_optimizer.step()
after = ht.evaluate(exam, actor, task, episodes=64, horizon=8, seed=1)

live = relabelled["collector", "mask"]
assert torch.equal(relabelled["next", "reward"][live], reward(relabelled)[live])
assert after.success > 0.8 > before.success + 0.3, (before, after)
