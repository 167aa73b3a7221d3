"""Keep a trained policy in ``policies/``: its best checkpoint without the training state, and a card.

    python recipes/paper/publish.py run=outputs/htrpo_reach/2026-11-22_12-00-00 to=policies/reach

The folder can be loaded as a run, by ``load_policy("policies/reach")`` or ``play run=policies/reach``.
``run.json`` has the configuration and the card, ``README.md`` shows the card, ``policies/SHA256SUMS`` has the checksum
of every file (``sha256sum -c SHA256SUMS``).
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from torchrl_htrpo.evaluation import evaluate
from torchrl_htrpo.evaluation.video import record_frames, write_gif
from torchrl_htrpo.recipes.evaluate import configuration_of, load_policy
from torchrl_htrpo.recipes.settings import lasting
from torchrl_htrpo.recipes.single_env import make_env
from torchrl_htrpo.records.checkpoints import intact_checkpoint
from torchrl_htrpo.records.sealed import SealedCheckpoint

SUMS = "SHA256SUMS"
LARGEST_GIF = 300_000  # bytes


@hydra.main(version_base="1.3", config_path="config", config_name="publish")
def main(cfg: DictConfig) -> None:
    """Publish the policy of a run, configured by the command line."""
    print(publish(Path(cfg.run), Path(cfg.to), command=cfg.command, episodes=cfg.episodes, seed=cfg.seed))


def publish(run: Path, to: Path, *, command: str, episodes: int, seed: int) -> dict[str, Any]:
    """Write the policy of a run, its card, its GIF and the checksums; return the card."""
    trained = configuration_of(run, "cpu")
    record = json.loads((run / "run.json").read_text())
    actor, checkpoint = load_policy(run), intact_checkpoint(run, best=True)
    metadata = {"config": lasting(trained)}
    kept = SealedCheckpoint(actor=actor).save(to / "checkpoints" / checkpoint.name, metadata=metadata)
    steps = int(checkpoint.name.rpartition("-")[2])
    card = {
        "command": command,
        "training_seed": trained.seed,
        "commit": record["starts"][-1]["commit"],
        "versions": record["starts"][-1]["versions"],
        "env_steps": steps,
        "evaluation_seed": seed,
        **examine(trained, actor, episodes, seed),
    }
    config = OmegaConf.to_container(trained, resolve=True) | {"resume": None}  # no path of this machine
    (to / "run.json").write_text(json.dumps({"config": config, "card": card}, indent=2) + "\n")
    drawn = draw(trained, actor, to / "policy.gif", seed)
    (to / "README.md").write_text(
        shown(to, card, drawn, sum(file.stat().st_size for file in kept.rglob("*.safetensors")))
    )
    write_sums(to.parent)
    return card


def examine(trained: DictConfig, actor: torch.nn.Module, episodes: int, seed: int) -> dict[str, float]:
    """Evaluate the policy as ``python -m torchrl_htrpo evaluate`` does."""
    torch.manual_seed(seed)
    with closing(make_env(trained, seed, num_envs=trained.num_envs)) as env:
        task = instantiate(trained.goal_task)
        return evaluate(env, actor, task, episodes=episodes, horizon=trained.horizon, seed=seed).metrics()


def draw(trained: DictConfig, actor: torch.nn.Module, path: Path, seed: int) -> bool:
    """Draw the policy where the environment can be drawn; keep the GIF if it is small. Return whether it was kept."""
    torch.manual_seed(seed)
    with closing(make_env(trained, seed, draw=True)) as env:
        if not callable(getattr(env, "render", None)):
            return False
        frames = record_frames(env, actor, episodes=3, horizon=trained.horizon, size=160)
    write_gif(frames[::2], path, fps=12.5)  # half of the frames, at their speed
    if path.stat().st_size > LARGEST_GIF:
        path.unlink()
    return path.exists()


def shown(folder: Path, card: dict[str, Any], drawn: bool, size: int) -> str:
    """The card as a page."""
    success = f"{card['success']:.3f} ({card['success_low']:.3f} to {card['success_high']:.3f})"
    lines = {
        "command": f"`{card['command']}`",
        "seed": card["training_seed"],
        "commit": f"`{card['commit'][:12]}`",
        "environment steps": f"{card['env_steps']:,}",
        "success at any step, with its 95 % interval": success,
        "success at the last step": f"{card['success_last']:.3f}",
        "greedy evaluation": f"{card['episodes']:.0f} episodes, seed {card['evaluation_seed']}",
        "size": f"{size / 1000:.0f} kB",
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in lines.items())
    picture = "![The policy](policy.gif)\n\n" if drawn else ""
    load = f'```python\npolicy = torchrl_htrpo.load_policy("{folder.as_posix()}")\n```\n'
    return f"# {folder.name}\n\n{picture}| | |\n|---|---|\n{table}\n\n{load}"


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file of the kept policies, in the format of ``sha256sum``."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SUMS)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}" for file in files]
    (folder / SUMS).write_text("\n".join(sums) + "\n")


if __name__ == "__main__":
    main()
