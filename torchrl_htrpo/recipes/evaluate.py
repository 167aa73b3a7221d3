"""Measure a trained policy, record it as a GIF, or load it to act.

    python recipes/evaluate.py run=outputs/htrpo_reach/2026-11-22_12-00-00 episodes=200
    python -m torchrl_htrpo play run=outputs/htrpo_reach/2026-11-22_12-00-00 gif=reach.gif

Without a display, set ``MUJOCO_GL=egl`` (or ``osmesa``) before drawing a Fetch task.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from torchrl.checkpoint import Checkpoint
from torchrl.envs import EnvBase, ExplorationType

from torchrl_htrpo._errors import flag, refusal
from torchrl_htrpo.evaluation.rollout import evaluate
from torchrl_htrpo.evaluation.video import check_drawable, record_gif
from torchrl_htrpo.recipes import her, htrpo
from torchrl_htrpo.recipes.command import run_recipe
from torchrl_htrpo.recipes.settings import lasting
from torchrl_htrpo.recipes.single_env import make_env
from torchrl_htrpo.records.checkpoints import differences, load_intact
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.records.trusted import load_config


def main() -> None:
    """Evaluate a policy, configured by the command line."""
    run_recipe("evaluate", measure)


def play() -> None:
    """Record a policy, configured by the command line."""
    run_recipe("play", record)


def load_policy(
    run: Path | str,
    actor: TensorDictModuleBase | None = None,
    *,
    best: bool = True,
    device: str = "cpu",
    trusted: Iterable[str] = (),
) -> TensorDictModuleBase:
    """Load a trained policy.

    Reads only tensors and JSON, and creates only known components: it runs no code of the folder. The policy samples
    its actions unless ``set_exploration_type`` selects greedy ones.

    Args:
        run: the folder of a run of the HTRPO or HER recipe, or of a trainer.
        actor: the policy to load into, made as it was for the training. The run of a trainer needs it; a recipe
            stores how its policy is made.
        best: the checkpoint of the best evaluated policy; otherwise the last.
        device: of the policy that a recipe made.
        trusted: further components that the run may name, as in :func:`~torchrl_htrpo.records.trusted.load_config`.

    Returns:
        A policy that reads ``observation`` and ``desired_goal`` and writes ``action``.

    Raises:
        FileNotFoundError: if there is no run or no checkpoint.
        ValueError: if the run is not one on a goal task, names a component that is not trusted, or its ``run.json``
            differs from the configuration in the checkpoint.
        DamagedCheckpoint: if no checkpoint is as it was written.
    """
    if actor is not None:
        return _restore(actor, run, best)
    trained = configuration_of(run, device, trusted)
    with closing(make_env(trained, seed=0)) as env:
        return _load(trained, env, run, best)


def measure(cfg: DictConfig) -> str:
    """Measure the success rate of a policy over many episodes; return it as one line."""
    trained = configuration_of(cfg.run, cfg.device, cfg.trusted)
    torch.manual_seed(cfg.seed)
    with closing(make_env(trained, cfg.seed, num_envs=trained.num_envs)) as env:
        actor = _load(trained, env, cfg.run, cfg.best)
        found = evaluate(
            env,
            actor,
            instantiate(trained.goal_task),
            episodes=cfg.episodes,
            horizon=trained.horizon,
            seed=cfg.seed,
            exploration=_exploration(trained),
        )
    return "RESULT " + " ".join(f"{name}={figure:.4g}" for name, figure in found.metrics().items())


def record(cfg: DictConfig) -> str:
    """Write a GIF of a policy; return its path."""
    trained = configuration_of(cfg.run, cfg.device, cfg.trusted)
    torch.manual_seed(cfg.seed)
    with closing(make_env(trained, cfg.seed, draw=True)) as env:
        check_drawable("play", env)
        actor, path = _load(trained, env, cfg.run, cfg.best), Path(cfg.gif)
        settings = {"episodes": cfg.episodes, "horizon": trained.horizon, "size": cfg.size}
        record_gif(env, actor, path, exploration=_exploration(trained), **settings)
    return f"wrote {path}"


def configuration_of(run: Path | str, device: str, trusted: Iterable[str] = ()) -> DictConfig:
    """Load the configuration of a run."""
    trained = load_config(Path(run), trusted=trusted)
    if "goal_task" not in trained:
        expected = "one of the HTRPO or HER recipe; of a trainer, load_policy(run, actor) loads into the actor you make"
        raise ValueError(refusal("load_policy", "run", expected, str(run)))
    trained.device = device
    return trained


def _load(trained: DictConfig, env: EnvBase, run: Path | str, best: bool) -> TensorDictModuleBase:
    if "agent" in trained:
        encode, agent = her.make_networks(trained, env)
        actor = TensorDictSequential(encode, agent.policy)
    else:
        actor, _ = htrpo.make_networks(trained, env)
    return _restore(actor, run, best, trained)


def _restore(
    actor: TensorDictModuleBase, run: Path | str, best: bool, trained: DictConfig | None = None
) -> TensorDictModuleBase:
    accept = partial(_refuse_changed, trained)
    load_intact(SealedCheckpoint(actor=actor), Path(run), best=flag("load_policy", "best", best), accept=accept)
    return actor


def _refuse_changed(trained: DictConfig | None, checkpoint: Path) -> None:
    """Raise if ``run.json``, which has no checksum, tells another configuration than the checkpoint, which has one."""
    if trained is None:
        return
    here, there = lasting(trained), Checkpoint.manifest(checkpoint)["metadata"].get("config")
    if there and (found := differences(there | {"device": here["device"]}, here)):
        expected = f"the configuration of {checkpoint.name}"
        raise ValueError(refusal("load_policy", "run.json", expected, "; ".join(found)))


def _exploration(trained: DictConfig) -> ExplorationType:
    return ExplorationType[trained.get("eval_exploration", "DETERMINISTIC")]
