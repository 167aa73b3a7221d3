"""The transforms in a loop of your own, with TorchRL's ``Collector``."""

import torch
from torchrl.collectors import Collector
from torchrl.envs import Compose
from torchrl.objectives.value import TD0Estimator

import torchrl_htrpo as ht

BITS, GAMMA = 6, 0.9

torch.manual_seed(0)
env = ht.BitFlipEnv(BITS, num_envs=16, seed=0)
actor = ht.make_actor(ht.modules.CategoricalHead(BITS, uniform_share=0.01), 2 * BITS, (64,))
critic = ht.make_critic(2 * BITS, (64,))
hindsight = Compose(ht.AllGoalSampler(), ht.HindsightRelabel(env.task()), ht.CumulativeGoalRatio(actor, gamma=GAMMA))
prepare = ht.trainers.HindsightPipeline(hindsight, ht.StateValue(critic), TD0Estimator(gamma=GAMMA, value_network=None))
objective = ht.TrustRegionObjective(actor, critic)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.02)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
rows, critic_rows = ht.RowSampler(), ht.RowSampler(1024, uniform_share=1.0)

# Whole episodes: a batch is as many steps as the environments take in one, and begins with a reset.
collector = Collector(
    env,
    actor,
    frames_per_batch=16 * BITS,
    total_frames=25 * 16 * BITS,
    reset_at_each_iter=True,
    auto_register_policy_transforms=False,
)
for batch in collector:  # [16, BITS]: a trajectory in a row
    relabelled = prepare(batch)  # [goals, 16, BITS]
    optimizer.step(objective.problem(rows(relabelled)))
    for minibatch in critic_rows.draws(relabelled, 10):
        critic_optimizer.zero_grad()
        objective.loss_critic(minibatch).backward()
        critic_optimizer.step()

exam = ht.BitFlipEnv(BITS, num_envs=64, seed=1)
success = ht.evaluate(exam, actor, exam.task(), episodes=64, horizon=BITS, seed=1).success
assert success > 0.8, success
