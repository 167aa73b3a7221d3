"""TorchRL's own losses, fed by relabelled batches."""

import torch
from torchrl.envs import Compose
from torchrl.objectives import A2CLoss, ClipPPOLoss
from torchrl.objectives.value import TD0Estimator

import torchrl_htrpo as ht

BITS, GAMMA = 6, 0.9


def train(loss_class: type, epochs: int, lr: float) -> float:
    """Success after 25 batches of 16 episodes."""
    torch.manual_seed(0)
    env = ht.BitFlipEnv(BITS, num_envs=16, seed=0)
    actor, critic = ht.make_actor(ht.modules.CategoricalHead(BITS), 2 * BITS, (64,)), ht.make_critic(2 * BITS, (64,))
    hindsight = Compose(
        ht.AllGoalSampler(), ht.HindsightRelabel(env.task()), ht.CumulativeGoalRatio(actor, gamma=GAMMA)
    )
    prepare = ht.trainers.HindsightPipeline(
        hindsight, ht.StateValue(critic), TD0Estimator(gamma=GAMMA, value_network=None)
    )
    rows = ht.RowSampler()
    # What the losses read (these are their default keys):
    #   advantage          of the action under the new goal, without any ratio;
    #   action_log_prob    log pi_old(a|s, NEW goal): PPO's ratio is about the policy, not about the goal;
    #   value_target       of the critic under the new goal.
    # The behaviour's own log-probability, under the goal that was pursued, is original_log_prob. What the change of
    # goal costs is in importance_weight, which no loss of TorchRL knows: take the losses row by row, and weigh them.
    loss = loss_class(actor, critic, reduction="none", entropy_bonus=False)
    optimizer = torch.optim.Adam(loss.parameters(), lr=lr)
    for _ in range(25):
        with torch.no_grad():
            batch = rows(prepare(env.rollout(BITS, actor)))  # [rows], their weights add up to 1
        for _ in range(epochs):
            terms, weight = loss(batch), batch["importance_weight"]
            total = (weight * terms["loss_objective"].reshape(-1)).sum() + terms["loss_critic"].mean()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    exam = ht.BitFlipEnv(BITS, num_envs=64, seed=1)
    return ht.evaluate(exam, actor, exam.task(), episodes=64, horizon=BITS, seed=1).success


ppo = train(ClipPPOLoss, epochs=10, lr=3e-3)
a2c = train(A2CLoss, epochs=1, lr=1e-2)  # its gradient is that of the collecting policy: one step for each batch
assert ppo > 0.8 and a2c > 0.3, (ppo, a2c)
