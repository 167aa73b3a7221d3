"""Run recipes from the command line; check choices and keys first, and leave no folder of a refused run."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from torchrl_htrpo.recipes import torchrun
from torchrl_htrpo.recipes.settings import HERConfig, HTRPOConfig, TRPOConfig, lasting, register
from torchrl_htrpo.recipes.settings.checks import require_booleans
from torchrl_htrpo.records.lock import in_use

CONF = Path(__file__).parent / "conf"
SCHEMAS: dict[str, type] = {"htrpo": HTRPOConfig, "her": HERConfig, "trpo": TRPOConfig}
FETCH_TASKS = ("reach", "push", "slide", "pick_and_place")
GYMNASIUM_ID = re.compile(r"[\w:/.-]+-v\d+")


def run_recipe(name: str, train: Callable[[DictConfig], str], *, together: bool = False) -> None:
    """Run a recipe with the overrides of the command line.

    Args:
        name: of the recipe and of its folder of configurations.
        train: trains as configured and returns the last line to print.
        together: whether torchrun may start several processes of it.
    """
    arguments = torchrun.arguments_of_process(name, sys.argv[1:], together)
    sys.argv[1:] = arguments
    if name in SCHEMAS:
        refuse_unknown_keys(name, arguments)
    register_tasks(arguments)

    def job(cfg: DictConfig) -> None:
        first = torchrun.rank() == 0
        made = first and name in SCHEMAS  # evaluate and play make no folder
        with no_folder_if_refused(Path(HydraConfig.get().runtime.output_dir)) if made else nullcontext():
            given = OverridesParser.create().parse_overrides(HydraConfig.get().overrides.task)
            require_booleans(name, cfg, {one.key_or_group: one.value() for one in given})
            result = torchrun.recorded(train)(cfg)
            if made:
                print(contents(Path(cfg.resume or HydraConfig.get().runtime.output_dir)))  # noqa: T201
            if first:
                print(result)  # noqa: T201

    hydra.main(version_base="1.3", config_path=str(CONF / name), config_name=name)(job)()


def contents(directory: Path) -> str:
    """Say where a run is, and which of its files a user looks for."""
    kept = [name for name in ("checkpoints", "metrics.csv", "learning_curve.png") if (directory / name).exists()]
    here = directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
    return f"{here}: {', '.join(kept)}"


def loop_settings(cfg: DictConfig) -> dict[str, Any]:
    """Arguments of the trainer's loop, from any configuration."""
    return {
        "total_steps": cfg.total_steps,
        "directory": cfg.resume or HydraConfig.get().runtime.output_dir,
        "name": cfg.name,
        "logger": cfg.logger,
        "config": lasting(cfg),
        "settings": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "resume": bool(cfg.resume),
    }


def register_tasks(arguments: Sequence[str] = ()) -> None:
    """Register the Fetch tasks and gymnasium ids as choices of Hydra's group ``task``."""
    given = [text.removeprefix("task=").split(",") for text in arguments if text.startswith("task=")]
    ids = [name for names in given for name in names if GYMNASIUM_ID.fullmatch(name)]
    tasks = {name: {"defaults": ["/base/fetch"], "env": {"name": name}} for name in (*FETCH_TASKS, *ids)}
    register("task", tasks, "_global_")


@contextmanager
def no_folder_if_refused(directory: Path) -> Iterator[None]:
    """Remove the folder that Hydra made for a run if the run did not begin there."""
    new = all(path.name == ".hydra" for path in directory.glob("*"))
    try:
        yield
    finally:
        if not (directory / "run.json").exists() and not in_use(directory):
            shutil.rmtree(directory if new else directory / ".hydra", ignore_errors=True)
            with suppress(OSError, ValueError):  # not empty, or not below the working directory
                for folder in directory.relative_to(Path.cwd()).parents[:-1]:
                    folder.rmdir()


def refuse_unknown_keys(name: str, arguments: Sequence[str]) -> None:
    """Exit at an override of an unknown key of a recipe, and name the most similar key."""
    groups = {folder.name for folder in (CONF / name).iterdir() if folder.is_dir()} | {"system"}
    known = groups | set(_keys(SCHEMAS[name]))
    given = [text for text in arguments if "=" in text and not text.startswith("-")]
    for override in OverridesParser.create().parse_overrides(given):
        root = override.key_or_group.partition("@")[0]
        # The keys of a component depend on the choice: Hydra checks those.
        first = root.partition(".")[0]
        key = root if any(name.startswith(f"{first}.") for name in known) else first
        if key not in known and not key.startswith("hydra"):
            near = get_close_matches(key, known, n=1, cutoff=0.5)
            raise SystemExit(f"{name}: {root} is not a key" + (f"; did you mean {near[0]}?" if near else ""))


def _keys(schema: type) -> Iterator[str]:
    hints = get_type_hints(schema)
    for field in fields(schema):
        yield field.name
        if is_dataclass(hints[field.name]) and field.name != "goal_task":
            yield from (f"{field.name}.{key}" for key in _keys(hints[field.name]))
