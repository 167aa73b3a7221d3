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
from torchrl.envs import EnvBase, ExplorationType, TransformedEnv

from torchrl_htrpo import FiniteGuard, evaluate, record_gif
from torchrl_htrpo.records.checkpoints import intact_checkpoint
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.records.trusted import load_config


@hydra.main(version_base="1.3", config_path="config", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Load the run's policy, count, draw."""
    trained = load_config(Path(cfg.run))
    if "goal_task" not in trained:
        raise ValueError(f"evaluate: run must be one on a goal task (of the HTRPO and HER recipes), got {trained.name}")
    trained = OmegaConf.merge(trained, {"device": cfg.device})
    torch.manual_seed(cfg.seed)

    env = TransformedEnv(instantiate(trained.env, seed=cfg.seed), FiniteGuard())
    drawn = make_drawn(trained, cfg.seed) if cfg.gif else None
    task = instantiate(trained.goal_task)
    _, actor, _ = (her if "agent" in trained else htrpo).make_networks(trained, env)
    SealedCheckpoint(actor=actor).load(intact_checkpoint(Path(cfg.run), best=cfg.best))

    exploration = ExplorationType[trained.get("eval_exploration", "DETERMINISTIC")]
    evaluation = evaluate(
        env, actor, task, episodes=cfg.episodes, horizon=trained.horizon, seed=cfg.seed, exploration=exploration
    )
    if drawn is not None:
        episodes, path = cfg.gif_episodes, Path(cfg.gif)
        record_gif(drawn, actor, path, episodes=episodes, horizon=trained.horizon, exploration=exploration)
        drawn.close()
        print(f"wrote {path}")
    figures = " ".join(f"{name}={figure:.4g}" for name, figure in evaluation.metrics().items())
    print(f"RESULT {figures}")


def make_drawn(trained: DictConfig, seed: int) -> EnvBase:
    """One environment that can be drawn; found out before anything else is done."""
    alone = {key: value for key, value in {"num_envs": 1, "num_workers": 0}.items() if key in trained.env}
    env = TransformedEnv(instantiate(trained.env, seed=seed, **alone), FiniteGuard())
    try:
        env.reset()
        env.render(width=16, height=16)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise RuntimeError(f"evaluate: gif: {trained.name} cannot be drawn: {error}") from error
    return env


if __name__ == "__main__":
    refuse_unknown_keys("evaluate")
    main()
