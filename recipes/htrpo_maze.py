"""HTRPO in the mazes of Hindsight Policy Gradients.

    python recipes/htrpo_maze.py
    python recipes/htrpo_maze.py layout=four_rooms seed=1

The flow is in ``htrpo.py``, every key in ``config/htrpo_maze.yaml``. The run's folder gets a checkpoint,
``metrics.csv`` and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from htrpo import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="htrpo_maze")
def main(cfg: DictConfig) -> None:
    """Train in a maze."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("htrpo_maze")
    main()
