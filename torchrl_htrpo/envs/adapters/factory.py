"""One door to goal-conditioned environments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch
from torchrl.envs import EnvBase, GymEnv, GymWrapper

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.envs.adapters.env_batch import EnvBatch
from torchrl_htrpo.envs.adapters.worker_pool import StartMethod
from torchrl_htrpo.envs.goal import GoalTask, same

Backend = Literal["batched", "gymnasium"]
GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")
FETCH_IDS: dict[str, str] = {
    "reach": "FetchReach-v4",
    "push": "FetchPush-v4",
    "slide": "FetchSlide-v4",
    "pick_and_place": "FetchPickAndPlace-v4",
}


def make_goal_env(
    name: str | Callable[[], Any],
    num_envs: int = 1,
    *,
    backend: Backend = "batched",
    horizon: int | None = None,
    seed: int | None = None,
    num_threads: int | None = None,
    num_workers: int = 0,
    timeout: float = 60.0,
    start_method: StartMethod = "spawn",
    device: torch.device | str | None = None,
    **kwargs: Any,
) -> EnvBase:
    """A batch of goal-conditioned environments, whole episodes, with right terminal observations.

    Args:
        name: a Fetch task (``"reach"``, ``"push"``, ``"slide"``, ``"pick_and_place"``), ``"ms_pacman"``
            (:class:`~torchrl_htrpo.envs.MsPacmanEnv`), the id of a goal-conditioned gymnasium environment (a ``Dict``
            observation with ``observation``, ``achieved_goal``, ``desired_goal``), or a function that makes one.
        num_envs: how many run at once.
        backend: of a Fetch task: ``"batched"`` (:class:`~torchrl_htrpo.envs.FetchEnv`), or ``"gymnasium"``
            (gymnasium-robotics, one environment after another). Anything else runs on gymnasium.
        horizon: steps after which an episode is truncated. Default: the environment's own.
        seed: of goals and starts.
        num_threads: of the batched physics.
        num_workers: processes that share the environments (all but the batched physics); 0: none, they run one after
            another in this one.
            Results do not depend on it.
        timeout: seconds for a step, a reset or the construction of one environment in a worker.
        start_method: of the workers; see :class:`~torchrl_htrpo.envs.EnvBatch`.
        device: where the tensors live.
        **kwargs: for :class:`~torchrl_htrpo.envs.FetchEnv`, or for ``gymnasium.make``.

    Returns:
        An environment of batch size ``[num_envs]``, in float32.

    Raises:
        ValueError: if the backend is unknown, the environment has no goals or goals of different shapes or of integers,
            ``horizon`` or other arguments come with a function, or workers with the batched physics.
        EnvFailure: if an environment cannot be made.

    Example:
        >>> make_goal_env("reach", num_envs=2).batch_size
        torch.Size([2])
    """
    if backend not in get_args(Backend):
        raise ValueError(refusal("make_goal_env", "backend", "known", backend, get_args(Backend)))
    if num_envs < 1:
        raise ValueError(refusal("make_goal_env", "num_envs", "a positive integer", num_envs))
    if isinstance(name, str) and name in FETCH_IDS and backend == "batched":
        if num_workers:
            raise ValueError(refusal("make_goal_env", "num_workers", "0 with backend='batched' (threads)", num_workers))
        # Needs mujoco (the extra `robotics`); the rest of the library must not.
        from torchrl_htrpo.envs.fetch.env import FetchEnv  # noqa: PLC0415

        kwargs |= {"horizon": horizon} if horizon is not None else {}
        return FetchEnv(name, num_envs, seed=seed, num_threads=num_threads, device=device, **kwargs)  # type: ignore[arg-type]
    if callable(name) and horizon is not None:
        raise ValueError(refusal("make_goal_env", "horizon", "None with a function, which sets it itself", horizon))
    if callable(name) and kwargs:
        raise ValueError(refusal("make_goal_env", "kwargs", "none with a function, which has its own", sorted(kwargs)))
    make = name if callable(name) else _maker(name, horizon, kwargs)
    env = EnvBatch(
        [make] * num_envs,
        num_workers=num_workers,
        timeout=timeout,
        start_method=start_method,
        seed=seed,
        device=device,
    )
    try:
        _check_goals(env, name)
    except ValueError:
        env.close()
        raise
    return env


def _check_goals(env: EnvBase, name: object) -> None:
    present = list(env.observation_spec.keys())
    missing = [key for key in GOAL_KEYS if key not in present]
    if missing:
        raise ValueError(refusal("make_goal_env", "name", f"an environment with {missing}", name, present))
    GoalTask(same).check(env)


def _maker(name: str, horizon: int | None, kwargs: dict[str, Any]) -> Callable[[], Any]:
    if name == "ms_pacman":
        # Needs ale-py (the extra `atari`).
        from torchrl_htrpo.envs.ms_pacman.env import MsPacmanEnv  # noqa: PLC0415

        return partial(MsPacmanEnv, **(kwargs if horizon is None else kwargs | {"horizon": horizon}))
    kwargs |= {"max_episode_steps": horizon} if horizon is not None else {}
    return _gymnasium(FETCH_IDS.get(name, name), kwargs)


def _gymnasium(name: str, kwargs: dict[str, Any]) -> Callable[[], EnvBase]:
    def make() -> EnvBase:
        if name.startswith("Fetch"):
            import gymnasium  # noqa: PLC0415  (optional dependency, and its ids register on import)
            import gymnasium_robotics  # noqa: PLC0415

            gymnasium.register_envs(gymnasium_robotics)
            return GymWrapper(gymnasium.make(name, **kwargs))
        return GymEnv(name, **kwargs)

    return make
