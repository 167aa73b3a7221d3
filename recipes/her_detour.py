"""HER with DDPG on the detour round a wall.

    python recipes/her_detour.py
    python recipes/her_detour.py hindsight=hgf seed=3

The flow is in ``her.py``, every key in ``config/her_detour.yaml``. The run's folder gets a checkpoint, ``metrics.csv``
and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from her import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="her_detour")
def main(cfg: DictConfig) -> None:
    """Train on the detour."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("her_detour")
    main()
