"""Policy heads: compute the parameters of an action distribution from the features of a network."""

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

__all__ = [
    "CategoricalHead",
    "FullCovarianceHead",
    "GaussianHead",
    "GaussianMixtureHead",
    "MaskedCategoricalHead",
    "MixedHead",
    "MultiCategoricalHead",
    "OneHotHead",
    "PolicyHead",
    "TanhGaussianMixtureHead",
    "TanhNormalHead",
]
