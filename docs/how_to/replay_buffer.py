"""Goals and relabelling as transforms of a ``ReplayBuffer``: learn by imitating what reached some goal."""

import torch
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose

import torchrl_htrpo as ht

BITS = 6

torch.manual_seed(0)
env = ht.BitFlipEnv(BITS, num_envs=16, seed=0)
actor = ht.make_actor(ht.modules.CategoricalHead(BITS), 2 * BITS, (64,))
optimizer = torch.optim.Adam(actor.parameters(), lr=3e-3)

# An item is a trajectory [T], so a sample is [N, T] and comes out as [G, N, T]. Use ReplayBuffer: its relative
# TensorDictReplayBuffer writes an index into the sample after the transforms, and cannot when they change the shape.
buffer = ReplayBuffer(
    storage=LazyTensorStorage(2000),
    transform=Compose(ht.UniformGoalSampler(num_goals=20), ht.HindsightRelabel(env.task())),
    batch_size=32,
)
for _ in range(20):
    with torch.no_grad():
        buffer.extend(env.rollout(BITS, actor))
    for _ in range(20):
        sample = buffer.sample()
        # A pair that ends in a success shows how its goal is reached: imitate its live steps.
        shown = sample["next", "terminated"].any(-2) & sample["collector", "mask"]
        loss = -ht.modules.action_log_prob(actor, sample[shown]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

exam = ht.BitFlipEnv(BITS, num_envs=64, seed=1)
success = ht.evaluate(exam, actor, exam.task(), episodes=64, horizon=BITS, seed=1).success
assert success > 0.8, success
