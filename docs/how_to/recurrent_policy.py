"""Train a policy with a memory on a partially observed task: find a goal by counting steps."""

import torch
from torchrl.data import Bounded
from torchrl.envs import Compose

import torchrl_htrpo as ht

STEPS, GAMMA = 8, 0.9


class BlindWalk(ht.envs.PositionGoalEnv):
    """Walk along a line; the position is observed at the start only."""

    def __init__(self, num_envs, seed):
        super().__init__(
            Bounded(-1, 1, (1,)), 1, 1, ht.WithinDistance(0.1), horizon=STEPS, num_envs=num_envs, seed=seed
        )

    def sample_start_and_goal(self):
        return self.uniform(1), self.uniform(1)

    def move(self, position, action):
        return position + 0.4 * action.clamp(-1, 1)

    def _step(self, tensordict):
        state = super()._step(tensordict)
        return state.set("observation", torch.zeros_like(state["achieved_goal"]))


def train(with_memory: bool) -> float:
    """Greedy success after 25 batches of 32 episodes."""
    torch.manual_seed(0)
    env, exam = (ht.envs.with_history(BlindWalk(32, seed), STEPS) for seed in (0, 1))
    if with_memory:  # both read the whole episode so far, under the goal of the row
        keys, joins = ("history", "desired_goal"), [ht.modules.GoalMemory(1, 1, hidden_size=16) for _ in range(2)]
        sizes = [join.size for join in joins]
    else:
        keys, joins, sizes = ("observation", "desired_goal"), [None, None], [2, 2]
    actor = ht.make_actor(ht.modules.GaussianHead(1, init_scale=0.5), sizes[0], (32,), encoder=joins[0], in_keys=keys)
    critic = ht.make_critic(sizes[1], (32,), encoder=joins[1], in_keys=keys)
    hindsight = Compose(
        ht.HGFGoalSampler(20), ht.HindsightRelabel(env.task()), ht.CumulativeGoalRatio(actor, gamma=GAMMA)
    )
    prepare = ht.trainers.HindsightPipeline(hindsight, ht.StateValue(critic), ht.GoalVTrace(gamma=GAMMA))
    objective, rows = ht.TrustRegionObjective(actor, critic), ht.RowSampler(1024)
    optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.02, damping=0.05)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for _ in range(25):
        with torch.no_grad():
            relabelled = prepare(env.rollout(STEPS, actor))
        optimizer.step(objective.problem(rows(relabelled)))
        for _ in range(10):
            critic_optimizer.zero_grad()
            objective.loss_critic(rows(relabelled)).backward()
            critic_optimizer.step()
    return ht.evaluate(exam, actor, env.task(), episodes=128, horizon=STEPS, seed=1).success


remembering, forgetting = train(True), train(False)
assert remembering > 0.8 and remembering > forgetting + 0.1, (remembering, forgetting)
