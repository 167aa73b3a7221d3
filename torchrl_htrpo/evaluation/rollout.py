"""Run evaluation episodes and count successes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase, ExplorationType, set_exploration_type

from torchrl_htrpo._errors import count
from torchrl_htrpo.batch.mask import beyond_end
from torchrl_htrpo.distributed import Group, all_mean, size_of
from torchrl_htrpo.envs.goal import GoalTask, first
from torchrl_htrpo.evaluation.statistics import success_interval
from torchrl_htrpo.modules.actor_check import check_actor
from torchrl_htrpo.records.checkpoints import EnvRandomness


@dataclass(frozen=True)
class Evaluation:
    """Results of evaluation episodes.

    Args:
        success: share of episodes that reached their goal at any step.
        success_low: lower end of its 95 % interval (Wilson).
        success_high: upper end.
        success_last: share of episodes that ended with the goal reached.
        episode_return: mean undiscounted return, under the task's reward.
        length: mean steps to the first success (the whole episode where there is none).
        episodes: how many there were.
    """

    success: float
    success_low: float
    success_high: float
    success_last: float
    episode_return: float
    length: float
    episodes: int

    def metrics(self) -> dict[str, float]:
        """All results as a dictionary, for a logger."""
        return {key: float(value) for key, value in asdict(self).items()}


def collect_episodes(
    env: EnvBase,
    actor: TensorDictModuleBase,
    episodes: int,
    horizon: int,
    *,
    exploration: ExplorationType = ExplorationType.DETERMINISTIC,
) -> TensorDictBase:
    """Collect whole episodes ``[episodes, horizon]``; if one ends early, the next one starts in its row.

    Args:
        env: a batch of environments that truncate after ``horizon`` steps, or earlier.
        actor: the policy.
        episodes: how many (rounded up to whole batches, then cut).
        horizon: steps of an episode.
        exploration: type of the actions; by default greedy.

    Returns:
        The trajectories.

    Raises:
        KeyError: if the policy does not write the environment's action.
        ValueError: if its actions do not fit the environment (:func:`~torchrl_htrpo.modules.check_actor`).
    """
    for name, value in (("episodes", episodes), ("horizon", horizon)):
        count("evaluate", name, value)
    check_actor(actor, env)
    rounds = -(-episodes // env.batch_size.numel())
    with torch.no_grad(), set_exploration_type(exploration):
        cast = elsewhere(actor, env)
        parts = [
            env.rollout(horizon, actor, break_when_any_done=False, auto_cast_to_device=cast) for _ in range(rounds)
        ]
    return torch.cat([part.reshape(-1, horizon) for part in parts])[:episodes]


def elsewhere(actor: TensorDictModuleBase, env: EnvBase) -> bool:
    """Whether the policy is on another device than the environment; an unneeded cast would synchronise."""
    parameter = next(actor.parameters(), None)
    return parameter is not None and parameter.device.type != (env.device or torch.device("cpu")).type


def evaluate(
    env: EnvBase,
    actor: TensorDictModuleBase,
    task: GoalTask,
    *,
    episodes: int,
    horizon: int,
    seed: int | None = None,
    exploration: ExplorationType = ExplorationType.DETERMINISTIC,
) -> Evaluation:
    """Run episodes, by default with greedy actions, and count successes.

    Args:
        env: a batch of environments that truncate after ``horizon`` steps, or earlier. It is reset, so do not pass the
            environment of a collector.
        actor: the policy.
        task: the goal task.
        episodes: number of episodes.
        horizon: steps of an episode.
        seed: of the environment and of sampled actions, so that every evaluation has the same goals. The random states
            of torch and of the environment are restored afterwards (the latter if it has ``rng_state`` and
            ``set_rng_state``, as this library's environments do).
        exploration: type of the actions. For partially observed tasks sample actions: the best policy without memory
            may be stochastic.

    Returns:
        The figures.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> env = BitFlipEnv(4, num_envs=8)
        >>> evaluate(env, make_actor(CategoricalHead(4), 8), env.task(), episodes=16, horizon=4, seed=0).episodes
        16
    """
    if seed is None:
        return summarize(collect_episodes(env, actor, episodes, horizon, exploration=exploration), task)
    randomness = EnvRandomness(env)
    before = randomness.state_dict()
    env.set_seed(count("evaluate", "seed", seed, 0))
    with torch.random.fork_rng():
        torch.manual_seed(
            int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
        )  # a generator of its own, independent of the environment's
        found = summarize(collect_episodes(env, actor, episodes, horizon, exploration=exploration), task)
    randomness.load_state_dict(before)
    return found


def summarize(episodes: TensorDictBase, task: GoalTask) -> Evaluation:
    """Count the successes of whole episodes ``[N, T]``; a row with several counts for its first one."""
    success = task.success(episodes)
    done = episodes.get(("next", "done"), default=torch.zeros_like(success).unsqueeze(-1)).squeeze(-1)
    lasts = ~beyond_end(done)
    success = success & lasts
    reached, count = success.any(-1), success.shape[0]
    low, high = success_interval(int(reached.sum()), count)
    reward = task.compute_reward(episodes).squeeze(-1) * lasts
    length = lasts.sum(-1)
    return Evaluation(
        success=_mean(reached),
        success_low=low,
        success_high=high,
        success_last=_mean(success.gather(-1, length.unsqueeze(-1) - 1)),
        episode_return=_mean(reward.sum(-1)),
        length=_mean(_steps_to_success(success, length)),
        episodes=count,
    )


def over_processes(found: Evaluation, group: Group) -> Evaluation:
    """Results of the episodes of all processes of a group, each of which has run equally many."""
    if group is None:
        return found
    means = all_mean(found.metrics(), group)
    episodes = found.episodes * size_of(group)
    low, high = success_interval(round(means["success"] * episodes), episodes)
    kept = {name: means[name] for name in ("success", "success_last", "episode_return", "length")}
    return replace(found, success_low=low, success_high=high, episodes=episodes, **kept)


def _steps_to_success(success: Tensor, length: Tensor) -> Tensor:
    steps = torch.arange(1, success.shape[-1] + 1, device=success.device)
    return torch.where(success.any(-1), (first(success) * steps).sum(-1), length)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
