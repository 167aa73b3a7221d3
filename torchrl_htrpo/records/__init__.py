"""Records of a run: metrics, checkpoints, provenance, plots."""

from torchrl_htrpo.records.checkpoints import EnvRandomness, StoredItems
from torchrl_htrpo.records.plots import plot_run
from torchrl_htrpo.records.run import Run
from torchrl_htrpo.records.tables import read_scalars, read_table, write_table

__all__ = [
    "EnvRandomness",
    "Run",
    "StoredItems",
    "plot_run",
    "read_scalars",
    "read_table",
    "write_table",
]
