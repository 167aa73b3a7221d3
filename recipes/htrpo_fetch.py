"""HTRPO on the Fetch robot tasks, or on any goal-conditioned gymnasium environment.

    python recipes/htrpo_fetch.py task=reach
    python recipes/htrpo_fetch.py task=push total_steps=600000 eval_every=5

The flow is in ``htrpo.py``, every key in ``config/htrpo_fetch.yaml``. The run's folder gets a checkpoint,
``metrics.csv`` and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from htrpo import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="htrpo_fetch")
def main(cfg: DictConfig) -> None:
    """Train on a Fetch task."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("htrpo_fetch")
    main()
