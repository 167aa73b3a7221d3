"""HTRPO on Bit Flipping.

    python recipes/htrpo_bitflip.py num_bits=8
    python recipes/htrpo_bitflip.py num_bits=16 seed=3

The flow is in ``htrpo.py``, every key in ``config/htrpo_bitflip.yaml``. The run's folder gets a checkpoint,
``metrics.csv`` and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

import hydra
from htrpo import train
from omegaconf import DictConfig
from settings import refuse_unknown_keys


@hydra.main(version_base="1.3", config_path="config", config_name="htrpo_bitflip")
def main(cfg: DictConfig) -> None:
    """Train on Bit Flipping."""
    print(train(cfg))


if __name__ == "__main__":
    refuse_unknown_keys("htrpo_bitflip")
    main()
