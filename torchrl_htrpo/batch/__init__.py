"""Batches of trajectories: mask, rows, weights, and the base class of transforms."""

from torchrl_htrpo.batch.mask import MASK_KEY, beyond_end, last_steps, validity
from torchrl_htrpo.batch.row_sampler import RowSampler, contribution, weight_share
from torchrl_htrpo.batch.row_stream import Draws, RowStream
from torchrl_htrpo.batch.rows import by_goal, map_rows, unravel
from torchrl_htrpo.batch.transform import BatchTransform
from torchrl_htrpo.batch.weights import effective_sample_size, row_weights

__all__ = [
    "MASK_KEY",
    "BatchTransform",
    "Draws",
    "RowSampler",
    "RowStream",
    "beyond_end",
    "by_goal",
    "contribution",
    "effective_sample_size",
    "last_steps",
    "map_rows",
    "row_weights",
    "unravel",
    "validity",
    "weight_share",
]
