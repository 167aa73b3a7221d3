"""Run environments in worker processes: only the line that creates them differs."""

import torch
from torchrl.collectors import Collector
from torchrl.envs import Compose, ParallelEnv

import torchrl_htrpo as ht


def make_env() -> ht.BitFlipEnv:
    return ht.BitFlipEnv(4, num_envs=8)


if __name__ == "__main__":
    torch.manual_seed(0)
    actor = ht.make_actor(ht.modules.CategoricalHead(4), 8, (16,))
    hindsight = Compose(ht.HGFGoalSampler(5), ht.HindsightRelabel(make_env().task()), ht.CumulativeGoalRatio(actor))

    env = ParallelEnv(2, make_env)  # [2, 8] environments
    env.set_seed(0)
    collector = Collector(
        env,
        actor,
        frames_per_batch=2 * 8 * 4,
        total_frames=3 * 2 * 8 * 4,
        reset_at_each_iter=True,
        auto_register_policy_transforms=False,
    )
    for batch in collector:  # [2, 8, 4]: transforms take any leading shape, a trajectory in a row
        relabelled = hindsight(batch)  # [goals, 2, 8, 4]
        assert relabelled.shape[1:] == (2, 8, 4)
        assert ht.QKLLoss(actor)(relabelled)["loss_qkl"] < 1e-9  # the policy has not moved
    assert not torch.equal(batch["desired_goal"][0, :, 0], batch["desired_goal"][1, :, 0])  # each process its own goals
    collector.shutdown()
