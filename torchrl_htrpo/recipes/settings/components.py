"""Dataclasses of the configuration groups: heads, goals, advantages, divergences, trust regions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

Reward = StrEnum("Reward", ["sparse", "paper_code", "her", "dense"])
Aim = StrEnum("Aim", ["reach", "stay"])
Distance = StrEnum("Distance", ["euclidean", "density"])
DampingMode = StrEnum("DampingMode", ["relative", "absolute"])


@dataclass
class GoalTask:
    """Goals and rewards."""

    _target_: str = "torchrl_htrpo.envs.GoalTask"
    aim: Aim = Aim.reach  # reach: touch the goal (a pair ends there); stay: be there at the end
    reward: Reward = Reward.sparse
    success_reward: float = 10.0  # of the sparse reward
    ends_at_success: bool = (
        True  # whether the environment ends an episode where its goal is reached; false: it was a failure
    )
    reached: Any = MISSING  # when a goal is reached


@dataclass
class Part:
    """Base class: a component that the recipe completes with sizes, parameters or the discount."""

    _target_: str = ""
    _partial_: bool = True


@dataclass
class GaussianHead(Part):
    """Independent Gaussians: mean tanh(features), a free state-independent scale."""

    _target_: str = "torchrl_htrpo.modules.GaussianHead"
    init_scale: float = 1.0  # standard deviation at the start [units of the action]
    min_scale: float = 0.1  # its floor
    bound_mean: bool = True  # false: the mean is unbounded, for actions that the environment clips


@dataclass
class TanhNormalHead(Part):
    """Tanh-squashed Gaussians with a state-dependent scale."""

    _target_: str = "torchrl_htrpo.modules.TanhNormalHead"
    min_scale: float = 0.05  # floor of the standard deviation before squashing


@dataclass
class FullCovarianceHead(Part):
    """A Gaussian whose mean and covariance depend on the state."""

    _target_: str = "torchrl_htrpo.modules.FullCovarianceHead"
    init_scale: float = 1.0  # diagonal of the covariance's root at the start [units of the action]
    min_scale: float = 0.1  # its floor


@dataclass
class GaussianMixtureHead(Part):
    """A mixture of Gaussians: weights, means and scales depend on the state."""

    _target_: str = "torchrl_htrpo.modules.GaussianMixtureHead"
    num_components: int = 8
    init_scale: float = 1.0  # standard deviation at the start [units of the action]
    min_scale: float = 0.1  # its floor
    spread: float = 0.5  # of the means before tanh, at the start
    min_weight: float = 0.0  # floor of a component's weight


@dataclass
class TanhGaussianMixtureHead(GaussianMixtureHead):
    """A mixture of tanh-squashed Gaussians."""

    _target_: str = "torchrl_htrpo.modules.TanhGaussianMixtureHead"
    min_scale: float = 0.05  # floor of the standard deviation before squashing


@dataclass
class CategoricalHead(Part):
    """A categorical action, as an index."""

    _target_: str = "torchrl_htrpo.modules.CategoricalHead"
    uniform_share: float = 0.0  # share of the uniform distribution: no action dies out


@dataclass
class OneHotHead(CategoricalHead):
    """A categorical action, as a one-hot vector."""

    _target_: str = "torchrl_htrpo.modules.OneHotHead"


@dataclass
class MultiCategoricalHead(CategoricalHead):
    """Several categorical actions, as a vector of indices."""

    _target_: str = "torchrl_htrpo.modules.MultiCategoricalHead"


@dataclass
class MaskedCategoricalHead(CategoricalHead):
    """A categorical action with a mask in the observation."""

    _target_: str = "torchrl_htrpo.modules.MaskedCategoricalHead"
    mask_key: str = "action_mask"


@dataclass
class PartHeads:
    """The head of each part of a mixed action, by its name; unused for parts of other environments."""

    gear: CategoricalHead = field(default_factory=CategoricalHead)  # of GearShiftEnv
    push: GaussianHead = field(default_factory=GaussianHead)
    gripper: CategoricalHead = field(default_factory=CategoricalHead)  # of FetchEnv with env.control=mixed
    motion: GaussianHead = field(default_factory=GaussianHead)


@dataclass
class MixedHead(Part):
    """An action in discrete and continuous parts."""

    _target_: str = "torchrl_htrpo.modules.MixedHead.of_sizes"
    heads: PartHeads = field(default_factory=PartHeads)


@dataclass
class HGFGoals(Part):
    """Hindsight Goal Filtering (Algorithm 2)."""

    _target_: str = "torchrl_htrpo.hindsight.HGFGoalSampler"
    num_goals: int = "${num_goals}"  # type: ignore[assignment]
    distance: Distance = Distance.euclidean  # density: each dimension in standard deviations of the original goals
    resolution: float = (
        0.01  # achieved goals nearer than this to a chosen one are the same goal [units of the distance]
    )


@dataclass
class UniformGoals(Part):
    """Uniform choice among the distinct achieved goals (the ablation "w/o HGF")."""

    _target_: str = "torchrl_htrpo.hindsight.UniformGoalSampler"
    num_goals: int = "${num_goals}"  # type: ignore[assignment]


@dataclass
class AllGoals(Part):
    """Every distinct achieved goal."""

    _target_: str = "torchrl_htrpo.hindsight.AllGoalSampler"


@dataclass
class OriginalGoals(Part):
    """Each trajectory keeps its original goal (TRPO on a goal task), perhaps with hindsight goals too."""

    _target_: str = "torchrl_htrpo.hindsight.OriginalGoalSampler"
    beside: HGFGoals | None = None


@dataclass
class GoalVTrace(Part):
    """V-trace with the goal ratio: multi-step advantages, corrected for the changed goal."""

    _target_: str = "torchrl_htrpo.objectives.GoalVTrace"
    lmbda: float = "${lmbda}"  # type: ignore[assignment]


@dataclass
class TD0(Part):
    """One-step advantages (the paper, Section 3.2)."""

    _target_: str = "torchrl.objectives.value.TD0Estimator"
    value_network: Any = None


@dataclass
class GAE(Part):
    """Generalised advantage estimation; biased under a changed goal."""

    _target_: str = "torchrl.objectives.value.GAE"
    lmbda: float = "${lmbda}"  # type: ignore[assignment]
    value_network: Any = None


@dataclass
class ConjugateGradient:
    """Conjugate gradients for the direction of a step."""

    _target_: str = "torchrl_htrpo.optim.ConjugateGradient"
    max_iterations: int = 10
    tolerance: float = 0.001  # of the relative residual


@dataclass
class LineSearch:
    """Backtracking line search for the length of a step."""

    _target_: str = "torchrl_htrpo.optim.BacktrackingLineSearch"
    max_trials: int = 10
    accept_ratio: float = 0.1  # least ratio of gain to expected gain
    divergence_tolerance: float = 1.5  # greatest divergence [radii]


@dataclass
class TrustRegion(Part):
    """Radius in nats per decision, damping relative to the gradient's curvature, length with the undamped curvature."""

    _target_: str = "torchrl_htrpo.optim.TrustRegionOptimizer"
    max_divergence: float = "${max_divergence}"  # type: ignore[assignment]
    damping: float = "${cg_damping}"  # type: ignore[assignment]
    damping_mode: DampingMode = DampingMode.relative
    direction: ConjugateGradient = field(default_factory=ConjugateGradient)
    search: LineSearch = field(default_factory=LineSearch)


@dataclass
class PaperTrustRegion(Part):
    """The optimizer of the paper, in the units of eqs. 79, 80 and Tables 2, 3."""

    _target_: str = "torchrl_htrpo.optim.TrustRegionOptimizer.paper"
    max_divergence: float = 2.0e-5  # max KL step of Tables 2, 3
    damping: float = 1.0e-3  # CG damping of Tables 2, 3


@dataclass
class Adam(Part):
    """A first-order optimizer."""

    _target_: str = "torch.optim.Adam"
    lr: float = 1.0e-3


@dataclass
class FirstOrder(Part):
    """Hindsight policy gradient: a first-order step on the same batch, no trust region."""

    _target_: str = "torchrl_htrpo.optim.FirstOrderOptimizer"
    optimizer: Adam = field(default_factory=Adam)


@dataclass
class DQN(Part):
    """Double DQN, for discrete actions."""

    _target_: str = "torchrl_htrpo.recipes.agents.make_dqn"
    epsilon: float = 0.2  # share of random actions while exploring


@dataclass
class DDPG(Part):
    """DDPG, for continuous actions."""

    _target_: str = "torchrl_htrpo.recipes.agents.make_ddpg"
    epsilon: float = 0.3  # share of random actions while exploring
    sigma: float = 0.2  # standard deviation of the noise on the others [largest action]
    action_cost: float = 1.0  # weight of the mean squared action in the actor's loss


@dataclass
class FutureGoals:
    """A goal that the same trajectory achieves later (HER's choice)."""

    _target_: str = "torchrl_htrpo.hindsight.FutureGoalSampler"
    region: Any = None


@dataclass
class FinalGoals:
    """The goal that the same trajectory achieves last."""

    _target_: str = "torchrl_htrpo.hindsight.FinalGoalSampler"


@dataclass
class InBox:
    """The region of the original goals."""

    _target_: str = "hydra.utils.get_method"
    path: str = "torchrl_htrpo.hindsight.functional.in_box"
