"""Goal ratios and weights against eqs. 77-80, one product at a time."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    CompositeDistribution,
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    set_composite_lp_aggregate,
)
from torch import nn
from torchrl import torchrl_logger
from torchrl.envs import ExplorationType, set_exploration_type
from torchrl.modules import IndependentNormal, ProbabilisticActor

from tests import oracles
from tests.cases import GOALS, HEADS, actor_with, bitwise_equal, relabelled, trajectories, with_goals
from torchrl_htrpo.envs import DetourEnv, EqualGoals, GearShiftEnv, GoalTask
from torchrl_htrpo.hindsight import CumulativeGoalRatio, HindsightRelabel, UniformGoalSampler
from torchrl_htrpo.modules import (
    CategoricalHead,
    GaussianHead,
    GaussianMixtureHead,
    MixedHead,
    TanhNormalHead,
    action_features,
    make_actor,
)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("finished", ["include", "exclude"])
@pytest.mark.parametrize("normalization", ["paper", "mean"])
def test_weights_equal_products_of_ratios(head, weighted, finished, normalization):
    actor = actor_with(head)
    batch = relabelled(actor, lengths=[5, 2, 4, 5])
    ratio = CumulativeGoalRatio(actor, gamma=0.9, weighted=weighted, finished=finished, normalization=normalization)
    out = ratio(batch)
    mask, old = out["collector", "mask"], out["original_log_prob"]
    with torch.no_grad():
        new = actor.get_dist(batch.select(*actor.in_keys)).log_prob(batch["action"])
    rho = oracles.cumulative_ratio(new, old, mask)
    weights = oracles.wis_weights(rho, mask, finished) if weighted else rho
    expected = oracles.row_weights(weights, mask, 0.9)
    if normalization == "mean":
        discount = 0.9 ** torch.arange(5.0, dtype=torch.float64)
        total = (weights if weighted else mask.double()) * discount
        expected = weights * discount / total.sum()
    assert torch.allclose(out["importance_weight"], expected, rtol=1e-10, atol=1e-14)
    assert torch.allclose(out["hindsight", "weight"], weights, rtol=1e-10, atol=1e-14)
    assert torch.allclose(out["action_log_prob"][mask], new[mask], atol=1e-12)
    assert torch.equal(old, batch["action_log_prob"])


@pytest.mark.parametrize("window", [1, 2, 5])
def test_weights_of_a_window_equal_products_of_its_ratios(window):
    actor = actor_with("gaussian")
    out = CumulativeGoalRatio(actor, window=window)(relabelled(actor, lengths=[5, 2, 4, 5]))
    mask = out["collector", "mask"]
    single = (out["action_log_prob"] - out["original_log_prob"]).where(mask, 0).exp()
    rho = torch.stack([single[..., max(0, t - window + 1) : t + 1].prod(-1) for t in range(5)], -1)
    expected = oracles.wis_weights(rho, mask, "exclude")
    assert torch.allclose(out["hindsight", "weight"], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"window": 0}, "window must be a positive integer, got 0"),
        ({"window": 2, "per_decision": False}, "window must be None with per_decision=False, got 2"),
    ],
)
def test_a_wrong_window_is_refused(more, said):
    with pytest.raises(ValueError, match=f"CumulativeGoalRatio: {said}"):
        CumulativeGoalRatio(actor_with("gaussian"), **more)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_recomputed_log_prob_equals_the_collected_one_at_the_original_goal(head, dtype):
    actor = actor_with(head, dtype)
    batch = trajectories(actor=actor, dtype=dtype).unsqueeze(0)
    out = CumulativeGoalRatio(actor)(batch)
    assert torch.allclose(out["action_log_prob"], batch["action_log_prob"], rtol=0, atol=1e-6)


def test_every_ratio_is_exactly_one_at_the_original_goal():
    actor = actor_with("categorical", torch.float32)
    batch = trajectories(actor=actor, dtype=torch.float32).unsqueeze(0)
    transform = CumulativeGoalRatio(actor, weighted=False)
    out = transform(batch)
    ratio = transform.ratio(out["action_log_prob"] - out["original_log_prob"], torch.ones(1, 4, 5, dtype=torch.bool))
    assert torch.equal(ratio, torch.ones(1, 4, 5))


@pytest.mark.parametrize("lead", [(), (4,), (2, 2), (2, 1, 2)])
def test_any_leading_shape(lead):
    actor = actor_with("gaussian")
    batch = trajectories(4 if lead else 1, actor=actor)
    flat = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, GOALS))
    shaped = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch.reshape(*lead, 5), GOALS))
    out = CumulativeGoalRatio(actor)(shaped)
    assert out.shape == (3, *lead, 5)
    expected = CumulativeGoalRatio(actor)(flat)
    assert torch.allclose(out["importance_weight"].reshape(3, -1, 5), expected["importance_weight"], atol=1e-14)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_chunks_do_not_change_the_weights(chunk_size):
    actor = actor_with("gaussian")
    batch = relabelled(actor)
    whole, chunked = (CumulativeGoalRatio(actor, chunk_size=c)(batch)["importance_weight"] for c in (10**6, chunk_size))
    assert torch.allclose(whole, chunked, atol=1e-14) and whole.any()


def test_the_input_is_unchanged():
    actor = actor_with("gaussian")
    batch = relabelled(actor)
    before = batch.clone()
    CumulativeGoalRatio(actor)(batch)
    assert bitwise_equal(batch, before)


def test_float32_agrees_with_float64():
    actor = actor_with("gaussian")
    batch = relabelled(actor)
    exact = CumulativeGoalRatio(actor)(batch)["importance_weight"]
    halved = batch.clone().apply(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)
    assert torch.allclose(CumulativeGoalRatio(actor.float())(halved)["importance_weight"].double(), exact, rtol=1e-4)


def test_unweighted_ratios_too_large_for_a_float_stay_finite():
    actor = actor_with("categorical", torch.float32)
    transform = CumulativeGoalRatio(actor, weighted=False)
    live = torch.ones(2, 3, 4, dtype=torch.bool)
    ratio = transform.ratio(torch.full((2, 3, 4), 60.0), live)
    assert ratio.isfinite().all() and ratio.square().sum().isfinite()


def test_the_whole_trajectory_product_is_the_same_on_every_step():
    actor = actor_with("gaussian")
    transform = CumulativeGoalRatio(actor, weighted=False, per_decision=False)
    log_ratio = torch.randn(2, 3, 4, dtype=torch.float64)
    ratio = transform.ratio(log_ratio, torch.ones(2, 3, 4, dtype=torch.bool))
    assert torch.allclose(ratio, log_ratio.sum(-1, True).exp().expand(2, 3, 4))


def test_an_action_impossible_under_the_new_goal_weighs_nothing():
    actor = actor_with("categorical")
    transform = CumulativeGoalRatio(actor)
    log_ratio = torch.zeros(1, 3, 4, dtype=torch.float64)
    log_ratio[0, 1, 2] = -torch.inf
    weight = transform.ratio(log_ratio, torch.ones(1, 3, 4, dtype=torch.bool))
    assert weight[0, 1].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0]) and weight.sum(1).allclose(
        torch.ones(1, 4).double()
    )


def test_a_batch_without_live_steps_has_no_weight_and_no_nan():
    actor = actor_with("categorical")
    for normalization in ("paper", "mean"):
        out = CumulativeGoalRatio(actor, normalization=normalization)(relabelled(actor, lengths=[0, 0, 0, 0]))
        assert not out["importance_weight"].any()
        assert not out["hindsight", "weight"].any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_collected_log_probs_on_live_steps_are_refused(bad):
    actor = actor_with("gaussian")
    batch = relabelled(actor, lengths=[2, 5, 5, 5]).clone()
    batch["action_log_prob"][:, 0, 4] = bad
    assert CumulativeGoalRatio(actor)(batch)["importance_weight"].isfinite().all()
    batch["action_log_prob"][batch["collector", "mask"]] = bad
    with pytest.raises(
        ValueError, match=r"CumulativeGoalRatio: .*action_log_prob.* finite on every live step, got -?(nan|inf)"
    ):
        CumulativeGoalRatio(actor)(batch)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_observations_that_are_not_finite_are_refused(head, bad):
    actor = actor_with(head)
    batch = relabelled(actor).clone()
    batch["observation"][batch["collector", "mask"]] = bad
    # The distribution may refuse its parameters before we see a log-probability.
    with pytest.raises(ValueError, match=r"CumulativeGoalRatio|Expected parameter"):
        CumulativeGoalRatio(actor)(batch)


def composite_actor():
    """One continuous and one discrete part of an action."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 7)

        def forward(self, observation, goal):
            loc, scale, logits = self.layer(torch.cat((observation, goal), -1)).split((2, 2, 3), -1)
            return loc, scale.exp(), logits

    keys = [("params", "move", "loc"), ("params", "move", "scale"), ("params", "grip", "logits")]
    return ProbabilisticTensorDictSequential(
        TensorDictModule(Heads().double(), in_keys=["observation", "desired_goal"], out_keys=keys),
        ProbabilisticTensorDictModule(
            in_keys=["params"],
            out_keys=["move", "grip"],
            distribution_class=CompositeDistribution,
            distribution_kwargs={
                "distribution_map": {"move": torch.distributions.Normal, "grip": torch.distributions.Categorical}
            },
            return_log_prob=True,
        ),
    )


def test_the_log_prob_of_a_composite_action_is_the_sum_of_its_parts():
    with set_composite_lp_aggregate(True):
        actor = composite_actor()
        batch = relabelled(actor)
        out = CumulativeGoalRatio(actor, weighted=False, normalization="paper")(batch)
        (key,) = actor.log_prob_keys
        params = TensorDict(batch.select("observation", "desired_goal").to_dict(), batch_size=batch.shape)
        loc, scale, logits = actor[0].module(params["observation"], params["desired_goal"])
        move = torch.distributions.Normal(loc, scale).log_prob(batch["move"]).sum(-1)
        grip = torch.distributions.Categorical(logits=logits).log_prob(batch["grip"])
        mask = out["collector", "mask"]
        assert torch.allclose(out[key][mask], (move + grip)[mask], atol=1e-12)
        rho = oracles.cumulative_ratio((move + grip).detach(), out["original_log_prob"], mask)
        assert torch.allclose(out["importance_weight"], oracles.row_weights(rho, mask, 0.98), atol=1e-14)


def test_a_composite_actor_with_several_log_probs_is_refused():
    with pytest.raises(
        ValueError, match=r"CumulativeGoalRatio: actor must be an actor that writes one .*composite_lp_agg"
    ):
        CumulativeGoalRatio(composite_actor())


def test_an_actor_without_log_prob_is_refused():
    with pytest.raises(TypeError, match=r"CumulativeGoalRatio: actor must be a Prob.* has log_prob\), got 'Linear'"):
        CumulativeGoalRatio(nn.Linear(2, 2))


def test_an_unknown_normalization_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match=r"normalization must be one of the choices, got 'x' \(choices: 'mean', 'paper'"
    ):
        CumulativeGoalRatio(actor_with("categorical"), normalization="x")


def test_nested_keys():
    actor = actor_with("categorical")
    nested = make_actor(
        CategoricalHead(4),
        5,
        (6,),
        in_keys=[("agents", "observation"), ("agents", "goal")],
        action_key=("agents", "action"),
    ).double()
    nested.load_state_dict(actor.state_dict())
    batch = relabelled(actor)
    (key,) = nested.log_prob_keys
    renamed = batch.clone()
    for old, new in (("observation", "observation"), ("desired_goal", "goal"), ("action", "action")):
        renamed.rename_key_(old, ("agents", new))
    renamed.rename_key_("action_log_prob", key)
    out, plain = CumulativeGoalRatio(nested)(renamed), CumulativeGoalRatio(actor)(batch)
    assert torch.equal(out["importance_weight"], plain["importance_weight"])
    assert torch.equal(out[key], plain["action_log_prob"])


def walks(count: int, right: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Walks of four steps, over two places to the right: moves ``[N, 4]``, live steps ``[N, 4]``, where ``[N, 5]``."""
    moves = (torch.rand(count, 4, dtype=torch.float64) < right).long()
    place = torch.cat((torch.zeros(count, 1), (2 * moves - 1).cumsum(-1)), -1)
    live = (place < 2).cumprod(-1).bool()[:, :-1]
    return moves, live, place


def test_with_finished_included_the_weights_estimate_expectations_over_all_walks():
    """A weighted sum over live steps is the expectation under the new policy: its bias vanishes."""
    torch.manual_seed(0)
    chances = {"old": 0.5, "new": 0.8}
    moves, live, place = walks(200_000, chances["old"])
    right = moves.bool()
    log_ratio = torch.where(right, chances["new"] / chances["old"], (1 - chances["new"]) / (1 - chances["old"])).log()
    figure = torch.where(live, (place[:, :-1] + 3.0) * (1 + moves), 0).double()
    _, still, there = (on_policy := walks(200_000, chances["new"]))
    truth = torch.where(still, (there[:, :-1] + 3.0) * (1 + on_policy[0]), 0).double().mean(0)
    estimates = {}
    for finished in ("include", "exclude"):
        transform = CumulativeGoalRatio(actor_with("categorical"), finished=finished)
        weight = transform.ratio(log_ratio.unsqueeze(0), live.unsqueeze(0))[0]
        estimates[finished] = (weight * figure).sum(0)
    assert torch.allclose(estimates["include"], truth, rtol=0.03)
    assert estimates["exclude"][3] > 2 * truth[3]


def test_finished_trajectories_keep_their_share_and_never_live_ones_have_none():
    live = torch.tensor([[[True, False], [True, True], [False, False]]])
    log_ratio = torch.where(live, torch.tensor([[[3.0, 9.0], [1.0, 2.0], [5.0, 5.0]]]), 1).log()
    included, excluded = (
        CumulativeGoalRatio(actor_with("categorical"), finished=finished).ratio(log_ratio, live)[0].T.tolist()
        for finished in ("include", "exclude")
    )
    assert included == [pytest.approx([0.75, 0.25, 0]), pytest.approx([0, 0.4, 0])]
    assert excluded == [pytest.approx([0.75, 0.25, 0]), pytest.approx([0, 1.0, 0])]


def test_an_unknown_choice_of_finished_is_refused():
    with pytest.raises(ValueError, match="CumulativeGoalRatio: finished must be one of the choices, got 'dropped'"):
        CumulativeGoalRatio(actor_with("categorical"), finished="dropped")


@pytest.mark.parametrize(("gamma", "normalization"), [(1.5, "mean"), (-0.1, "paper"), (1.0, "paper")])
def test_a_discount_that_leaves_no_weights_is_refused(gamma, normalization):
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1"):
        CumulativeGoalRatio(actor_with("categorical"), gamma=gamma, normalization=normalization)


@pytest.fixture
def told(caplog):
    """Messages of the library's logger."""
    torchrl_logger.addHandler(caplog.handler)
    yield caplog
    torchrl_logger.removeHandler(caplog.handler)


def goal_batch(actor, exploration):
    env = DetourEnv(4, seed=0)
    with torch.no_grad(), set_exploration_type(exploration):
        batch = env.rollout(6, actor)
    return HindsightRelabel(env.task())(UniformGoalSampler(3)(batch))


def own_actor():
    """An actor as in TorchRL's documentation: greedy by default."""
    network = TensorDictModule(
        nn.Sequential(nn.Linear(2, 4), NormalParamExtractor()), in_keys=["desired_goal"], out_keys=["loc", "scale"]
    )
    return ProbabilisticActor(network, ["loc", "scale"], distribution_class=IndependentNormal, return_log_prob=True)


def test_a_first_batch_of_greedy_actions_is_warned_of_once(told):
    actor = own_actor()
    ratio, batch = CumulativeGoalRatio(actor), goal_batch(actor, None)  # TorchRL's own default
    for _ in range(2):
        ratio(batch)
    said = [record.getMessage() for record in told.records if "greedy" in record.getMessage()]
    assert len(said) == 1 and "default_interaction_type=InteractionType.RANDOM" in said[0]


@pytest.mark.parametrize("exploration", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC])
@pytest.mark.parametrize(
    "head", [GaussianHead(2), GaussianMixtureHead(2), TanhNormalHead(2)], ids=lambda h: type(h).__name__
)
def test_only_batches_without_exploration_are_warned_of(told, head, exploration):
    actor = make_actor(head, 4, (8,))
    CumulativeGoalRatio(actor)(goal_batch(actor, exploration))
    greedy = exploration is ExplorationType.DETERMINISTIC
    assert any("greedy" in record.getMessage() for record in told.records) is greedy


@pytest.mark.parametrize("exploration", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC])
def test_composite_actions_are_checked_for_exploration_too(told, exploration):
    env = GearShiftEnv(4, seed=0)
    head = MixedHead.of_sizes(action_features(env.action_spec), {"gear": CategoricalHead, "push": GaussianHead})
    actor = make_actor(head, env.observation_spec["observation"].shape[-1] + 1, (8,))
    with torch.no_grad(), set_exploration_type(exploration):
        batch = env.rollout(6, actor)
    CumulativeGoalRatio(actor)(HindsightRelabel(env.task())(UniformGoalSampler(3)(batch)))
    greedy = exploration is ExplorationType.DETERMINISTIC
    assert any("greedy" in record.getMessage() for record in told.records) is greedy
