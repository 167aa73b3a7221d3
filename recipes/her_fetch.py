"""HER with DDPG (or DQN) on the Fetch tasks, or on a goal task of gymnasium whose episodes are of one length.

    python recipes/her_fetch.py task=reach target_success=0.95
    python recipes/her_fetch.py task=reach hindsight=future_in_region

The flow is in ``her.py``, every key in ``config/her_fetch.yaml``. The run's folder gets a checkpoint, ``metrics.csv``
and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from her import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="her_fetch")
def main(cfg: DictConfig) -> None:
    """Train on a Fetch task."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("her_fetch")
    main()
