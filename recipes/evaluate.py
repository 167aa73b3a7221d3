"""Examine a trained policy: its success rate over many episodes, and a GIF of it.

    python recipes/evaluate.py run=outputs/htrpo_fetch_reach/2026-11-22_12-00-00 episodes=200 gif=reach.gif

Without a display, set ``MUJOCO_GL=egl`` (or ``osmesa``) before drawing a Fetch task.
"""

from __future__ import annotations

from pathlib import Path

import her
import htrpo
import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from settings import refuse_unknown_keys
from torchrl.checkpoint import Checkpoint
from torchrl.envs import ExplorationType, TransformedEnv

from torchrl_htrpo import FiniteGuard, evaluate, record_gif
from torchrl_htrpo.evaluation.checkpoints import checkpoints_of, load_data


@hydra.main(version_base="1.3", config_path="config", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Load the run's policy, count, draw."""
    trained = OmegaConf.load(Path(cfg.run) / ".hydra" / "config.yaml")
    if "goal_task" not in trained:
        raise ValueError(f"evaluate: run must be one on a goal task (of the HTRPO and HER recipes), got {trained.name}")
    trained = OmegaConf.merge(trained, {"device": cfg.device})
    torch.manual_seed(cfg.seed)

    env = TransformedEnv(instantiate(trained.env, seed=cfg.seed), FiniteGuard())
    task = instantiate(trained.goal_task)
    _, actor, _ = (her if "agent" in trained else htrpo).make_networks(trained, env)
    checkpoints = checkpoints_of(Path(cfg.run))
    stored = checkpoints.best() if cfg.best else checkpoints.latest()
    if stored is None:
        raise FileNotFoundError(f"evaluate: run must be the folder of a run with a checkpoint, got {cfg.run}")
    load_data(Checkpoint(actor=actor), stored, map_location=cfg.device)

    if cfg.gif and not callable(getattr(env, "render", None)):
        raise TypeError(
            f"evaluate: gif: {type(env.base_env).__name__} cannot be drawn; the Fetch tasks and Ms. Pac-Man can"
        )

    exploration = ExplorationType[trained.get("eval_exploration", "DETERMINISTIC")]
    evaluation = evaluate(
        env, actor, task, episodes=cfg.episodes, horizon=trained.horizon, seed=cfg.seed, exploration=exploration
    )
    if cfg.gif:
        episodes = cfg.gif_episodes
        record_gif(env, actor, Path(cfg.gif), episodes=episodes, horizon=trained.horizon, exploration=exploration)
        print(f"wrote {cfg.gif}")
    figures = " ".join(f"{name}={figure:.4g}" for name, figure in evaluation.metrics().items())
    print(f"RESULT {figures}")


if __name__ == "__main__":
    refuse_unknown_keys("evaluate")
    main()
