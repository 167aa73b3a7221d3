"""Evaluate policies: rollouts, statistics, metrics, video."""

from torchrl_htrpo.evaluation.hindsight_metrics import HindsightMetrics
from torchrl_htrpo.evaluation.policy_metrics import PolicyMetrics
from torchrl_htrpo.evaluation.rollout import Evaluation, collect_episodes, evaluate, summarize
from torchrl_htrpo.evaluation.statistics import success_interval
from torchrl_htrpo.evaluation.video import record_gif

__all__ = [
    "Evaluation",
    "HindsightMetrics",
    "PolicyMetrics",
    "collect_episodes",
    "evaluate",
    "record_gif",
    "success_interval",
    "summarize",
]
