"""Hindsight Trust Region Policy Optimization as composable TorchRL components.

The public names, in the order of the data flow. Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_.
"""
# ruff: noqa: I001, RUF022 - the order is that of the data flow

from typing import TYPE_CHECKING

from torchrl_htrpo import envs
from torchrl_htrpo.envs import (
    BitFlipEnv,
    DetourEnv,
    EnvBatch,
    EnvFailure,
    FiniteGuard,
    GearShiftEnv,
    GoalTask,
    GridMazeEnv,
    HiddenGapEnv,
    PositionGoalEnv,
    WithinDistance,
    make_goal_env,
    EqualGoals,
    with_history,
)
from torchrl_htrpo.modules import (
    CategoricalHead,
    FullCovarianceHead,
    GaussianHead,
    GaussianMixtureHead,
    GoalMemory,
    GoalNetwork,
    GoalNormalizer,
    MaskedCategoricalHead,
    MixedHead,
    MultiCategoricalHead,
    OneHotHead,
    PixelGoalEncoder,
    PolicyHead,
    RunningNormalizer,
    TanhGaussianMixtureHead,
    TanhNormalHead,
    action_features,
    action_log_prob,
    check_actor,
    make_actor,
    make_critic,
    orthogonal_,
)
from torchrl_htrpo.batch import RowSampler, contribution, weight_share
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    CumulativeGoalRatio,
    FinalGoalSampler,
    FutureGoalSampler,
    GoalSampler,
    HGFGoalSampler,
    HindsightRelabel,
    OriginalGoalSampler,
    HindsightReplay,
    ShareStates,
    UniformGoalSampler,
)
from torchrl_htrpo.objectives import (
    DivergenceLoss,
    GoalVTrace,
    KLLoss,
    QKLLoss,
    SampledKLLoss,
    StateValue,
    TrustRegionObjective,
)
from torchrl_htrpo.optim import (
    BacktrackingLineSearch,
    CGSolution,
    ConjugateGradient,
    FirstOrderOptimizer,
    GaussNewtonOperator,
    HessianOperator,
    LinearOperator,
    SearchResult,
    StepResult,
    StepStatus,
    TrustRegionOptimizer,
    TrustRegionProblem,
)
from torchrl_htrpo.optim.gauss_newton import curvature_operator
from torchrl_htrpo.evaluation import (
    Evaluation,
    HindsightMetrics,
    PolicyMetrics,
    collect_episodes,
    evaluate,
    record_gif,
    success_interval,
    summarize,
)
from torchrl_htrpo.records import (
    EnvRandomness,
    Run,
    StoredItems,
    plot_learning_curve,
    read_scalars,
    read_table,
    write_table,
)

if TYPE_CHECKING:
    from torchrl_htrpo.envs import FetchEnv, MsPacmanEnv

__version__ = "0.1.0"

__all__ = [
    # 1. Tasks: environments and their goals.
    "GoalTask",
    "WithinDistance",
    "EqualGoals",
    "BitFlipEnv",
    "DetourEnv",
    "GearShiftEnv",
    "GridMazeEnv",
    "HiddenGapEnv",
    "PositionGoalEnv",
    "FetchEnv",
    "MsPacmanEnv",
    "make_goal_env",
    "with_history",
    "EnvBatch",
    "EnvFailure",
    "FiniteGuard",
    # 2. Policies, critics and their inputs.
    "make_actor",
    "make_critic",
    "PolicyHead",
    "CategoricalHead",
    "OneHotHead",
    "GaussianHead",
    "TanhNormalHead",
    "FullCovarianceHead",
    "GaussianMixtureHead",
    "TanhGaussianMixtureHead",
    "MultiCategoricalHead",
    "MaskedCategoricalHead",
    "MixedHead",
    "GoalMemory",
    "GoalNetwork",
    "orthogonal_",
    "GoalNormalizer",
    "PixelGoalEncoder",
    "RunningNormalizer",
    "action_features",
    "action_log_prob",
    "check_actor",
    # 3. Hindsight on batches of trajectories: choose goals, relabel, weigh, draw rows.
    "GoalSampler",
    "HGFGoalSampler",
    "UniformGoalSampler",
    "AllGoalSampler",
    "OriginalGoalSampler",
    "FutureGoalSampler",
    "FinalGoalSampler",
    "ShareStates",
    "HindsightRelabel",
    "HindsightReplay",
    "CumulativeGoalRatio",
    "RowSampler",
    "contribution",
    "weight_share",
    # 4. Objectives: values, advantages, divergences, the trust region.
    "StateValue",
    "GoalVTrace",
    "DivergenceLoss",
    "QKLLoss",
    "SampledKLLoss",
    "KLLoss",
    "TrustRegionObjective",
    "TrustRegionProblem",
    # 5. Optimizers.
    "TrustRegionOptimizer",
    "FirstOrderOptimizer",
    "ConjugateGradient",
    "CGSolution",
    "LinearOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "curvature_operator",
    "BacktrackingLineSearch",
    "SearchResult",
    "StepResult",
    "StepStatus",
    # 6. Evaluation and records.
    "evaluate",
    "Evaluation",
    "collect_episodes",
    "summarize",
    "success_interval",
    "PolicyMetrics",
    "HindsightMetrics",
    "Run",
    "EnvRandomness",
    "StoredItems",
    "read_scalars",
    "read_table",
    "write_table",
    "plot_learning_curve",
    "record_gif",
]


def __getattr__(name: str) -> object:
    # These need an optional dependency, so import them on first access.
    if name in ("FetchEnv", "MsPacmanEnv"):
        return getattr(envs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
