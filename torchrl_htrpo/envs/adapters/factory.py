"""Create goal-conditioned environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torchrl.envs import EnvBase, TransformedEnv

from torchrl_htrpo._errors import choice, count, flag, refusal
from torchrl_htrpo._extras import named_extra
from torchrl_htrpo.envs.adapters.env_batch import EnvBatch, check_workers
from torchrl_htrpo.envs.adapters.finite_guard import FiniteGuard
from torchrl_htrpo.envs.adapters.recorder import to_torchrl
from torchrl_htrpo.envs.adapters.worker_pool import StartMethod
from torchrl_htrpo.envs.goal import EqualGoals, GoalTask

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
    info_keys: Sequence[str] = (),
    check_finite: bool = True,
    num_threads: int | None = None,
    num_workers: int = 0,
    timeout: float = 60.0,
    start_method: StartMethod = "spawn",
    device: torch.device | str | None = None,
    **kwargs: Any,
) -> EnvBase:
    """Create a batch of goal-conditioned environments with correct terminal observations.

    Discrete actions of gymnasium are indices, and a ``Dict`` of actions lies below ``"action"``. What a gymnasium
    environment returns is checked before it is cast: rewards and observations must be real numbers of the declared
    shape, and the goal must not change within an episode.

    Args:
        name: a Fetch task (``"reach"``, ``"push"``, ``"slide"``, ``"pick_and_place"``), ``"ms_pacman"``
            (:class:`~torchrl_htrpo.envs.MsPacmanEnv`), the id of a goal-conditioned gymnasium environment (a ``Dict``
            observation with ``observation``, ``achieved_goal``, ``desired_goal``), or a function that makes one.
        num_envs: how many run at once.
        backend: of a Fetch task: ``"batched"`` (:class:`~torchrl_htrpo.envs.FetchEnv`), or ``"gymnasium"``
            (gymnasium-robotics, one environment after another). Anything else runs on gymnasium.
        horizon: steps after which an episode is truncated. Default: the environment's own.
        seed: of goals and starts.
        info_keys: entries of gymnasium's ``info`` to keep, as float32 ``[num_envs, *shape]`` (a scalar: ``[num_envs,
            1]``); 0 where a reset does not report them. The reward of a :class:`GoalTask` may read them under
            ``"next"``.
        check_finite: refuse nan and inf from the environment (:class:`~torchrl_htrpo.envs.FiniteGuard`).
        num_threads: of the batched physics.
        num_workers: processes that share the environments (all but the batched physics); 0: none, they run one after
            another in this one. Results do not depend on it.
        timeout: seconds for a step, a reset or the construction of one environment in a worker.
        start_method: of the workers; see :class:`~torchrl_htrpo.envs.EnvBatch`.
        device: where the tensors live.
        **kwargs: for :class:`~torchrl_htrpo.envs.FetchEnv`, or for ``gymnasium.make``.

    Returns:
        An environment of batch size ``[num_envs]``, in float32.

    Raises:
        ValueError: if the backend or the name is unknown, the environment has no goals or goals of different shapes or
            of integers, ``horizon`` or other arguments come with a function, or workers or ``info_keys`` with the
            batched physics.
        TypeError: if ``name`` is an environment instead of a function that makes one.
        ModuleNotFoundError: naming the extra, if the environment needs one that is not installed.
        EnvFailure: if an environment cannot be made.

    Example:
        >>> make_goal_env("reach", num_envs=2).batch_size
        torch.Size([2])
    """
    _check_arguments(name, num_envs, backend, horizon, check_finite, kwargs)
    check_workers("make_goal_env", num_envs, num_workers, timeout, start_method)
    if isinstance(name, str) and name in FETCH_IDS and backend == "batched":
        for argument, value in (("num_workers", num_workers), ("info_keys", info_keys)):
            if value:
                raise ValueError(refusal("make_goal_env", argument, "none with backend='batched'", value))
        with named_extra(f"make_goal_env({name!r})"):
            from torchrl_htrpo.envs.fetch.env import FetchEnv  # noqa: PLC0415

        kwargs |= {"horizon": horizon} if horizon is not None else {}
        env: EnvBase = FetchEnv(name, num_envs, seed=seed, num_threads=num_threads, device=device, **kwargs)  # type: ignore[arg-type]
    else:
        make = name if callable(name) else _maker(name, horizon, kwargs)
        env = EnvBatch(
            [partial(_with_info, make, tuple(info_keys)) if info_keys else make] * num_envs,
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
    return TransformedEnv(env, FiniteGuard()) if check_finite else env


def _check_arguments(
    name: object, num_envs: int, backend: str, horizon: int | None, check_finite: bool, kwargs: dict[str, Any]
) -> None:
    if not isinstance(name, type) and hasattr(name, "step") and hasattr(name, "reset"):
        expected = "an id or a function that makes an environment (lambda: MyEnv()), which is called num_envs times"
        raise TypeError(refusal("make_goal_env", "name", expected, type(name).__name__))
    if not (isinstance(name, str) or callable(name)):
        raise TypeError(refusal("make_goal_env", "name", "an id or a function that makes an environment", name))
    choice("make_goal_env", "backend", backend, get_args(Backend))
    count("make_goal_env", "num_envs", num_envs)
    flag("make_goal_env", "check_finite", check_finite)
    if callable(name) and horizon is not None:
        raise ValueError(refusal("make_goal_env", "horizon", "None with a function, which sets it itself", horizon))
    if callable(name) and kwargs:
        raise ValueError(refusal("make_goal_env", "kwargs", "none with a function, which has its own", sorted(kwargs)))


def _check_goals(env: EnvBase, name: object) -> None:
    present = list(env.observation_spec.keys())
    missing = [key for key in GOAL_KEYS if key not in present]
    if missing:
        raise ValueError(refusal("make_goal_env", "name", f"an environment with {missing}", name, present))
    GoalTask(EqualGoals()).check(env)


def _with_info(make: Callable[[], Any], info_keys: Sequence[str]) -> EnvBase:
    return to_torchrl(make(), info_keys)


def _maker(name: str, horizon: int | None, kwargs: dict[str, Any]) -> Callable[[], Any]:
    if name == "ms_pacman":
        with named_extra("make_goal_env('ms_pacman')"):
            from torchrl_htrpo.envs.ms_pacman.env import MsPacmanEnv  # noqa: PLC0415

        return partial(MsPacmanEnv, **(kwargs if horizon is None else kwargs | {"horizon": horizon}))
    kwargs |= {"max_episode_steps": horizon} if horizon is not None else {}
    name = FETCH_IDS.get(name, name)
    with named_extra(f"make_goal_env({name!r})"):
        _find(name)
    return partial(_make_gymnasium, name, kwargs)


def _find(name: str) -> None:
    """Register the ids of gymnasium-robotics where needed, and refuse an id that nothing registers."""
    import gymnasium  # noqa: PLC0415  (optional dependency)

    module, _, name = name.rpartition(":")
    if module:
        import_module(module)
    if name not in gymnasium.registry and (name.startswith("Fetch") or find_spec("gymnasium_robotics")):
        gymnasium.register_envs(import_module("gymnasium_robotics"))  # the import registers its ids
    try:
        gymnasium.spec(name)
    except gymnasium.error.UnregisteredEnv as error:
        near = get_close_matches(name, [*FETCH_IDS, "ms_pacman", *gymnasium.registry], n=3, cutoff=0.4)
        expected = "a task of this library or a registered gymnasium id ('module:id' imports a module first)"
        raise ValueError(refusal("make_goal_env", "name", expected, name, near or [*FETCH_IDS, "ms_pacman"])) from error


def _make_gymnasium(name: str, kwargs: dict[str, Any]) -> Any:
    import gymnasium  # noqa: PLC0415  (optional dependency)

    _find(name)  # again: this may be a fresh process
    return gymnasium.make(name, **kwargs)
