"""Presets set their documented values, and run."""

from __future__ import annotations

import pytest

from tests.recipes.runs import budget
from torchrl_htrpo.records import read_table


@pytest.mark.parametrize("preset", ["paper", "discrete", "mixed", "fast", "stay"])
def test_every_preset_takes_a_step(preset, trained, tmp_path):
    pytest.importorskip("mujoco")
    trained("htrpo_fetch", f"preset={preset}", budget("htrpo_fetch", 1), directory=tmp_path)
    assert read_table(tmp_path / "metrics.csv")["step/accepted"][0][1] == 1


def test_the_paper_preset_is_tables_2_and_3(configured):
    cfg = configured("htrpo_fetch", "preset=paper", tiny=False)
    assert (cfg.batch_steps, cfg.num_goals, cfg.gamma, list(cfg.hidden_sizes)) == (3200, 100, 0.98, [256, 256, 256])
    assert (cfg.ratio_window, cfg.center_advantage) == (None, False)
    assert (cfg.critic.lr, cfg.critic.updates, cfg.normalization, cfg.finished) == (5e-4, 20, "paper", "exclude")
    assert (cfg.trust_region.max_divergence, cfg.trust_region.damping) == (2e-5, 1e-3)
    assert cfg.advantage["_target_"].endswith("TD0Estimator")
    assert cfg.gradient_rows is None and cfg.curvature_rows is None


def test_the_fast_preset_lowers_budgets_and_nothing_else(configured):
    plain, fast = (configured("htrpo_fetch", *extra, tiny=False) for extra in ((), ("preset=fast",)))
    for keys in (["gradient_rows"], ["critic", "batch_size"]):
        *path, last = keys
        there, here = (cfg[path[0]] if path else cfg for cfg in (plain, fast))
        assert here[last] < there[last]
        here[last] = there[last]
    assert fast == plain


def test_the_discrete_preset_has_whole_episodes(configured):
    cfg = configured("htrpo_fetch", "preset=discrete", tiny=False)
    assert (cfg.batch_steps, cfg.env.control) == (400, "discrete")
    assert cfg.batch_steps % (cfg.num_envs * cfg.horizon) == 0


@pytest.mark.parametrize("head", ["tanh_normal", "full_covariance", "gmm", "tanh_gmm"])
def test_every_continuous_head_takes_a_step_on_fetch(head, trained, tmp_path):
    pytest.importorskip("mujoco")
    trained("htrpo_fetch", f"head={head}", budget("htrpo_fetch", 1), directory=tmp_path)
    assert read_table(tmp_path / "metrics.csv")["step/divergence"][0][1] > 0


def test_a_mixed_head_on_a_plain_action_is_refused(trained, tmp_path):
    pytest.importorskip("mujoco")
    with pytest.raises(Exception, match="MixedHead: sizes must be those of an action in named parts, got 4"):
        trained("htrpo_fetch", "head=mixed", budget("htrpo_fetch", 1), directory=tmp_path)


def test_every_estimate_of_a_step_is_reported(trained, tmp_path):
    trained("htrpo_bitflip", "preset=estimates", budget("htrpo_bitflip", 2), directory=tmp_path)
    table = read_table(tmp_path / "metrics.csv")
    found = {name: dict(entries) for name, entries in table.items()}
    # All rows are in gradient and curvature: the estimate by QKL is the divergence of the step itself.
    assert found["estimate/qkl"] == pytest.approx(found["step/divergence"])
    for step, qkl in found["estimate/qkl"].items():
        assert 0.25 * qkl < found["estimate/kl"][step] < 4 * qkl
        assert found["estimate/sampled_kl"][step] != qkl


def test_every_estimate_of_a_refused_step_is_zero(trained, tmp_path):
    """The normaliser moves after the step, the estimates do not see it."""
    pytest.importorskip("mujoco")
    never = ("trust_region.search.accept_ratio=1.0", "trust_region.search.max_trials=1", "max_divergence=100.0")
    trained("htrpo_fetch", "preset=estimates", *never, budget("htrpo_fetch", 1), directory=tmp_path)
    table = read_table(tmp_path / "metrics.csv")
    assert table["step/accepted"][0][1] == 0
    for name in ("kl", "qkl", "sampled_kl"):
        assert abs(table[f"estimate/{name}"][0][1]) < 1e-6


@pytest.mark.parametrize(
    ("recipe", "head", "exploration"),
    [
        ("htrpo_fetch", "gaussian", "DETERMINISTIC"),
        ("htrpo_fetch", "gmm", "MODE"),
        ("htrpo_detour", "tanh_gmm", "MODE"),
        ("htrpo_hidden_gap", "gmm", "RANDOM"),
    ],
)
def test_a_mixture_is_evaluated_by_its_mode_unless_the_task_says_otherwise(recipe, head, exploration, configured):
    assert configured(recipe, f"head={head}").eval_exploration == exploration


@pytest.mark.parametrize(
    ("recipe", "overrides", "estimator"),
    [
        ("htrpo_bitflip", [], "TD0Estimator"),  # goals that were reached by luck
        ("htrpo_bitflip", ["advantage=goal_vtrace"], "GoalVTrace"),
        ("htrpo_bitflip", ["system=trpo"], "GAE"),
        ("htrpo_fetch", [], "GoalVTrace"),
        ("htrpo_maze", [], "GoalVTrace"),
    ],
)
def test_each_recipe_has_the_advantages_that_suit_its_goals(recipe, overrides, estimator, configured):
    assert configured(recipe, *overrides).advantage["_target_"].endswith(f".{estimator}")
