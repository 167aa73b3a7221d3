"""Hindsight on batches of trajectories: choose goals, relabel, weigh."""

from torchrl_htrpo.transforms.cumulative_goal_ratio import CumulativeGoalRatio
from torchrl_htrpo.transforms.future_goal_sampler import FinalGoalSampler, FutureGoalSampler
from torchrl_htrpo.transforms.goal_sampler import (
    AllGoalSampler,
    GoalSampler,
    OriginalGoalSampler,
    UniformGoalSampler,
)
from torchrl_htrpo.transforms.hgf_goal_sampler import HGFGoalSampler
from torchrl_htrpo.transforms.hindsight_relabel import HindsightRelabel
from torchrl_htrpo.transforms.hindsight_replay import HindsightReplay
from torchrl_htrpo.transforms.row_pruner import RowPruner
from torchrl_htrpo.transforms.row_sampler import RowSampler, contribution, weight_share
from torchrl_htrpo.transforms.share_states import ShareStates

__all__ = [
    "AllGoalSampler",
    "CumulativeGoalRatio",
    "FinalGoalSampler",
    "FutureGoalSampler",
    "GoalSampler",
    "HGFGoalSampler",
    "HindsightRelabel",
    "HindsightReplay",
    "OriginalGoalSampler",
    "RowPruner",
    "RowSampler",
    "ShareStates",
    "UniformGoalSampler",
    "contribution",
    "weight_share",
]
