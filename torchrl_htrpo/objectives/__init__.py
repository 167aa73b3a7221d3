"""Divergences, the trust-region objective, values and advantages."""

from torchrl_htrpo.objectives.center_advantage import CenterAdvantage
from torchrl_htrpo.objectives.divergence import DivergenceLoss, KLLoss, QKLLoss, SampledKLLoss
from torchrl_htrpo.objectives.goal_vtrace import GoalVTrace
from torchrl_htrpo.objectives.state_value import StateValue
from torchrl_htrpo.objectives.trust_region import TrustRegionObjective

__all__ = [
    "CenterAdvantage",
    "DivergenceLoss",
    "GoalVTrace",
    "KLLoss",
    "QKLLoss",
    "SampledKLLoss",
    "StateValue",
    "TrustRegionObjective",
]
