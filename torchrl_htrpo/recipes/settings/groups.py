"""Choices of the configuration groups, by name."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from torchrl_htrpo.recipes.settings.components import component, parts

MODE = {"eval_exploration": "MODE"}  # components of a mixture overlap at first, and a centre is then no mode

GAUSSIAN = component("modules.GaussianHead", "init_scale min_scale bound_mean")
CATEGORICAL = component("modules.CategoricalHead", "uniform_share")
HEADS = {
    "gaussian": GAUSSIAN,
    "unbounded_gaussian": GAUSSIAN(min_scale=0.01, bound_mean=False),
    "tanh_normal": component("modules.TanhNormalHead", "min_scale"),
    "full_covariance": component("modules.FullCovarianceHead", "init_scale min_scale"),
    "categorical": CATEGORICAL,
    "one_hot": component("modules.OneHotHead", "uniform_share"),
    "multi_categorical": component("modules.MultiCategoricalHead", "uniform_share"),
    "masked_categorical": component("modules.MaskedCategoricalHead", "uniform_share", mask_key="action_mask"),
    # Parts that the environment lacks are unused; gear and push are those of GearShiftEnv, the others of FetchEnv.
    "mixed": component(
        "modules.MixedHead.of_sizes",
        heads=parts(gear=CATEGORICAL, push=GAUSSIAN, gripper=CATEGORICAL, motion=GAUSSIAN),
    ),
}
_MIXTURE = "num_components init_scale min_scale spread min_weight"
MIXTURES = {
    "gmm": component("modules.GaussianMixtureHead", _MIXTURE),
    "tanh_gmm": component("modules.TanhGaussianMixtureHead", _MIXTURE),
}
_HGF: dict[str, Any] = {"num_goals": "${num_goals}", "resolution": 0.01}
HGF = component("hindsight.HGFGoalSampler", "num_goals distance", **_HGF)
ORIGINAL = component("hindsight.OriginalGoalSampler", beside=None)
GOALS = {
    "hgf": HGF,
    "hgf_bounded": component("hindsight.HGFGoalSampler", "distance", max_candidates="${num_goals}", **_HGF),
    "uniform": component("hindsight.UniformGoalSampler", num_goals="${num_goals}"),  # the ablation "w/o HGF"
    "all": component("hindsight.AllGoalSampler"),
    "original": ORIGINAL,  # TRPO on a goal task
    "hgf_and_original": ORIGINAL(beside=HGF()),
}
ADVANTAGES = {
    "goal_vtrace": component("objectives.GoalVTrace", lmbda="${lmbda}"),
    "td0": component("torchrl.objectives.value.TD0Estimator", value_network=None),  # the paper, Section 3.2
    "gae": component("torchrl.objectives.value.GAE", lmbda="${lmbda}", value_network=None),  # biased under new goals
}
DIVERGENCES = {
    "qkl": component("objectives.QKLLoss"),  # quadratic KL (Propositions 1, 2)
    "sampled_kl": component("objectives.SampledKLLoss"),  # plain sampled KL (the ablation "w/o QKL")
    "kl": component("objectives.KLLoss"),  # closed form (TRPO), where the distribution has one
}
TRUST_REGION = component(
    "optim.TrustRegionOptimizer",
    "max_divergence damping damping_mode",
    max_divergence="${max_divergence}",
    damping="${cg_damping}",
    direction=component("optim.ConjugateGradient", "max_iterations tolerance", partial=False),
    search=component("optim.BacktrackingLineSearch", "max_trials accept_ratio divergence_tolerance", partial=False),
)
TRUST_REGIONS = {
    "library": {"trust_region": TRUST_REGION, "normalization": "mean"},
    "paper": {
        "trust_region": component("optim.TrustRegionOptimizer.paper", "max_divergence damping"),
        "normalization": "paper",
    },
    "hpg": {
        "trust_region": component("optim.FirstOrderOptimizer", optimizer=component("torch.optim.Adam", lr=1.0e-3)),
        "normalization": "mean",
    },
}
COLLECTORS = {
    "local": {"collector": None, "num_collectors": 1},
    "ray": {
        "collector": component("trainers.RayWorkers", "num_cpus restarts timeout", num_workers="${num_collectors}"),
        "num_collectors": 2,
    },
}
AGENTS = {
    "dqn": component("recipes.agents.make_dqn", epsilon=0.2),
    "ddpg": component("recipes.agents.make_ddpg", epsilon=0.3, sigma=0.2, action_cost=1.0),
}
FUTURE = component("hindsight.FutureGoalSampler", partial=False, region=None)
IN_BOX = component("hydra.utils.get_method", partial=False, path="torchrl_htrpo.hindsight.functional.in_box")
HINDSIGHT = {  # of HER
    "future": FUTURE,
    "final": component("hindsight.FinalGoalSampler", partial=False),
    "hgf": HGF(_partial_=False),  # among the achieved goals of all drawn episodes
    "future_in_region": FUTURE(region=IN_BOX()),  # with HGF's filter, if a later goal passes it
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
    "htrpo_whole_ratio": ({}, {"per_decision": False, "ratio_window": None}),  # one ratio a trajectory
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
    register("collector", COLLECTORS, "_global_")
    systems = {
        name: {"defaults": [{f"override /{group}": choice} for group, choice in groups.items()], **values}
        for name, (groups, values) in SYSTEMS.items()
    }
    register("system", systems, "_global_")
