"""HER with DQN on Bit Flipping.

    python recipes/her_bitflip.py num_bits=8
    python recipes/her_bitflip.py num_bits=8 goal_task.reward=sparse hindsight=hgf

The flow is in ``her.py``, every key in ``config/her_bitflip.yaml``. The run's folder gets a checkpoint, ``metrics.csv``
and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from her import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="her_bitflip")
def main(cfg: DictConfig) -> None:
    """Train on Bit Flipping."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("her_bitflip")
    main()
