"""HTRPO on goal-reaching Ms. Pac-Man, from pixels.

    python recipes/htrpo_pacman.py
    python recipes/htrpo_pacman.py num_workers=4 total_steps=2000000

Needs the extra `atari`. The flow is in ``htrpo.py``, every key in ``config/htrpo_pacman.yaml``. The run's folder gets a
checkpoint, ``metrics.csv`` and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from htrpo import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="htrpo_pacman")
def main(cfg: DictConfig) -> None:
    """Train on Ms. Pac-Man."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("htrpo_pacman")
    main()
