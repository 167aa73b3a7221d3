"""Take one trust-region step with several processes, each with its own trajectories.

torchrun --nproc-per-node 2 docs/how_to/several_processes.py
"""

import torch
import torch.distributed as dist
from torchrl.envs import Compose
from torchrl.objectives.value import TD0Estimator

import torchrl_htrpo as ht
from torchrl_htrpo.trainers import descend

BITS, GAMMA = 6, 0.9

dist.init_process_group("gloo")  # "nccl" for one GPU each
group, rank, processes = dist.group.WORLD, dist.get_rank(), dist.get_world_size()

torch.manual_seed(0)  # the same networks everywhere, and
actor = ht.make_actor(ht.modules.CategoricalHead(BITS, uniform_share=0.01), 2 * BITS, (64,))
critic = ht.make_critic(2 * BITS, (64,))
torch.manual_seed(rank)  # from here on, other episodes
env = ht.BitFlipEnv(BITS, num_envs=8, seed=rank)
# All processes use the goals that any of them achieves, and the weights are shares of the sums over all of them.
goals, weights = ht.AllGoalSampler(process_group=group), ht.CumulativeGoalRatio(actor, gamma=GAMMA, process_group=group)
hindsight = Compose(goals, ht.HindsightRelabel(env.task()), weights)
prepare = ht.trainers.HindsightPipeline(hindsight, ht.StateValue(critic), TD0Estimator(gamma=GAMMA, value_network=None))
objective = ht.TrustRegionObjective(actor, critic)
optimizer = ht.TrustRegionOptimizer(objective.trainable_params, max_divergence=0.02)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
rows, critic_rows = ht.RowSampler(), ht.RowSampler(1024, uniform_share=1.0)

for _ in range(25):
    with torch.no_grad():
        relabelled = prepare(env.rollout(BITS, actor))
    optimizer.step(objective.problem(rows(relabelled), process_group=group))
    for minibatch in critic_rows.draws(relabelled, 10):
        descend(critic_optimizer, objective.loss_critic(minibatch) / processes, group)

for parameter in [*actor.parameters(), *critic.parameters()]:  # they never parted
    others = [torch.empty_like(parameter) for _ in range(processes)]
    dist.all_gather(others, parameter.detach())
    assert all(torch.equal(parameter, other) for other in others)
exam = ht.BitFlipEnv(BITS, num_envs=64, seed=2)
success = ht.evaluate(exam, actor, exam.task(), episodes=64, horizon=BITS, seed=1).success
assert success > 0.8, success
dist.destroy_process_group()
