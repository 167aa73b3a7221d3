"""The warp engine against the C library of the same version: equal in free motion, alike after contacts.

Needs mujoco_warp, so an environment of its own: pip install "torchrl-htrpo[warp,test]", then pytest -m warp.
"""

from __future__ import annotations

import pytest
import torch
from torchrl.envs import check_env_specs

from torchrl_htrpo.envs.fetch.draws import draw_objects
from torchrl_htrpo.envs.fetch.engine import CapacityError, DivergedError
from torchrl_htrpo.envs.fetch.engines import make_engine
from torchrl_htrpo.envs.fetch.env import FetchEnv
from torchrl_htrpo.envs.fetch.model import load_model
from torchrl_htrpo.envs.fetch.observation import observe
from torchrl_htrpo.envs.fetch.tasks import TASKS

pytest.importorskip("mujoco_warp")
from torchrl_htrpo.envs.fetch.warp_engine import WarpEngine

pytestmark = [pytest.mark.warp, pytest.mark.timeout(900)]  # the first use of each kernel compiles it

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]


def pair(task, worlds, device):
    """The same worlds, started alike, in C and in warp."""
    model = load_model(TASKS[task])
    engines = make_engine("mujoco", task, worlds), WarpEngine(model, worlds, device)
    objects = draw_objects(model, 0, torch.zeros(worlds, dtype=torch.int64)) if model.task.has_object else None
    for engine in engines:
        place = None if objects is None else objects.to(engine.device)
        engine.reset(torch.ones(worlds, dtype=torch.bool, device=engine.device), place)
    return engines


def apart(one, other):
    """Largest difference of the observations."""
    return float((observe(one.measure())[0].cpu() - observe(other.measure())[0].cpu()).abs().max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", list(TASKS))
def test_starts_equal_the_c_library(task, device):
    assert apart(*pair(task, 3, device)) < 2e-5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", ["reach", "pick_and_place"])
def test_free_motion_equals_the_c_library(task, device):
    c, warp = pair(task, 4, device)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        action = torch.rand(4, 4, generator=generator) * 2.2 - 1.1
        action[:, 2] = action[:, 2].abs() * 0.3  # up, away from table and object
        c.step(action)
        warp.step(action.to(warp.device))
        gap = (c.measure().grip_pos - warp.measure().grip_pos.cpu()).norm(dim=-1)
        assert gap.max() < 2e-4
    warp.check()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", ["push", "pick_and_place"])
def test_partial_reset_leaves_the_other_worlds_bit_equal(task, device):
    _, warp = pair(task, 3, device)
    start = warp.qpos[1].clone()
    for _ in range(3):
        warp.step(torch.full((3, 4), 0.4, device=warp.device))
    before, qpos, qvel = warp.measure(), warp.qpos.clone(), warp.qvel.clone()
    mask = torch.tensor([False, True, False], device=warp.device)
    warp.reset(mask, draw_objects(warp.model, 0, torch.zeros(3, dtype=torch.int64, device=warp.device)))
    assert torch.equal(warp.qpos[~mask], qpos[~mask]) and torch.equal(warp.qvel[~mask], qvel[~mask])
    assert all(torch.equal(a[~mask], b[~mask]) for a, b in zip(warp.measure(), before, strict=True))
    assert torch.equal(warp.qpos[1], start)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("task", "control"), [("reach", "discrete"), ("push", "continuous")])
def test_passes_check_env_specs(task, control, device):
    env = FetchEnv(task, 3, control=control, engine="warp", horizon=4, seed=0, device=device)
    check_env_specs(env, break_when_any_done="both")
    assert env.rollout(2)["observation"].device.type == device


@pytest.mark.parametrize("device", DEVICES)
def test_goals_and_starts_are_those_of_the_c_engine(device):
    ours = FetchEnv("push", 4, engine="warp", seed=3, device=device).reset().cpu()
    theirs = FetchEnv("push", 4, seed=3).reset()
    assert torch.equal(ours["desired_goal"], theirs["desired_goal"])
    torch.testing.assert_close(ours["observation"], theirs["observation"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("capacity", [{"nconmax": 2}, {"njmax": 8}])
def test_dropped_contacts_are_an_error(capacity):
    engine = WarpEngine(load_model(TASKS["push"]), 2, "cpu", check_every=2, **capacity)
    engine.reset(torch.ones(2, dtype=torch.bool), torch.tensor([[1.3, 0.6], [1.4, 0.9]]))
    engine.step(torch.zeros(2, 4))
    with pytest.raises(CapacityError, match=r"WarpEngine: 2 worlds .*\[0, 1\].*nconmax=.*njmax="):
        engine.step(torch.zeros(2, 4))


def test_divergence_is_remembered_until_the_check():
    env = FetchEnv("reach", 3, engine=WarpEngine(load_model(TASKS["reach"]), 3, "cpu", check_every=3), seed=0)
    state = env.reset()
    env.engine.qpos[1] = float("nan")
    state = env.step(state.set("action", torch.zeros(3, 4)))["next"].exclude("reward")
    state = env.reset(state.set("_reset", torch.tensor([[False], [True], [False]])))
    state = env.step(state.set("action", torch.zeros(3, 4)))["next"].exclude("reward")
    with pytest.raises(DivergedError, match=r"FetchEnv\('reach'\).*world 1"):
        env.step(state.set("action", torch.zeros(3, 4)))


def test_a_ready_engine_must_fit():
    engine = WarpEngine(load_model(TASKS["reach"]), 2, "cpu")
    with pytest.raises(ValueError, match=r"FetchEnv: engine must be of task 'push' with 2 worlds, got \('reach', 2\)"):
        FetchEnv("push", 2, engine=engine)


@pytest.mark.parametrize("argument", ["nconmax", "njmax", "check_every"])
def test_capacities_must_be_positive(argument):
    with pytest.raises(ValueError, match=f"WarpEngine: {argument} must be a positive integer, got 0"):
        WarpEngine(load_model(TASKS["reach"]), 2, "cpu", **{argument: 0})


def push_to_goal(tensordict):
    """Goes behind the object as the goal sees it, then pushes."""
    observation, goal = tensordict["observation"], tensordict["desired_goal"]
    grip, thing = observation[:, :3], observation[:, 3:6]
    heading = goal - thing
    heading = heading / (heading[:, :2].norm(dim=-1, keepdim=True) + 1e-6)
    heading[:, 2] = 0.0
    behind = thing - 0.07 * heading
    along = ((grip - thing) * heading).sum(-1, keepdim=True)
    aside = (grip - thing - along * heading)[:, :2].norm(dim=-1, keepdim=True)
    ready = (along < -0.035) & (aside < 0.02)
    down = ready | ((grip - behind)[:, :2].norm(dim=-1, keepdim=True) < 0.03)
    target = torch.where(ready, thing, behind)
    height = thing[:, 2:] + torch.where(down, 0.0, 0.08)
    moves = torch.cat([(target - grip)[:, :2], height - grip[:, 2:], torch.zeros_like(height)], dim=-1) * 10
    there = (goal - thing)[:, :2].norm(dim=-1, keepdim=True) < 0.03
    return tensordict.set("action", torch.where(there, 0.0, moves).clamp(-1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize(("device", "worlds"), [("cpu", 48), pytest.param("cuda", 512, marks=DEVICES[1].marks)])
def test_a_scripted_pusher_succeeds_as_often_on_both_engines(device, worlds):
    ends, moved = [], []
    for engine in ("mujoco", "warp"):
        env = FetchEnv("push", worlds, engine=engine, seed=0, device=device if engine == "warp" else None)
        batch = env.rollout(50, policy=push_to_goal).cpu()
        ends.append(batch["next", "is_success"][:, -1].double().mean())
        moved.append((batch["next", "achieved_goal"][:, -1] - batch["achieved_goal"][:, 0]).norm(dim=-1))
    assert ends[0] > 0.6
    error = float((2 * ends[0] * (1 - ends[0]) / worlds).sqrt())
    assert abs(float(ends[0] - ends[1])) < 3.5 * error
    spread = float((moved[0].var() / worlds + moved[1].var() / worlds).sqrt())
    assert abs(float(moved[0].mean() - moved[1].mean())) < 3.5 * spread


@pytest.mark.gpu
@needs_gpu
def test_goals_do_not_depend_on_the_device():
    cpu, cuda = (draw_objects(load_model(TASKS["push"]), 5, torch.arange(64, device=d)) for d in ("cpu", "cuda"))
    assert torch.equal(cpu, cuda.cpu())
