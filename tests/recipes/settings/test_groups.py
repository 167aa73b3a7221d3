"""Every choice of every group is in Hydra's store."""

from __future__ import annotations

import pytest

from torchrl_htrpo.recipes.settings import groups

HTRPO = {
    "head": groups.HEADS | groups.MIXTURES,
    "goals": groups.GOALS,
    "advantage": groups.ADVANTAGES,
    "divergence": groups.DIVERGENCES,
    "trust_region": groups.TRUST_REGIONS,
    "system": groups.SYSTEMS,
}
HER = {"agent": groups.AGENTS, "hindsight": groups.HINDSIGHT}
CHOICES = [("htrpo_fetch", group, choice) for group, choices in HTRPO.items() for choice in choices]
CHOICES += [("her_fetch", group, choice) for group, choices in HER.items() for choice in choices]


@pytest.mark.parametrize(("recipe", "group", "choice"), CHOICES)
def test_it_composes(recipe, group, choice, configured):
    cfg = configured(recipe, f"{group}={choice}")
    assert group == "system" or cfg[group]["_target_"]


def test_a_choice_on_the_command_line_goes_before_that_of_the_task(configured):
    assert configured("htrpo_bitflip")["goals"]["_target_"].endswith(".AllGoalSampler")
    assert configured("htrpo_bitflip", "goals=hgf")["goals"]["_target_"].endswith(".HGFGoalSampler")
    assert configured("htrpo_bitflip", "system=hpg")["goals"]["_target_"].endswith(".UniformGoalSampler")
