"""HTRPO on a wall with two gaps, one of them closed and unseen.

    python recipes/htrpo_hidden_gap.py
    python recipes/htrpo_hidden_gap.py head=gaussian seed=1

The flow is in ``htrpo.py``, every key in ``config/htrpo_hidden_gap.yaml``. The run's folder gets a checkpoint,
``metrics.csv`` and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from htrpo import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="htrpo_hidden_gap")
def main(cfg: DictConfig) -> None:
    """Train on the wall with two gaps."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("htrpo_hidden_gap")
    main()
