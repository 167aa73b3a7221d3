"""What a configuration may say, seen before any work: the range of every number, and keys that nobody reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, isfinite
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

CONFIG = Path(__file__).parent / "config"
# What may change when a run goes on: how long, how examined, how shown. Threads and workers change no result.
FREE = {"total_steps", "resume", "logger", "name", "target_success", "target_metric", "num_threads"}
FREE |= {"eval_every", "eval_episodes", "final_episodes", "eval_exploration"}
FREE |= {"num_workers", "timeout", "start_method"}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; without ``low`` itself if ``above``; None where ``optional``."""

    low: float = 0
    high: float = inf
    above: bool = False
    whole: bool = False
    optional: bool = False

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        return isfinite(value) and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        return f"{kind} {low}" + (f", at most {self.high:g}" if self.high < inf else "") + " or null" * self.optional


METRICS = ("success", "success_last")
EXPLORATIONS = ("DETERMINISTIC", "MODE", "RANDOM")
SHARE, POSITIVE = Range(0, 1), Range(above=True)
COUNT, OPTIONAL_COUNT = Range(1, whole=True), Range(1, whole=True, optional=True)

RANGES = {
    "seed": Range(0, 2**32 - 1, whole=True),
    "num_bits": COUNT,
    "horizon": COUNT,
    "env.slip": Range(0, 1, optional=True),
    "num_envs": COUNT,
    "num_threads": OPTIONAL_COUNT,
    "num_workers": Range(whole=True),
    "timeout": POSITIVE,
    "total_steps": COUNT,
    "batch_steps": OPTIONAL_COUNT,
    "warmup_steps": Range(whole=True),
    "replay_batches": COUNT,
    "chunk_rows": COUNT,
    "num_goals": COUNT,
    "gradient_rows": OPTIONAL_COUNT,
    "curvature_rows": OPTIONAL_COUNT,
    "max_lost_share": SHARE,
    "hidden_sizes": COUNT,  # each of them
    "input_clip": Range(above=True, optional=True),
    "gamma": SHARE,
    "lmbda": SHARE,
    "max_kl": POSITIVE,
    "cg_damping": Range(),
    "critic.lr": POSITIVE,
    "critic.updates": COUNT,
    "critic.epochs": COUNT,
    "critic.batch_size": COUNT,
    "eval_every": COUNT,
    "eval_episodes": COUNT,
    "final_episodes": COUNT,
    "target_success": Range(0, 1, above=True, optional=True),
    "hindsight_share": SHARE,
    "replay_episodes": COUNT,
    "buffer_steps": COUNT,
    "updates_per_step": POSITIVE,
    "batch_size": COUNT,
    "lr": POSITIVE,
    "polyak": SHARE,
    "target_every": COUNT,
    "save_every": COUNT,
    "agent.epsilon": SHARE,
    "agent.sigma": Range(),
    "agent.action_cost": Range(),
    "hindsight.resolution": Range(),
    "goal_task.success_reward": POSITIVE,
    "goal_task.reached.threshold": POSITIVE,
    "goals.resolution": Range(),
    "head.init_scale": POSITIVE,
    "head.min_scale": POSITIVE,
    "head.num_components": COUNT,
    "head.spread": Range(),
    "head.min_weight": SHARE,
    "head.uniform_share": SHARE,
    "head.heads.push.init_scale": POSITIVE,
    "head.heads.push.min_scale": POSITIVE,
    "head.heads.motion.init_scale": POSITIVE,
    "head.heads.motion.min_scale": POSITIVE,
    "trust_region.max_divergence": POSITIVE,
    "trust_region.damping": Range(),
    "trust_region.direction.max_iterations": COUNT,
    "trust_region.direction.tolerance": POSITIVE,
    "trust_region.search.max_trials": COUNT,
    "trust_region.search.accept_ratio": SHARE,
    "trust_region.search.divergence_tolerance": Range(1),
}


def check(cfg: DictConfig) -> None:
    """Refuse values outside their range, and sizes that do not fit together.

    Raises:
        ValueError: naming every such key, its value and what it may be.
    """
    found = [f"{key}={_shown(value)} must be {RANGES[key]}" for key, value in _outside(cfg)] or _misfits(cfg)
    if found:
        raise ValueError(f"{cfg.name}: " + "; ".join(found))


def _outside(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    for key, allowed in RANGES.items():
        value = OmegaConf.select(cfg, key, default=...)
        each = list(value) if OmegaConf.is_list(value) else [value]
        if value is not ... and not all(one in allowed for one in each):
            yield key, value


def _misfits(cfg: DictConfig) -> list[str]:
    return [rule for rule, held in (_episode_rules(cfg) if "horizon" in cfg else _step_rules(cfg)).items() if not held]


def _step_rules(cfg: DictConfig) -> dict[str, bool]:
    """Recipes whose batches are so many steps, wherever episodes end."""
    rule = f"batch_steps={cfg.batch_steps} must be a multiple of num_envs = {cfg.num_envs}"
    return {rule: cfg.batch_steps % cfg.num_envs == 0}


def _episode_rules(cfg: DictConfig) -> dict[str, bool]:
    """Recipes whose batches are whole episodes."""
    episodes, batch = cfg.num_envs * cfg.horizon, cfg.get("batch_steps") or cfg.num_envs * cfg.horizon
    exploration = cfg.get("eval_exploration", "RANDOM")
    buffer, metric = cfg.get("buffer_steps", batch), cfg.get("target_metric", "success")
    bits, warm = cfg.get("num_bits", cfg.horizon), cfg.get("warmup_steps", 0)
    return {
        f"eval_exploration={exploration} must be one of {', '.join(EXPLORATIONS)}": exploration in EXPLORATIONS,
        f"buffer_steps={buffer} must be at least {batch}: one batch": buffer >= batch,
        f"gamma={cfg.get('gamma')} must be below 1: it bounds the values": "agent" not in cfg or cfg.gamma < 1,
        f"target_metric={metric} must be one of {', '.join(METRICS)}": metric in METRICS,
        f"horizon={cfg.horizon} must be num_bits = {bits}": cfg.horizon == bits,
        f"batch_steps={batch} must be a multiple of num_envs * horizon = {episodes}": batch % episodes == 0,
        f"total_steps={cfg.total_steps} must be at least {warm + batch}: warmup_steps and one batch": (
            cfg.total_steps >= warm + batch
        ),
        f"warmup_steps={warm} must be a multiple of num_envs = {cfg.num_envs}, above 0 with normalize": (
            warm % cfg.num_envs == 0 and (warm > 0 or not cfg.normalize or "warmup_steps" not in cfg)
        ),
    }


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def lasting(cfg: DictConfig) -> dict[str, Any]:
    """What must stay as it is for a run to go on, with every reference resolved."""
    kept = {key: value for key, value in OmegaConf.to_container(cfg, resolve=True).items() if key not in FREE}
    if isinstance(kept["env"], dict):
        kept["env"] = {key: value for key, value in kept["env"].items() if key not in FREE}
    return kept


def refuse_unknown_keys(name: str, arguments: list[str] | None = None) -> None:
    """Stop at an override of a key that the configuration lacks, and name the nearest that it has.

    Args:
        name: of the configuration.
        arguments: of the command line; default: this process's.

    Raises:
        SystemExit: if there is one.
    """
    given = [text for text in (sys.argv[1:] if arguments is None else arguments) if not text.startswith("-")]
    groups = {folder.name for folder in CONFIG.iterdir() if folder.is_dir()}
    # A choice of a group brings keys of its own; of a sweep, every choice does.
    picks = [text.partition("=") for text in given if text.partition("=")[0].lstrip("+") in groups]
    choices = [f"{group}={choice}" for group, _, picked in picks for choice in picked.split(",")]
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        known = groups.union(*(_keys(compose(name, [choice] if choice else [])) for choice in ["", *choices]))
    for override in OverridesParser.create().parse_overrides([text for text in given if "=" in text]):
        key = override.key_or_group
        # With a plus, a new argument of a component is meant; a new key on its own nobody would read.
        added = override.is_add() and "." in key
        if not added and key not in known and not key.startswith("hydra."):
            near = get_close_matches(key, known, n=1, cutoff=0.5)
            raise SystemExit(f"{name}: {key} is not a key" + (f"; did you mean {near[0]}?" if near else ""))


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in cfg:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node := cfg._get_node(key)):
            yield from _keys(node, f"{prefix}{key}.")
