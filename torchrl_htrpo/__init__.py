"""Hindsight Trust Region Policy Optimization as composable TorchRL components.

The names of an ordinary script, in the order of the data flow; everything else is in the rooms
(``torchrl_htrpo.modules`` and so on). Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_.
"""
# ruff: noqa: I001, RUF022 - the order is that of the data flow

from typing import TYPE_CHECKING

from torchrl_htrpo import envs
from torchrl_htrpo.envs import (
    BitFlipEnv,
    DetourEnv,
    EqualGoals,
    GearShiftEnv,
    GoalTask,
    GridMazeEnv,
    HiddenGapEnv,
    WithinDistance,
    make_goal_env,
)
from torchrl_htrpo.modules import make_actor, make_critic, make_normalizer
from torchrl_htrpo.batch import RowSampler
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    CumulativeGoalRatio,
    FinalGoalSampler,
    FutureGoalSampler,
    HGFGoalSampler,
    HindsightRelabel,
    HindsightReplay,
    OriginalGoalSampler,
    UniformGoalSampler,
)
from torchrl_htrpo.objectives import (
    GoalVTrace,
    KLLoss,
    QKLLoss,
    SampledKLLoss,
    StateValue,
    TrustRegionObjective,
)
from torchrl_htrpo.optim import FirstOrderOptimizer, StepResult, StepStatus, TrustRegionOptimizer
from torchrl_htrpo.trainers import Evaluator, HTRPOTrainer, hindsight_pipeline
from torchrl_htrpo.evaluation import evaluate

if TYPE_CHECKING:
    from torchrl_htrpo.envs import FetchEnv as FetchEnv
    from torchrl_htrpo.envs import MsPacmanEnv as MsPacmanEnv
    from torchrl_htrpo.recipes import load_policy

__version__ = "0.1.0"

__all__ = [
    # 1. Tasks: environments and their goals. FetchEnv and MsPacmanEnv need an extra: import them by name.
    "GoalTask",
    "WithinDistance",
    "EqualGoals",
    "BitFlipEnv",
    "DetourEnv",
    "GearShiftEnv",
    "GridMazeEnv",
    "HiddenGapEnv",
    "make_goal_env",
    # 2. Policies and critics; their heads and encoders are in `modules`.
    "make_actor",
    "make_critic",
    "make_normalizer",
    # 3. Hindsight on batches of trajectories: choose goals, relabel, weigh, draw rows.
    "HGFGoalSampler",
    "UniformGoalSampler",
    "AllGoalSampler",
    "OriginalGoalSampler",
    "FutureGoalSampler",
    "FinalGoalSampler",
    "HindsightRelabel",
    "HindsightReplay",
    "CumulativeGoalRatio",
    "RowSampler",
    # 4. Objectives: values, advantages, divergences, the trust region.
    "StateValue",
    "GoalVTrace",
    "QKLLoss",
    "SampledKLLoss",
    "KLLoss",
    "TrustRegionObjective",
    # 5. Optimizers.
    "TrustRegionOptimizer",
    "FirstOrderOptimizer",
    "StepResult",
    "StepStatus",
    # 6. Training and evaluation.
    "HTRPOTrainer",
    "hindsight_pipeline",
    "Evaluator",
    "evaluate",
    "load_policy",
]


def __getattr__(name: str) -> object:
    # These need an optional dependency, or Hydra, so import them on first access.
    if name in ("FetchEnv", "MsPacmanEnv"):
        return getattr(envs, name)
    if name == "load_policy":
        from torchrl_htrpo.recipes import load_policy  # noqa: PLC0415

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
