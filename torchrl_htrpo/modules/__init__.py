"""Policies, critics and encoders of their inputs."""

from torchrl_htrpo.modules.actor_check import check_actor
from torchrl_htrpo.modules.heads.base import PolicyHead
from torchrl_htrpo.modules.heads.discrete import (
    CategoricalHead,
    MaskedCategoricalHead,
    MultiCategoricalHead,
    OneHotHead,
)
from torchrl_htrpo.modules.heads.gaussian import FullCovarianceHead, GaussianHead, TanhNormalHead
from torchrl_htrpo.modules.heads.mixed import MixedHead
from torchrl_htrpo.modules.heads.mixture import GaussianMixtureHead, TanhGaussianMixtureHead
from torchrl_htrpo.modules.log_prob import action_log_prob
from torchrl_htrpo.modules.memory import GoalMemory
from torchrl_htrpo.modules.networks import (
    GoalNetwork,
    action_features,
    make_actor,
    make_critic,
    make_normalizer,
    orthogonal_,
)
from torchrl_htrpo.modules.normalizer import GoalNormalizer, RunningNormalizer
from torchrl_htrpo.modules.pixel_encoder import PixelGoalEncoder

__all__ = [
    "CategoricalHead",
    "FullCovarianceHead",
    "GaussianHead",
    "GaussianMixtureHead",
    "GoalMemory",
    "GoalNetwork",
    "GoalNormalizer",
    "MaskedCategoricalHead",
    "MixedHead",
    "MultiCategoricalHead",
    "OneHotHead",
    "PixelGoalEncoder",
    "PolicyHead",
    "RunningNormalizer",
    "TanhGaussianMixtureHead",
    "TanhNormalHead",
    "action_features",
    "action_log_prob",
    "check_actor",
    "make_actor",
    "make_critic",
    "make_normalizer",
    "orthogonal_",
]
