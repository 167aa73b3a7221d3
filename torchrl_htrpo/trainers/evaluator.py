"""Evaluate a policy during training."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase, ExplorationType

from torchrl_htrpo._errors import choice, count, number
from torchrl_htrpo.distributed import Group, roll_call, seed_of, size_of, watch_of
from torchrl_htrpo.envs import GoalTask
from torchrl_htrpo.envs.adapters.finite_guard import guarded
from torchrl_htrpo.evaluation.rollout import evaluate, over_processes
from torchrl_htrpo.evaluation.video import check_drawable, record_frames

Metric = Literal["success", "success_last"]


@dataclass
class Evaluator:
    """Evaluate a policy every few iterations and at the end, on the same starts and goals each time.

    Args:
        env: the evaluation environment, another one than the training environment.
        task: the goal task.
        horizon: steps of an episode.
        every: iterations between evaluations.
        episodes: of each evaluation.
        final_episodes: of the last one.
        exploration: which action the policy is asked for (``torchrl.envs.ExplorationType``).
        seed: of starts and goals.
        target: stop the training when an evaluation reaches this success rate. Default: never.
        target_evaluations: evaluations in a row that must reach ``target``.
        metric: the success rate that ``target`` is compared with and that decides which checkpoint is the best: at any
            step, or at the last step.
        film: an environment that can be drawn, for a GIF at the end of the training. Default: no GIF.
        process_group: processes that evaluate together, each its share of the episodes.

    Raises:
        ValueError: if a number is out of range.
        RuntimeError: if ``film`` cannot be drawn.

    Example:
        >>> from torchrl_htrpo import BitFlipEnv, make_actor
        >>> from torchrl_htrpo.modules import CategoricalHead
        >>> env = BitFlipEnv(4, num_envs=8)
        >>> evaluator = Evaluator(env, env.task(), horizon=4, episodes=16)
        >>> evaluator(make_actor(CategoricalHead(4), 8), last=False)["eval/episodes"]
        16.0
    """

    env: EnvBase
    task: GoalTask
    horizon: int
    every: int = 1
    episodes: int = 64
    final_episodes: int = 200
    exploration: ExplorationType = ExplorationType.DETERMINISTIC
    seed: int = 10_000
    target: float | None = None
    metric: Metric = "success"
    film: EnvBase | None = None
    process_group: Group = None
    target_evaluations: int = 1
    _env: EnvBase = field(init=False, repr=False)
    _watch: Group = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("horizon", "every", "episodes", "final_episodes", "target_evaluations"):
            count(self, name, getattr(self, name))
        count(self, "seed", self.seed, 0)
        choice(self, "metric", self.metric, get_args(Metric))
        if self.target is not None:
            number(self, "target", self.target, 0, 1, above=True)
        if self.film is not None:
            check_drawable(self, self.film)
        self._watch = watch_of(self.process_group)
        self._env = guarded(self.env)

    def is_due(self, iteration: int, last: bool) -> bool:
        """Whether to evaluate in an iteration, counted from 0."""
        return last or iteration % self.every == 0

    def __call__(self, actor: TensorDictModuleBase, last: bool) -> dict[str, float]:
        """Evaluate the policy; return metrics."""
        found = evaluate(
            self._env,
            actor,
            self.task,
            episodes=-(-(self.final_episodes if last else self.episodes) // size_of(self.process_group)),
            horizon=self.horizon,
            seed=seed_of(self.seed, self.process_group),
            exploration=self.exploration,
        )
        roll_call(self._watch, "evaluate")
        found = over_processes(found, self.process_group)
        return {f"eval/{name}": figure for name, figure in found.metrics().items()}

    def target_reached(self, metrics: Mapping[str, float]) -> bool:
        """Whether an evaluation reached the target."""
        return self.target is not None and metrics[f"eval/{self.metric}"] >= self.target

    def count_target(self, progress: MutableMapping[str, float], metrics: Mapping[str, float]) -> bool:
        """Count evaluations in a row that reached the target; return whether they are enough."""
        progress["at_target"] = progress.get("at_target", 0) + 1 if self.target_reached(metrics) else 0
        return progress["at_target"] >= self.target_evaluations

    def was_at_target(self, progress: Mapping[str, float]) -> bool:
        """Whether a run was at its target when it was saved."""
        found = {f"eval/{name}": value for name, value in progress.items()}
        return progress.get("at_target", 1) >= self.target_evaluations and self.target_reached(found)

    def frames(self, actor: TensorDictModuleBase, episodes: int = 3) -> NDArray[np.uint8] | None:
        """Draw the policy in the environment ``film``; None without one."""
        if self.film is None:
            return None
        self.film.set_seed(self.seed)
        given = {"episodes": episodes, "horizon": self.horizon, "exploration": self.exploration}
        return record_frames(self.film, actor, **given)

    def close(self) -> None:
        """Close the environments."""
        for env in (self._env, self.film):
            if env is not None:
                env.close()
