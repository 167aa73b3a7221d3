"""Load the configuration of an untrusted run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from torchrl_htrpo._errors import refusal

# List exact names: a prefix would allow every module that the package imports (`torchrl_htrpo.x.os.system`).
OURS = {
    "envs": """
        BitFlipEnv DetourEnv EqualGoals GearShiftEnv GoalTask GridMazeEnv HiddenGapEnv WithinDistance make_goal_env
    """,
    "modules": """
        CategoricalHead FullCovarianceHead GaussianHead GaussianMixtureHead MaskedCategoricalHead MixedHead.of_sizes
        MultiCategoricalHead OneHotHead TanhGaussianMixtureHead TanhNormalHead
    """,
    "hindsight": """
        AllGoalSampler FinalGoalSampler FutureGoalSampler HGFGoalSampler OriginalGoalSampler UniformGoalSampler
        functional.in_box
    """,
    "objectives": "GoalVTrace KLLoss QKLLoss SampledKLLoss",
    "optim": """
        BacktrackingLineSearch ConjugateGradient FirstOrderOptimizer TrustRegionOptimizer TrustRegionOptimizer.paper
    """,
    "trainers": "RayWorkers",
}
OTHERS = """
    torch.nn.ReLU torch.nn.Tanh torch.optim.Adam
    torchrl.modules.ConvNet torchrl.objectives.value.GAE torchrl.objectives.value.TD0Estimator
"""
TARGETS = frozenset(
    {f"torchrl_htrpo.{room}.{name}" for room, names in OURS.items() for name in names.split()}
    | {f"torchrl_htrpo.{name}" for names in OURS.values() for name in names.split()}  # as the top level exports them
    | {"torchrl_htrpo.recipes.agents.make_ddpg", "torchrl_htrpo.recipes.agents.make_dqn", *OTHERS.split()}
)
_LOOKUPS = {"hydra.utils.get_method", "hydra.utils.get_class"}


def load_config(directory: Path, *, trusted: Iterable[str] = ()) -> DictConfig:
    """Load the configuration of a run from its ``run.json``; raise if it names anything but known components.

    Args:
        directory: the run's folder.
        trusted: further names that may be built, such as ``my_package.MyEnv``, and modules that ids of environments may
            import, such as ``panda_gym`` (``panda_gym:PandaReach-v3``). They run with the values of the file.

    Returns:
        The configuration, ready for ``hydra.utils.instantiate``.

    Raises:
        FileNotFoundError: if the folder has no configuration.
        ValueError: if it cannot be read, holds a reference (``${...}``), or names a component that is not trusted.
    """
    path = directory / "run.json"
    if not path.is_file():
        raise FileNotFoundError(refusal("load_config", "directory", "the folder of a run", str(directory)))
    try:
        plain = dict(json.loads(path.read_bytes())["config"])
        config = OmegaConf.create(plain)
        OmegaConf.to_container(config, throw_on_missing=True)
    except (OmegaConfBaseException, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"load_config: {path} cannot be read: {error!r}") from error
    _refuse_references(plain)
    refuse_foreign_targets(plain, trusted=trusted)
    return config


def _refuse_references(value: object, where: tuple[str, ...] = ()) -> None:
    """Raise for any reference: runs write none, and one that is resolved after the check could make a target."""
    if isinstance(value, str) and "${" in value:
        raise ValueError(refusal("configuration", ".".join(where), "a value without references (SECURITY.md)", value))
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _refuse_references(item, (*where, str(key)))


def refuse_foreign_targets(config: object, *, trusted: Iterable[str] = ()) -> None:
    """Raise a ValueError that names every ``_target_`` of a configuration which is not a known or trusted component.

    Example:
        >>> refuse_foreign_targets({"env": {"_target_": "os.system", "command": "reboot"}})
        Traceback (most recent call last):
        ValueError: configuration: targets must be components of this library (SECURITY.md), got ['env: os.system']; ...
    """
    known = TARGETS | set(trusted)
    found = [text for where, node in _nodes(config, ()) for text in _foreign(".".join(where), node, known)]
    if found:
        expected = "components of this library (SECURITY.md)"
        message = refusal("configuration", "targets", expected, found)
        raise ValueError(f"{message}; name them as trusted only if you trust whoever wrote the file")


def _nodes(value: object, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
    if isinstance(value, dict):
        yield where, value
        for key, item in value.items():
            yield from _nodes(item, (*where, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _nodes(item, (*where, str(index)))


def _foreign(where: str, node: dict[Any, Any], known: set[str] | frozenset[str]) -> Iterator[str]:
    if "_target_" not in node:
        return
    target, path = str(node["_target_"]), str(node.get("path"))
    if target in _LOOKUPS:
        if set(node) != {"_target_", "path"} or path not in known:
            yield f"{where}: {target} of {path}"
    elif target not in known:
        yield f"{where}: {target}"
    elif target.endswith("make_goal_env") and ":" in (name := f"{node.get('name')}{node.get('_args_') or ''}"):
        module = name.partition(":")[0]
        if module not in known:
            yield f"{where}: {target} of {name}, which imports {module}"
