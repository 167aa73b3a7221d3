"""Hindsight: choose goals, relabel, weigh."""

from torchrl_htrpo.hindsight.cumulative_goal_ratio import CumulativeGoalRatio
from torchrl_htrpo.hindsight.future_goal_sampler import FinalGoalSampler, FutureGoalSampler, PerTrajectoryGoalSampler
from torchrl_htrpo.hindsight.goal_sampler import (
    AllGoalSampler,
    GoalSampler,
    OriginalGoalSampler,
    SharedGoalSampler,
    UniformGoalSampler,
)
from torchrl_htrpo.hindsight.hgf_goal_sampler import HGFGoalSampler
from torchrl_htrpo.hindsight.hindsight_relabel import HindsightRelabel
from torchrl_htrpo.hindsight.hindsight_replay import HindsightReplay
from torchrl_htrpo.hindsight.share_states import ShareStates

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
    "PerTrajectoryGoalSampler",
    "ShareStates",
    "SharedGoalSampler",
    "UniformGoalSampler",
]
