"""The environment of a configuration in this process, to evaluate or to draw a policy."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig
from torchrl.envs import EnvBase

from torchrl_htrpo.envs.adapters.finite_guard import guarded
from torchrl_htrpo.recipes.command import FETCH_TASKS


def make_env(cfg: DictConfig, seed: int, num_envs: int = 1, *, draw: bool = False) -> EnvBase:
    """Create the environment of a configuration in this process; it refuses nan and inf.

    Args:
        cfg: of a recipe on a goal task.
        seed: of goals and starts.
        num_envs: how many run at once.
        draw: make gymnasium's environments with ``render_mode="rgb_array"``.
    """
    chosen = {"num_envs": num_envs, "num_workers": 0}
    settings: dict[str, object] = {key: value for key, value in chosen.items() if key in cfg.env}
    if draw and _on_gymnasium(cfg.env):
        settings["render_mode"] = "rgb_array"
    return guarded(instantiate(cfg.env, seed=seed, **settings))


def _on_gymnasium(env: DictConfig) -> bool:
    batched = env.get("name") in FETCH_TASKS and env.get("backend", "batched") == "batched"
    return "name" in env and not batched and env.name != "ms_pacman"
