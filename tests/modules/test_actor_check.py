"""check_actor refuses policies whose actions do not fit the environment's spec, and accepts the others."""

from __future__ import annotations

import pytest
import torch
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import distributions, nn
from torchrl.data import Binary, Bounded, Categorical, Composite, MultiCategorical, OneHot

from torchrl_htrpo.envs import EqualGoals, PositionGoalEnv
from torchrl_htrpo.modules import (
    CategoricalHead,
    GaussianHead,
    GaussianMixtureHead,
    MaskedCategoricalHead,
    MixedHead,
    MultiCategoricalHead,
    OneHotHead,
    TanhNormalHead,
    check_actor,
    make_actor,
)

MIXED = Composite(gear=Categorical(3), push=Bounded(-1, 1, (1,)))
FITTING = {
    "categorical": (Categorical(4), lambda: CategoricalHead(4)),
    "one-hot": (OneHot(4), lambda: OneHotHead(4)),
    "several": (MultiCategorical([2, 3]), lambda: MultiCategoricalHead([2, 3])),
    "gaussian": (Bounded(-1, 1, (2,)), lambda: GaussianHead(2)),
    "tanh": (Bounded(-1, 1, (2,)), lambda: TanhNormalHead(2)),
    "mixture": (Bounded(-1, 1, (2,)), lambda: GaussianMixtureHead(2)),
    "mixed": (MIXED, lambda: MixedHead({"gear": CategoricalHead(3), "push": GaussianHead(1)})),
}
MISFITS = {
    "index for one-hot": (OneHot(4), lambda: CategoricalHead(4), r"has shape \[3, 4\], got \[3\]"),
    "one-hot for index": (Categorical(4), lambda: OneHotHead(4), r"has shape \[3\], got \[3, 4\]"),
    "one number for two": (Bounded(-1, 1, (2,)), lambda: GaussianHead(1), r"has shape \[3, 2\], got \[3, 1\]"),
    "index for numbers": (Bounded(-1, 1, (4,)), lambda: CategoricalHead(4), r"has shape \[3, 4\], got \[3\]"),
    "numbers for one-hot": (OneHot(2), lambda: GaussianHead(2), r"of torch.bool, got torch.float32"),
    "indices for numbers": (
        Bounded(-1, 1, (2,)),
        lambda: MultiCategoricalHead([2, 2]),
        "of torch.float32, got torch.i",
    ),
    "too many choices": (Categorical(4), lambda: CategoricalHead(9), "among the 4 choices of 'action', got 9 choices"),
    "too few choices": (Categorical(4), lambda: CategoricalHead(2), "among the 4 choices of 'action', got 2 choices"),
    "a part of too many": (
        MIXED,
        lambda: MixedHead({"gear": CategoricalHead(5), "push": GaussianHead(1)}),
        r"among the 3 choices of \('action', 'gear'\), got 5",
    ),
}


class Still(PositionGoalEnv):
    def __init__(self, spec, num_envs=3):
        super().__init__(spec, 2, 2, EqualGoals(), horizon=3, num_envs=num_envs)


def actor_of(head):
    return make_actor(head, 4, (8,))


@pytest.mark.parametrize("case", FITTING)
def test_a_fitting_policy_is_accepted_without_drawing_random_numbers(case):
    spec, head = FITTING[case]
    actor, env, state = actor_of(head()), Still(spec), torch.get_rng_state()
    check_actor(actor, env)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("case", MISFITS)
def test_a_policy_that_does_not_fit_is_refused(case):
    spec, head, said = MISFITS[case]
    with pytest.raises(ValueError, match=said):
        check_actor(actor_of(head()), Still(spec))


def test_a_policy_that_writes_elsewhere_is_refused_with_what_it_writes():
    actor = make_actor(GaussianHead(2), 4, (8,), action_key="move")
    with pytest.raises(KeyError, match=r"check_actor: actor must be a policy that writes 'action', got \[.*'move'"):
        check_actor(actor, Still(Bounded(-1, 1, (2,))))


def test_indices_outside_their_space_are_refused_without_a_distribution():
    def act(goal):
        return torch.full(goal.shape[:1], 7)

    with pytest.raises(ValueError, match=r"is one of the environment's actions, got \[7, 7, 7\]"):
        check_actor(TensorDictModule(act, ["desired_goal"], ["action"]), Still(Categorical(4)))


def test_floats_that_are_exactly_0_or_1_are_accepted_as_bits():
    params = TensorDictModule(nn.Linear(2, 3), ["desired_goal"], ["logits"])
    draw = ProbabilisticTensorDictModule(
        ["logits"], ["action"], distribution_class=distributions.Bernoulli, return_log_prob=True
    )
    check_actor(ProbabilisticTensorDictSequential(params, draw), Still(Binary(3, dtype=torch.int8)))


def test_masks_are_true_in_the_checked_observation():
    class Masked(Still):
        def __init__(self):
            super().__init__(Categorical(4))
            self.observation_spec["action_mask"] = Binary(4, shape=(3, 4), dtype=torch.bool)

    check_actor(actor_of(MaskedCategoricalHead(4)), Masked())


@pytest.mark.gpu
def test_a_policy_on_another_device_than_the_environment_is_checked(device):
    check_actor(actor_of(GaussianHead(2)).to(device), Still(Bounded(-1, 1, (2,))))
