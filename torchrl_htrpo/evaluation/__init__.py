"""Numbers and pictures: rollouts, statistics, plots, and the record of a run."""

from torchrl_htrpo.evaluation.checkpoints import EnvRandomness, StoredItems
from torchrl_htrpo.evaluation.hindsight_metrics import HindsightMetrics
from torchrl_htrpo.evaluation.metrics import read_scalars, read_table, write_table
from torchrl_htrpo.evaluation.plots import plot_learning_curve
from torchrl_htrpo.evaluation.policy_metrics import PolicyMetrics
from torchrl_htrpo.evaluation.rollout import Evaluation, collect_episodes, evaluate, summarize
from torchrl_htrpo.evaluation.run import Run
from torchrl_htrpo.evaluation.statistics import success_interval
from torchrl_htrpo.evaluation.video import record_gif

__all__ = [
    "EnvRandomness",
    "Evaluation",
    "HindsightMetrics",
    "PolicyMetrics",
    "Run",
    "StoredItems",
    "collect_episodes",
    "evaluate",
    "plot_learning_curve",
    "read_scalars",
    "read_table",
    "record_gif",
    "success_interval",
    "summarize",
    "write_table",
]
