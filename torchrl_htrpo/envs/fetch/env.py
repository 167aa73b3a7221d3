"""The Fetch robot tasks as one batched environment."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Composite, Unbounded
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import count, refusal
from torchrl_htrpo.envs.fetch.control import ControlName, make_control
from torchrl_htrpo.envs.fetch.draws import draw_goals, draw_objects
from torchrl_htrpo.envs.fetch.engine import DivergedError, Engine
from torchrl_htrpo.envs.fetch.engines import EngineName, make_engine
from torchrl_htrpo.envs.fetch.observation import observe
from torchrl_htrpo.envs.fetch.tasks import DISTANCE_THRESHOLD, TaskName
from torchrl_htrpo.envs.goal import GoalTask, RewardFn, RewardName, WithinDistance
from torchrl_htrpo.envs.randomness import EpisodeSeeds, first_seed

_DTYPES = (torch.float32, torch.float64)


class FetchEnv(EpisodeSeeds, EnvBase):
    """Reach, push, slide, or pick and place with the Fetch arm: ``N`` worlds in one environment.

    The physics, observations, goals and rewards are those of gymnasium-robotics' ``Fetch*-v4`` (with the
    ``"mujoco"`` engine bit for bit, for the same object starts), batched over the worlds. An episode never
    terminates; it is truncated after ``horizon`` steps. Worlds reset one by one through TorchRL's ``"_reset"``.

    Keys: ``observation`` ``[N, 10]`` (reach) or ``[N, 25]``, 4 longer with discrete control, ``achieved_goal``
    and ``desired_goal`` ``[N, 3]`` in metres, ``is_success`` ``[N, 1]``, ``action`` (continuous: ``[N, 4]`` in
    ``[-1, 1]``, hand displacement in units of 5 cm and finger command; discrete: ``[N]``, index of a change of
    velocity, see VelocityControl; mixed: ``("action", "motion")`` ``[N, 3]`` and ``("action", "gripper")`` ``[N]``, 0
    to shut and 1 to open), ``reward`` ``[N, 1]`` (-1, and 0 where the goal is within 5 cm).

    Args:
        task: ``"reach"``, ``"push"``, ``"slide"`` or ``"pick_and_place"``.
        num_envs: worlds stepped at once (``N``).
        control: ``"continuous"``, ``"discrete"`` (not for pick and place), or ``"mixed"``: the fingers by choice.
        engine: ``"mujoco"`` (the C library, on CPU threads) or ``"warp"`` (mujoco_warp, thousands of worlds on a
            GPU, float32; agrees with the C library until contacts, which are chaotic); or an engine object.
        num_threads: threads of the ``"mujoco"`` engine; results do not depend on it. Defaults to the cores
            this process may use.
        horizon: steps after which an episode is truncated.
        seed: seed of goals and object starts. Those of world ``i`` do not depend on ``num_envs``.
            Default: sampled with torch's global generator.
        device: where the tensors live. Defaults to the CPU, or with ``"warp"`` to the GPU if there is one.
        dtype: dtype of observations, goals, rewards and actions; the physics runs in its own.

    Raises:
        ValueError: if an argument is not one of its choices or not positive.

    Example:
        >>> from torchrl_htrpo.envs.fetch.env import FetchEnv
        >>> env = FetchEnv("push", num_envs=2, horizon=3, seed=0)
        >>> batch = env.rollout(3)
        >>> batch["next", "observation"].shape, batch["next", "reward"].shape
        (torch.Size([2, 3, 25]), torch.Size([2, 3, 1]))
        >>> env.close()

    Source: `Multi-Goal Reinforcement Learning <https://arxiv.org/abs/1802.09464>`_, Section 1.1.
    """

    batch_locked = True

    def __init__(
        self,
        task: TaskName,
        num_envs: int = 16,
        *,
        control: ControlName = "continuous",
        engine: EngineName | Engine = "mujoco",
        num_threads: int | None = None,
        horizon: int = 50,
        seed: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        count("FetchEnv", "horizon", horizon)
        if dtype not in _DTYPES:
            raise ValueError(refusal("FetchEnv", "dtype", "a float dtype", dtype, _DTYPES))
        worlds = make_engine(engine, task, num_envs, num_threads, device)
        scheme = make_control(control, task, num_envs, worlds.device)
        super().__init__(device=device or _home(worlds), batch_size=torch.Size([num_envs]))
        self.name: TaskName = task
        self.horizon = horizon
        self.engine = worlds
        self.control = scheme
        self._episode = torch.zeros(num_envs, dtype=torch.int64, device=self.engine.device)
        self._steps = torch.zeros(num_envs, 1, dtype=torch.int64, device=self.engine.device)
        self._goal = torch.zeros(num_envs, 3, dtype=torch.float64, device=self.engine.device)
        self._set_specs(dtype)
        self.set_seed(first_seed(self, seed))

    def _set_specs(self, dtype: torch.dtype) -> None:
        n, device = self.batch_size[0], self.device
        flag = Binary(n=1, shape=(n, 1), dtype=torch.bool, device=device)
        size = self.engine.model.task.observation_size + self.control.extra_size
        self.observation_spec = Composite(
            observation=Unbounded((n, size), dtype=dtype, device=device),
            achieved_goal=Unbounded((n, 3), dtype=dtype, device=device),
            desired_goal=Unbounded((n, 3), dtype=dtype, device=device),
            is_success=flag,
            shape=self.batch_size,
            device=device,
        )
        action = self.control.action_spec(n, dtype, device)
        self.full_action_spec = Composite(action=action, shape=self.batch_size, device=device)
        self.reward_spec = Unbounded((n, 1), dtype=dtype, device=device)
        self.done_spec = Composite(
            done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), shape=self.batch_size, device=device
        )

    def task(self, reward: RewardName | RewardFn = "paper_code", success_reward: float = 1.0) -> GoalTask:
        """The goal task of this environment: within 5 cm of the goal; for the arguments see :class:`GoalTask`."""
        return GoalTask(WithinDistance(DISTANCE_THRESHOLD), reward, success_reward)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        if mask is None:
            mask = torch.ones_like(self._steps, dtype=torch.bool)
        mask = mask.reshape(-1, 1).to(self.engine.device)
        model = self.engine.model
        objects = draw_objects(model, self._seed, self._episode) if model.task.has_object else None
        self._goal = torch.where(mask, draw_goals(model, self._seed, self._episode), self._goal)
        self._episode += mask.squeeze(-1)
        self._steps.masked_fill_(mask, 0)
        self.control.reset(mask.squeeze(-1))
        self.engine.reset(mask.squeeze(-1), objects)
        return self._state()

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self._steps += 1
        try:
            self.engine.step(self.control.command(tensordict.get("action").to(self.engine.device)))
        except DivergedError as error:
            raise DivergedError(error.worlds, self._divergence(error.worlds)) from error
        state = self._state()
        return state.set("reward", state.get("is_success").to(self.reward_spec.dtype) - 1)

    def _divergence(self, worlds: list[int]) -> str:
        steps = self._steps.flatten()[worlds].tolist()
        where = ", ".join(
            f"world {world} at step {step} of its episode" for world, step in zip(worlds, steps, strict=True)
        )
        return f"FetchEnv({self.name!r}): the physics diverged in {where}; look at the actions and reset these worlds"

    def _state(self) -> TensorDict:
        observation, achieved = observe(self.engine.measure())
        dtype = self.reward_spec.dtype
        truncated = self._steps >= self.horizon
        success = WithinDistance(DISTANCE_THRESHOLD)(achieved, self._goal).unsqueeze(-1)
        return TensorDict(
            observation=torch.cat([observation, self.control.extra()], dim=-1).to(dtype),
            achieved_goal=achieved.to(dtype, copy=True),
            desired_goal=self._goal.to(dtype, copy=True),
            is_success=success,
            done=truncated,
            truncated=truncated.clone(),
            terminated=torch.zeros_like(truncated),
            batch_size=self.batch_size,
            device=self.device,
        )

    def render(self, world: int = 0, width: int = 480, height: int = 480) -> NDArray[np.uint8]:
        """Render one world, with its goal as a red ball.

        Without a display, set the environment variable ``MUJOCO_GL=egl`` (or ``osmesa``) before starting Python.

        Args:
            world: index of the world.
            width: image width in pixels.
            height: image height in pixels.

        Returns:
            The image, ``[height, width, 3]``.

        Raises:
            ValueError: if there is no such world.
            RuntimeError: if there is neither a display nor ``MUJOCO_GL``.
        """
        if not 0 <= world < self.batch_size[0]:
            raise ValueError(refusal(self, "world", f"in [0, {self.batch_size[0]})", world))
        return self.engine.render(world, self._goal[world], width, height)

    def close(self, *, raise_if_closed: bool = True) -> None:
        """End the engine's threads and free its rendering context."""
        super().close(raise_if_closed=raise_if_closed)
        self.engine.close()


def _home(engine: Engine) -> torch.device | None:
    # device=None on the CPU, as other TorchRL environments do.
    return None if engine.device.type == "cpu" else engine.device
