"""Names of the choices of the configuration groups."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import torchrl_htrpo.recipes.settings.components as part

MODE = {"eval_exploration": "MODE"}  # components of a mixture overlap at first, and a centre is then no mode

HEADS = {
    "gaussian": part.GaussianHead,
    "unbounded_gaussian": part.GaussianHead(min_scale=0.01, bound_mean=False),
    "tanh_normal": part.TanhNormalHead,
    "full_covariance": part.FullCovarianceHead,
    "categorical": part.CategoricalHead,
    "one_hot": part.OneHotHead,
    "multi_categorical": part.MultiCategoricalHead,
    "masked_categorical": part.MaskedCategoricalHead,
    "mixed": part.MixedHead,
}
MIXTURES = {"gmm": part.GaussianMixtureHead, "tanh_gmm": part.TanhGaussianMixtureHead}
GOALS = {
    "hgf": part.HGFGoals,
    "uniform": part.UniformGoals,
    "all": part.AllGoals,
    "original": part.OriginalGoals,
    "hgf_and_original": part.OriginalGoals(beside=part.HGFGoals()),
}
ADVANTAGES = {"goal_vtrace": part.GoalVTrace, "td0": part.TD0, "gae": part.GAE}
DIVERGENCES = {
    "qkl": part.Part("torchrl_htrpo.objectives.QKLLoss"),  # quadratic KL (Propositions 1, 2)
    "sampled_kl": part.Part("torchrl_htrpo.objectives.SampledKLLoss"),  # plain sampled KL (the ablation "w/o QKL")
    "kl": part.Part("torchrl_htrpo.objectives.KLLoss"),  # closed form (TRPO), where the distribution has one
}
TRUST_REGIONS = {
    "library": {"trust_region": part.TrustRegion, "normalization": "mean"},
    "paper": {"trust_region": part.PaperTrustRegion, "normalization": "paper"},
    "hpg": {"trust_region": part.FirstOrder, "normalization": "mean"},
}
AGENTS = {"dqn": part.DQN, "ddpg": part.DDPG}
HINDSIGHT = {  # of HER
    "future": part.FutureGoals,
    "final": part.FinalGoals,
    "hgf": part.HGFGoals(_partial_=False),  # among the achieved goals of all drawn episodes
    "future_in_region": part.FutureGoals(region=part.InBox()),  # HGF's filter, where a later goal passes it
}

# Systems of the paper and its ablations: overridden groups and values.
_TRPO = {"weighted": False, "lmbda": 0.97, "gradient_rows": None, "curvature_rows": None}  # ratios are 1
SYSTEMS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "htrpo": ({}, {}),
    "htrpo_and_original": ({"goals": "hgf_and_original"}, {}),  # each trajectory's own goal beside those of HGF
    "htrpo_dense": ({}, {"goal_task": {"reward": "dense"}}),  # minus the distance to the goal
    "htrpo_no_hgf": ({"goals": "uniform"}, {}),  # as many goals, sampled uniformly from the achieved ones
    "htrpo_no_qkl": ({"divergence": "sampled_kl"}, {}),
    "htrpo_no_wis": ({}, {"weighted": False}),  # plain ratios
    "htrpo_whole_ratio": ({}, {"per_decision": False}),  # the ratio of the whole trajectory at each of its steps
    "hpg": ({"goals": "uniform", "trust_region": "hpg"}, {}),  # hindsight policy gradient
    "hpg_hgf": ({"goals": "hgf", "trust_region": "hpg"}, {}),
    "trpo": ({"goals": "original", "advantage": "gae", "divergence": "kl"}, _TRPO),
    "trpo_dense": (
        {"goals": "original", "advantage": "gae", "divergence": "kl"},
        _TRPO | {"goal_task": {"reward": "dense"}},
    ),
    "trpo_qkl": ({"goals": "original", "advantage": "gae", "divergence": "qkl"}, _TRPO),
    "trpo_sampled_kl": ({"goals": "original", "advantage": "gae", "divergence": "sampled_kl"}, _TRPO),
}


def register(group: str, choices: dict[str, Any], package: str | None = None) -> None:
    """Register the choices of a group with Hydra."""
    for name, node in choices.items():
        made = OmegaConf.create(node) if isinstance(node, dict) else node
        ConfigStore.instance().store(group=group, name=name, node=made, package=package, provider="torchrl_htrpo")


def register_all() -> None:
    """Register every group with Hydra."""
    for group, choices in (
        ("head", HEADS),
        ("goals", GOALS),
        ("advantage", ADVANTAGES),
        ("divergence", DIVERGENCES),
        ("agent", AGENTS),
        ("hindsight", HINDSIGHT),
    ):
        register(group, choices)
    register("head", {name: {"head": head, **MODE} for name, head in MIXTURES.items()}, "_global_")
    register("trust_region", TRUST_REGIONS, "_global_")
    systems = {
        name: {"defaults": [{f"override /{group}": choice} for group, choice in groups.items()], **values}
        for name, (groups, values) in SYSTEMS.items()
    }
    register("system", systems, "_global_")
