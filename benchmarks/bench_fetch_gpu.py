"""Environment steps per second of FetchEnv on a GPU: many worlds in mujoco_warp, against the C library's threads.

A measurement is whole episodes, one reset and 50 steps with uniformly random actions, through FetchEnv; compiling,
the recording of the CUDA graph and two episodes come before it. Wall time, with the device synchronised at both ends.

    python benchmarks/bench_fetch_gpu.py --task push --worlds 1024 4096 8192

Output, one per line: FIGURE name value (env steps per second, seconds, bytes) and RATIO name value, where
RATIO warp_4096_over_mujoco 12 means 12 times the environment steps per second of the C engine on all cores here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from push_batch import machine, say, synchronize

from torchrl_htrpo.envs.fetch.engine import CapacityError, DivergedError
from torchrl_htrpo.envs.fetch.env import FetchEnv

HORIZON = 50


def episode(env: FetchEnv) -> None:
    """One reset and 50 steps."""
    state = env.reset()
    for _ in range(HORIZON):
        action = torch.rand(env.batch_size[0], 4, device=env.engine.device) * 2 - 1  # a spec would ask the device
        state = env.step(state.set("action", action))["next"].exclude("reward")


def engine_steps(env: FetchEnv) -> None:
    """50 steps of the physics alone after a reset, without observations and TorchRL."""
    env.reset()
    for action in torch.rand(HORIZON, env.batch_size[0], 4, device=env.engine.device) * 2 - 1:
        env.engine.step(action)


def resets(env: FetchEnv) -> None:
    """50 resets of all worlds."""
    for _ in range(HORIZON):
        env.reset()


def seconds(work: object, env: FetchEnv, rounds: int) -> list[float]:
    """Wall seconds of each round."""
    times = []
    for _ in range(rounds):
        synchronize(env.engine.device)
        start = time.perf_counter()
        work(env)
        synchronize(env.engine.device)
        times.append(time.perf_counter() - start)
    return times


def measure(name: str, env: FetchEnv, rounds: int) -> float:
    """Prints the figures of one environment; env steps per second."""
    start = time.perf_counter()
    episode(env)
    episode(env)
    synchronize(env.engine.device)
    say("FIGURE", f"{name}_first_two_episodes_s", f"{time.perf_counter() - start:.1f}")
    steps = HORIZON * env.batch_size[0]
    times = seconds(episode, env, rounds)
    rate = steps / statistics.median(times)
    say("FIGURE", f"{name}_env_steps_per_s", f"{rate:.0f}")
    say("FIGURE", f"{name}_slowest_env_steps_per_s", f"{steps / max(times):.0f}")
    say("FIGURE", f"{name}_engine_steps_per_s", f"{steps / statistics.median(seconds(engine_steps, env, rounds)):.0f}")
    say("FIGURE", f"{name}_reset_s", f"{statistics.median(seconds(resets, env, 3)) / HORIZON:.5f}")
    return rate


def main() -> int:
    """Measures every number of worlds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="push", choices=["reach", "push", "slide", "pick_and_place"])
    parser.add_argument("--worlds", type=int, nargs="+", default=[1024, 4096, 8192])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--mujoco-worlds", type=int, default=64, help="worlds of the C engine; 0 leaves it out")
    args = parser.parse_args()
    import mujoco_warp  # noqa: F401  (for its version in the line of the machine)

    device = torch.device(args.device)
    say(f"{machine()}; on {args.device}: Fetch {args.task}, {args.rounds} rounds")
    torch.manual_seed(0)
    baseline = 0.0
    if args.mujoco_worlds:
        env = FetchEnv(args.task, args.mujoco_worlds, horizon=HORIZON, seed=0)
        baseline = measure("mujoco", env, args.rounds)
        env.close()
    failed = 0
    for worlds in args.worlds:
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        env = FetchEnv(args.task, worlds, engine="warp", device=device, horizon=HORIZON, seed=0)
        try:
            rate = measure(f"warp_{worlds}", env, args.rounds)
        except (CapacityError, DivergedError) as error:  # the other sizes are worth having
            failed = 1
            say("ERROR", f"warp_{worlds}", repr(error)[:400])
            continue
        if device.type == "cuda":
            say("FIGURE", f"warp_{worlds}_bytes", free - torch.cuda.mem_get_info(device)[0])
        if baseline:
            say("RATIO", f"warp_{worlds}_over_mujoco", f"{rate / baseline:.2f}")
        env.close()
        del env
    return failed


if __name__ == "__main__":
    sys.exit(main())
