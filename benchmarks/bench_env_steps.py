"""CPU time per Fetch environment step: gymnasium, TorchRL's GymEnv and ParallelEnv, EnvPool, FetchEnv, bare MuJoCo.

Every competitor plays whole episodes, one reset and 50 steps, with the same uniformly random actions (the cost of the
physics depends on what the arm touches). What is counted is
CPU time (user + system, of this process, its threads and its workers) over environment steps: unlike wall time it
hardly depends on what else the machine does. Start-up is not counted; resets are. The competitors take turns, and
each ratio is the median over rounds of the ratio within a round.

"bare" steps the same number of worlds from the same starts under the same actions as FetchEnv, and its clock runs only
during the calls of ``mj_step(model, data, nstep=20)``: not while actions are turned into targets, not during resets.
"physics" is that plus ``mj_kinematics`` and ``mj_comPos`` after the fingers are put back (all tasks but pick and
place), without which the next target of the hand cannot be computed.

    python benchmarks/bench_env_steps.py --task push --rounds 7 [--envpool-python PATH]

Output: FIGURE lines in microseconds of CPU per environment step, then RATIO lines. RATIO gymnasium 1.6 means that
FetchEnv makes 1.6 times as many environment steps as gymnasium with the same CPU time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import gymnasium_robotics
import mujoco
import numpy as np
import torch
from push_batch import machine
from torchrl.envs import EnvBase, GymEnv, ParallelEnv

from torchrl_htrpo.envs.fetch.draws import draw_objects
from torchrl_htrpo.envs.fetch.env import FetchEnv
from torchrl_htrpo.envs.fetch.model import HAND_ROTATION, FetchModel, load_model
from torchrl_htrpo.envs.fetch.tasks import ACTION_SCALE, SUBSTEPS, TASKS

IDS = {"reach": "FetchReach", "push": "FetchPush", "slide": "FetchSlide", "pick_and_place": "FetchPickAndPlace"}
HORIZON = 50
gymnasium.register_envs(gymnasium_robotics)

# A competitor plays `episodes` episodes per world on each call and yields the microseconds of CPU per environment step.
Competitor = Iterator[float]

ENVPOOL = """
import time, numpy as np, envpool
worlds, episodes = {worlds}, {episodes}
env = envpool.make_gymnasium("{name}-v4", num_envs=worlds, num_threads={threads}, max_episode_steps=50, seed=0)
actions = np.random.default_rng(0).uniform(-1, 1, (50, worlds, 4)).astype(np.float32)

def play():
    for _ in range(episodes):
        for action in (*actions, actions[0]):  # every 51st step is EnvPool's own reset
            env.step(action)

env.reset()
play()
start = time.process_time()
play()
print(1e6 * (time.process_time() - start) / (50 * episodes * worlds))
"""


def cpu_seconds() -> float:
    """CPU time of this process, its threads, and its living workers."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        for task in Path(f"/proc/{child.pid}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0]) / 1e9
    return total


def play(round_: Callable[[], None], steps: int) -> Competitor:
    """Times a function that makes ``steps`` environment steps."""
    round_()  # warm-up
    while True:
        start = cpu_seconds()
        round_()
        yield 1e6 * (cpu_seconds() - start) / steps


def draw_actions(worlds: int) -> np.ndarray:
    """Actions of one episode, ``[50, worlds, 4]``."""
    return np.random.default_rng(0).uniform(-1, 1, (HORIZON, worlds, 4)).astype(np.float32)


def gymnasium_alone(task: str, worlds: int, episodes: int) -> Competitor:
    """One gymnasium environment that plays the episodes of the worlds one after the other."""
    env = gymnasium.make(f"{IDS[task]}-v4", max_episode_steps=HORIZON)
    env.reset(seed=0)
    actions = draw_actions(worlds)

    def round_() -> None:
        for episode in range(episodes * worlds):
            env.reset()
            for action in actions[:, episode % worlds]:
                env.step(action)

    return play(round_, episodes * worlds * HORIZON)


def torchrl_env(env: EnvBase, worlds: int, episodes: int) -> Competitor:
    """A TorchRL environment, stepped as a collector steps it; what it does not batch it plays in turn."""
    env.set_seed(0)
    batch = max(1, env.batch_size.numel())
    turns = torch.from_numpy(draw_actions(worlds)).unflatten(1, (-1, batch)).transpose(0, 1)
    turns = turns.reshape(worlds // batch, HORIZON, *env.batch_size, 4)

    def round_() -> None:
        for _ in range(episodes):
            for actions in turns:
                state = env.reset()
                for action in actions[:-1]:
                    _, state = env.step_and_maybe_reset(state.set("action", action))
                env.step(state.set("action", actions[-1]))  # the episode ends here, the next begins with a reset above

    return play(round_, episodes * worlds * HORIZON)


def envpool(python: str, task: str, worlds: int, episodes: int, threads: int) -> Competitor:
    """EnvPool, in its own interpreter (it need not support this one), timed by itself."""
    code = ENVPOOL.format(name=IDS[task], worlds=worlds, episodes=episodes, threads=threads)
    while True:
        yield float(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)


def bare(task: str, worlds: int, episodes: int) -> Iterator[tuple[float, float]]:
    """MuJoCo's own calls along the trajectories of the Fetch task: without and with the kinematics after the step."""
    model = load_model(TASKS[task])
    states = [mujoco.MjData(model.mj_model) for _ in range(worlds)]
    actions = draw_actions(worlds)
    for round_ in range(sys.maxsize):
        step_ns = kinematics_ns = 0
        for episode in range(episodes):
            count = torch.full((worlds,), round_ * episodes + episode)
            places = draw_objects(model, 0, count).numpy() if model.task.has_object else None
            for i, data in enumerate(states):
                start_episode(model, data, None if places is None else places[i])
            for action in actions:
                for i, data in enumerate(states):
                    aim(model, data, action[i])
                before = time.thread_time_ns()
                for data in states:
                    mujoco.mj_step(model.mj_model, data, nstep=SUBSTEPS)
                step_ns += time.thread_time_ns() - before
                if not model.task.block_gripper:
                    continue
                for data in states:
                    data.qpos[model.fingers] = 0.0
                before = time.thread_time_ns()
                for data in states:
                    mujoco.mj_kinematics(model.mj_model, data)
                    mujoco.mj_comPos(model.mj_model, data)
                kinematics_ns += time.thread_time_ns() - before
        steps = 1e3 * episodes * HORIZON * worlds
        yield step_ns / steps, (step_ns + kinematics_ns) / steps


def start_episode(model: FetchModel, data: mujoco.MjData, place: np.ndarray | None) -> None:
    """What a reset does."""
    mujoco.mj_resetData(model.mj_model, data)
    data.time, data.qpos[:], data.qvel[:] = model.start_time, model.start_qpos, model.start_qvel
    if place is not None:
        data.qpos[model.object_qpos : model.object_qpos + 2] = place
    mujoco.mj_forward(model.mj_model, data)


def aim(model: FetchModel, data: mujoco.MjData, action: np.ndarray) -> None:
    """What an action does before the physics steps."""
    data.mocap_pos[0] = data.xpos[model.hand_body] + action[:3] * np.float32(ACTION_SCALE)
    data.mocap_quat[0] = data.xquat[model.hand_body] + HAND_ROTATION
    data.ctrl[:] = data.qpos[model.ctrl_qpos] + action[3]


def main() -> None:
    """Runs the rounds and prints the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=sorted(IDS), default="push")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worlds", type=int, default=64, help="worlds of FetchEnv, of EnvPool and of the bare loop")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--episodes", type=int, default=1, help="episodes per world and round")
    parser.add_argument("--no-parallel", action="store_true", help="leave ParallelEnv out (it starts processes)")
    parser.add_argument("--envpool-python", help="interpreter that can import envpool; without it EnvPool is left out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = (args.worlds, args.episodes)

    def gym_env() -> EnvBase:
        return GymEnv(f"{IDS[args.task]}-v4", max_episode_steps=HORIZON)

    fetch = FetchEnv(args.task, args.worlds, num_threads=args.threads, horizon=HORIZON)
    open_ = [fetch]
    competitors: dict[str, Competitor] = {
        "FetchEnv": torchrl_env(fetch, *size),
        "gymnasium": gymnasium_alone(args.task, *size),
        "GymEnv": torchrl_env(gym_env(), *size),
    }
    if not args.no_parallel:
        workers = ParallelEnv(2, gym_env, mp_start_method="fork")
        open_.append(workers)
        competitors["ParallelEnv(2)"] = torchrl_env(workers, *size)
    if args.envpool_python:
        competitors["EnvPool"] = envpool(args.envpool_python, args.task, *size, args.threads)
    calls = bare(args.task, *size)
    next(calls)  # warm-up; from here on it plays the very episodes of FetchEnv
    results: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for name, competitor in competitors.items():
            results.setdefault(name, []).append(next(competitor))
        for name, value in zip(("bare", "physics"), next(calls), strict=True):
            results.setdefault(name, []).append(value)
    for env in open_:  # or the workers would keep this process from ending
        env.close()
    report(args, results)


def report(args: argparse.Namespace, results: dict[str, list[float]]) -> None:
    """Writes the machine's line, then a line per figure and per ratio."""
    print(f"{machine()}; Fetch {args.task}, {args.worlds} worlds, {args.threads} threads, {args.rounds} rounds")
    for name, values in results.items():
        print(f"FIGURE {name} {statistics.median(values):.1f}")
    for name, values in results.items():
        if name != "FetchEnv":
            each = [value / ours for value, ours in zip(values, results["FetchEnv"], strict=True)]
            print(f"RATIO {name} {statistics.median(each):.3f}")


if __name__ == "__main__":
    main()
