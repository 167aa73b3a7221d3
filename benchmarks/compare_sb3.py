"""Train HER of stable-baselines3 on a Fetch task: success over wall-clock time, evaluated as in our recipes.

    pip install stable-baselines3
    python benchmarks/compare_sb3.py --task reach --algorithm ddpg --seconds 600 --target 0.95 --output sb3.csv

What a user would pick instead: SAC or DDPG with ``HerReplayBuffer`` (four future goals), 3 x 256 networks, one gradient
step per environment step. The greedy policy is examined in :class:`FetchEnv`, whose physics are gymnasium-robotics' bit
for bit, on the same goals every time and with the same rule as ours: the goal was reached at some step. Neither
examinations nor start-up count as training time.

Output: a CSV with ``step,seconds,cpu_seconds,eval/success`` per examination, and a RESULT line.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict.nn import TensorDictModule
from torch import Tensor

from torchrl_htrpo import evaluate, make_goal_env
from torchrl_htrpo.envs.adapters.factory import FETCH_IDS, GOAL_KEYS
from torchrl_htrpo.evaluation import Evaluation

HORIZON, HIDDEN = 50, [256, 256, 256]
FIELDS = ("step", "seconds", "cpu_seconds", "eval/success")


def main() -> None:
    """Train, evaluate, write."""
    arguments = parse()
    torch.manual_seed(arguments.seed)
    model = make_model(arguments.algorithm, arguments.task, arguments.seed)
    record = Record(Examiner(arguments, model), arguments)
    model.learn(total_timesteps=sys.maxsize, callback=record.after_step)
    model.env.close()
    step, seconds, cpu, success = record.rows[-1]
    print(
        f"RESULT algorithm={arguments.algorithm} task={arguments.task} seed={arguments.seed} success={success:.3f} "
        f"env_steps={step} seconds={seconds:.0f} cpu_seconds={cpu:.0f}"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", default="reach", choices=sorted(FETCH_IDS))
    parser.add_argument("--algorithm", default="ddpg", choices=("ddpg", "sac"))
    parser.add_argument("--seconds", type=float, default=600, help="of training, at most")
    parser.add_argument("--target", type=float, default=2.0, help="stop at this success")
    parser.add_argument("--every", type=float, default=20, help="seconds of training between examinations")
    parser.add_argument("--episodes", type=int, default=64, help="of an examination")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("sb3.csv"))
    return parser.parse_args()


def require_sb3() -> None:
    """Raise with the command that installs stable-baselines3 if it is missing."""
    if find_spec("stable_baselines3") is None:
        raise SystemExit("compare_sb3: stable-baselines3 is not installed; pip install stable-baselines3")


def make_model(algorithm: str, task: str, seed: int) -> Any:
    """SAC or DDPG with hindsight, on one gymnasium environment."""
    require_sb3()
    import gymnasium
    import gymnasium_robotics
    from stable_baselines3 import DDPG, SAC, HerReplayBuffer
    from stable_baselines3.common.noise import NormalActionNoise

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make(FETCH_IDS[task], max_episode_steps=HORIZON)
    noise = NormalActionNoise(np.zeros(4), np.full(4, 0.2)) if algorithm == "ddpg" else None
    return (DDPG if algorithm == "ddpg" else SAC)(
        "MultiInputPolicy",
        env,
        learning_rate=1e-3,
        buffer_size=1_000_000,
        learning_starts=20 * HORIZON,
        batch_size=256,
        tau=0.05,
        gamma=1 - 1 / HORIZON,
        train_freq=1,
        gradient_steps=1,
        action_noise=noise,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        policy_kwargs={"net_arch": HIDDEN},
        seed=seed,
        device="cpu",
    )


class Examiner:
    """Greedy episodes of the model in our batched environment.

    Args:
        arguments: the command line.
        model: whom to examine.
    """

    def __init__(self, arguments: argparse.Namespace, model: Any) -> None:
        self.env = make_goal_env(arguments.task, min(arguments.episodes, 64), horizon=HORIZON, num_threads=1)
        self.episodes, self.seed = arguments.episodes, arguments.seed + 10_000

        def act(*inputs: Tensor) -> Tensor:
            observation = {key: value.numpy() for key, value in zip(GOAL_KEYS, inputs, strict=True)}
            return torch.as_tensor(model.predict(observation, deterministic=True)[0])

        self.actor = TensorDictModule(act, list(GOAL_KEYS), ["action"])

    def __call__(self) -> Evaluation:
        """Evaluate the model."""
        task = self.env.task("her")
        return evaluate(self.env, self.actor, task, episodes=self.episodes, horizon=HORIZON, seed=self.seed)


class Record:
    """Evaluate regularly, write the results, and stop at the target or the time limit.

    Args:
        examine: gives the success now.
        arguments: the command line.
    """

    def __init__(self, examine: Callable[[], Evaluation], arguments: argparse.Namespace) -> None:
        self.examine, self.arguments = examine, arguments
        self.rows: list[tuple[int, float, float, float]] = []
        self.trained, self.cpu, self.next = 0.0, 0.0, arguments.every
        self.since = (time.monotonic(), time.process_time())

    def after_step(self, scope: dict[str, Any], _: dict[str, Any]) -> bool:
        """Called by the model after each environment step; false ends the training."""
        seconds = self.trained + time.monotonic() - self.since[0]
        if seconds < min(self.next, self.arguments.seconds):
            return True
        self.trained, self.cpu = seconds, self.cpu + time.process_time() - self.since[1]
        success = self.examine().success
        self.rows.append((scope["self"].num_timesteps, round(self.trained, 1), round(self.cpu, 1), success))
        with self.arguments.output.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([FIELDS, *self.rows])
        self.next = seconds + self.arguments.every
        self.since = (time.monotonic(), time.process_time())
        return success < self.arguments.target and seconds < self.arguments.seconds


if __name__ == "__main__":
    main()
