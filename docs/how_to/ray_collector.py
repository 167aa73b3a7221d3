"""Collect on a Ray cluster: only the line of the collector differs from your own loop."""

import ray
import torch
from torchrl.collectors import Collector
from torchrl.collectors.distributed import RayCollector
from torchrl.envs import Compose

import torchrl_htrpo as ht


def make_env() -> ht.BitFlipEnv:
    return ht.BitFlipEnv(4, num_envs=8)


if __name__ == "__main__":
    torch.manual_seed(0)
    ray.init(num_cpus=2, include_dashboard=False)
    actor = ht.make_actor(ht.modules.CategoricalHead(4), 8, (16,))
    hindsight = Compose(ht.AllGoalSampler(), ht.HindsightRelabel(make_env().task()), ht.CumulativeGoalRatio(actor))
    collector = RayCollector(
        [make_env, make_env],
        actor,
        collector_class=Collector,
        collector_kwargs={"reset_at_each_iter": True, "auto_register_policy_transforms": False},
        remote_configs={"num_cpus": 1, "num_gpus": 0},
        num_collectors=2,
        frames_per_batch=2 * 8 * 4,
        total_frames=2 * 2 * 8 * 4,
        sync=True,
    )
    for batch in collector:
        trajectories = batch.reshape(-1, 4)  # whole episodes of four steps
        assert ht.QKLLoss(actor)(hindsight(trajectories))["loss_qkl"] < 1e-9
        collector.update_policy_weights_()  # after a step: the weights of the workers are copies
    collector.shutdown()
    ray.shutdown()
