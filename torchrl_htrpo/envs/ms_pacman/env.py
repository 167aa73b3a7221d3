"""Goal-reaching Ms. Pac-Man from pixels: reach a cell of the maze within the time limit, without enemy contact."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import count
from torchrl_htrpo.envs.goal import EqualGoals, GoalTask, RewardFn, RewardName
from torchrl_htrpo.envs.ms_pacman.game import ACTIONS, MAP, SCREENS, SIZE, PacmanGame, extent
from torchrl_htrpo.envs.randomness import GeneratorState, first_seed

_LAST_CELL = (len(MAP) - 1, len(MAP[0]) - 1)


class MsPacmanEnv(GeneratorState, EnvBase):
    """Move Ms Pac-Man to a cell of the 14 x 19 map within 26 steps; contact with an enemy ends the episode.

    One game (needs the extra `atari`). The emulator holds the interpreter's lock, so use worker processes for several
    games: ``make_goal_env("ms_pacman", num_envs, num_workers=...)``. An episode starts from a fixed state of the game
    with one random action that is not a step. A success does not end an episode. Goals are uniform over the 155 free
    cells outside the corridor in which episodes start.

    Keys: ``observation`` bytes ``[4, 84, 84]``: four screens of the last action; ``achieved_goal`` and
    ``desired_goal`` ``[2]``: row and column; ``action``: up, right, left, down; ``reward`` ``[1]`` (-1, and 0 where the
    goal holds), ``is_success`` ``[1]``, ``step_count`` ``[1]``; ``terminated`` on contact, ``truncated`` at the end.

    Args:
        horizon: steps of an episode without enemy contact.
        seed: of goals and first actions.
        device: where the tensors live; the emulator is on the CPU.

    Raises:
        ValueError: if ``horizon`` is not positive.

    Example:
        >>> MsPacmanEnv(seed=0).rollout(5)["next", "observation"].shape
        torch.Size([5, 4, 84, 84])

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, F.1;
    `Hindsight Policy Gradients <https://arxiv.org/abs/1711.06006>`_, Section 6.
    """

    def __init__(self, horizon: int = 26, *, seed: int | None = None, device: torch.device | str | None = None) -> None:
        count(self, "horizon", horizon)
        super().__init__(device=device, batch_size=torch.Size([]))
        self.horizon, self.game = horizon, PacmanGame()
        self._pursued = (0, 0)
        self._goals = torch.tensor([[cell == "." for cell in row] for row in MAP]).nonzero().float()
        flag = Binary(n=1, shape=(1,), dtype=torch.bool, device=device)
        goal = Bounded(torch.zeros(2), torch.tensor(_LAST_CELL, dtype=torch.float32), device=device)
        self.observation_spec = Composite(
            observation=Bounded(0, 255, shape=(SCREENS, SIZE, SIZE), dtype=torch.uint8, device=device),
            achieved_goal=goal,
            desired_goal=goal.clone(),
            is_success=flag,
            step_count=Unbounded((1,), dtype=torch.int64, device=device),
            device=device,
        )
        self.action_spec = Categorical(len(ACTIONS), device=device)
        self.reward_spec = Unbounded((1,), device=device)
        self.done_spec = Composite(done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), device=device)
        self.set_seed(first_seed(self, seed))

    def task(self, reward: RewardName | RewardFn = "sparse", success_reward: float = 1.0) -> GoalTask:
        """The goal task of this environment: Ms. Pac-Man is in the goal's cell."""
        return GoalTask(EqualGoals(), reward, success_reward, ends_at_success=False)

    def _set_seed(self, seed: int | None) -> None:
        self.generator = torch.Generator().manual_seed(0 if seed is None else seed)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        self.game.restart()
        first, index = (int(torch.randint(many, (), generator=self.generator)) for many in (4, len(self._goals)))
        row, column = self._goals[index].int().tolist()
        self._pursued = (row, column)
        return self._state(self.game.play(first), self._goals[index], 0)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        screens = self.game.play(int(tensordict.get("action")))
        steps = int(tensordict.get("step_count")) + 1
        state = self._state(screens, tensordict.get("desired_goal").cpu(), steps)
        return state.set("reward", state.get("is_success").float() - 1)

    def _state(self, screens: Tensor, goal: Tensor, steps: int) -> TensorDict:
        achieved = torch.tensor(self.game.cell, dtype=torch.float32)
        terminated, truncated = self.game.caught, steps >= self.horizon
        return TensorDict(
            observation=screens,
            achieved_goal=achieved,
            desired_goal=goal.clone(),
            is_success=EqualGoals()(achieved, goal).unsqueeze(-1),
            step_count=torch.tensor([steps]),
            done=torch.tensor([terminated or truncated]),
            terminated=torch.tensor([terminated]),
            truncated=torch.tensor([truncated]),
            device=self.device,
        )

    def render(self, width: int = 320, height: int = 420) -> NDArray[np.uint8]:
        """Render the current screen ``[height, width, 3]`` in colour, with a white frame around the goal."""
        picture = self.game.picture()
        (top, bottom), (left, right) = extent(*self._pursued)
        picture[top:bottom, [left, right - 1]] = picture[[top, bottom - 1], left:right] = 255
        rows, columns = (np.arange(new) * old // new for new, old in ((height, len(picture)), (width, len(picture[0]))))
        return picture[rows[:, None], columns]
