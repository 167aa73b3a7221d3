"""One update under the `paper` presets reproduces the published rule, step by step, to 1e-8 in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import Tensor
from torchrl.objectives.value import TD0Estimator

from tests import oracles
from tests.cases import actor_with, ravel, trajectories
from torchrl_htrpo.envs import BitFlipEnv, EqualGoals, GoalTask, WithinDistance
from torchrl_htrpo.hindsight import AllGoalSampler, CumulativeGoalRatio, GoalSampler, HGFGoalSampler, HindsightRelabel
from torchrl_htrpo.modules import CategoricalHead, make_actor, make_critic
from torchrl_htrpo.objectives import StateValue, TrustRegionObjective
from torchrl_htrpo.optim import ConjugateGradient, TrustRegionOptimizer
from torchrl_htrpo.optim.gauss_newton.curvature import curvature_operator

GAMMA, RADIUS, DAMPING = 0.9, 1e-3, 1e-3


@dataclass
class Case:
    """A batch, the policy that collected it, and what the oracle needs to know of both."""

    actor: ProbabilisticTensorDictSequential
    weights: list[Tensor]
    log_prob: Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
    batch: TensorDictBase
    task: GoalTask
    sampler: GoalSampler
    reached: Callable[[Tensor, Tensor], bool]


def bit_flipping() -> Case:
    actor = make_actor(CategoricalHead(4), 8, (8, 8))
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    batch = BitFlipEnv(4, num_envs=6, seed=0).rollout(4, actor)
    batch = batch.apply(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf)
    actor.double()
    with torch.no_grad():  # the same actions, scored in float64
        batch["action_log_prob"] = actor.get_dist(batch.select(*actor.in_keys)).log_prob(batch["action"])
    task = GoalTask(EqualGoals(), "paper_code")
    return Case(
        actor, list(actor.parameters()), oracles.categorical_log_prob, batch, task, AllGoalSampler(), oracles.equal
    )


def continuous() -> Case:
    actor = actor_with("gaussian", hidden=(8, 8))
    batch = trajectories(6, 5)
    path = torch.randn(6, 6, 2, dtype=torch.float64).cumsum(1)
    batch["achieved_goal"], batch["next", "achieved_goal"] = path[:, :-1].clone(), path[:, 1:].clone()
    goal = 3 * torch.randn(6, 1, 2, dtype=torch.float64).expand(6, 5, 2)
    batch["desired_goal"], batch["next", "desired_goal"] = goal.clone(), goal.clone()
    with torch.no_grad():
        actor(batch)
    log_scale = actor[0].module.layers[1].log_scale
    weights = [leaf for leaf in actor.parameters() if leaf is not log_scale] + [log_scale]
    task = GoalTask(WithinDistance(0.5), "sparse", success_reward=10.0)
    return Case(
        actor,
        weights,
        oracles.gaussian_log_prob,
        batch,
        task,
        HGFGoalSampler(5, distance="density"),
        oracles.nearer_than(0.5),
    )


def inputs(batch: TensorDictBase) -> Tensor:
    return torch.cat((batch["observation"], batch["desired_goal"]), -1)


def close(a: Tensor, b: Tensor) -> bool:
    """To 1e-8 of the largest entry, which must not be 0."""
    scale = b.abs().max()
    return bool(scale > 0) and torch.allclose(a, b, rtol=0, atol=1e-8 * min(scale.item(), 1.0))


def check_goals(case: Case, batch: TensorDictBase) -> Tensor:
    goals = batch["hindsight", "goal"][0, 0]
    assert batch["hindsight", "goal_mask"].all()
    candidates = batch["next", "achieved_goal"].reshape(-1, goals.shape[-1])
    if isinstance(case.sampler, HGFGoalSampler):
        originals = batch["desired_goal"][:, 0]
        start = (candidates == goals[0]).all(-1).nonzero()[0].item()
        chosen = oracles.hgf(candidates, originals, len(goals), oracles.density_scale(originals), start)
        assert torch.equal(goals, candidates[chosen])
    else:
        assert sorted(goals.tolist()) == sorted(map(list, {tuple(goal) for goal in candidates.tolist()}))
    return goals


def check_relabelling(case: Case, batch: TensorDictBase, goals: Tensor) -> tuple[dict[str, Tensor], TensorDictBase]:
    relabelled = HindsightRelabel(case.task)(batch)
    expected = oracles.relabel(
        batch["achieved_goal"][:, 0],
        batch["next", "achieved_goal"],
        goals,
        lengths=[batch.shape[1]] * len(batch),
        reached=case.reached,
        reward=case.task.reward,
        success_reward=case.task.success_reward,
    )
    assert torch.equal(relabelled["collector", "mask"], expected["mask"])
    assert torch.equal(relabelled["next", "terminated"].squeeze(-1), expected["terminated"])
    assert close(relabelled["next", "reward"].squeeze(-1), expected["reward"])
    return expected, relabelled


def check_weights(
    case: Case, relabelled: TensorDictBase, mask: Tensor, weighted: bool
) -> tuple[Tensor, TensorDictBase]:
    out = CumulativeGoalRatio(case.actor, gamma=GAMMA, weighted=weighted, finished="exclude", normalization="paper")(
        relabelled
    )
    old = case.log_prob(case.weights, inputs_at(relabelled, "original_goal"), flat_actions(relabelled))
    new = case.log_prob(case.weights, inputs_at(relabelled, "desired_goal"), flat_actions(relabelled))
    old, new = old.detach().reshape(mask.shape), new.detach().reshape(mask.shape)
    assert close(out["original_log_prob"][mask], old[mask]) and close(out["action_log_prob"][mask], new[mask])
    ratio = oracles.cumulative_ratio(new, old, mask)
    weight = oracles.row_weights(oracles.wis_weights(ratio, mask, "exclude") if weighted else ratio, mask, GAMMA)
    assert close(out["importance_weight"], weight)
    return weight, out


def inputs_at(batch: TensorDictBase, goal: str) -> Tensor:
    joined = torch.cat((batch["observation"], batch[goal]), -1)
    return joined.reshape(-1, joined.shape[-1])


def flat_actions(batch: TensorDictBase) -> Tensor:
    return batch["action"].flatten(0, batch.dim() - 1)


def check_advantage(batch: TensorDictBase, expected: dict[str, Tensor]) -> tuple[Tensor, TensorDictBase]:
    critic = make_critic(inputs(batch).shape[-1], (8,)).double()
    estimator = TD0Estimator(gamma=GAMMA, value_network=None).double()
    estimator.gamma.fill_(GAMMA)  # kept in float32 otherwise
    out = estimator(StateValue(critic)(batch))
    layers = list(critic.parameters())
    value, after = (oracles.mlp(layers, inputs(td)).squeeze(-1).detach() for td in (batch, batch["next"]))
    advantage = oracles.td0(expected["reward"], value, after, expected["terminated"], expected["mask"], GAMMA)
    assert close(out["advantage"].squeeze(-1)[expected["mask"]], advantage[expected["mask"]])
    return advantage, out


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("make_case", [bit_flipping, continuous])
def test_an_update_is_the_published_one(make_case, weighted):
    case = make_case()
    batch = case.sampler(case.batch)
    goals = check_goals(case, batch)
    expected, relabelled = check_relabelling(case, batch, goals)
    mask = expected["mask"]
    weight, out = check_weights(case, relabelled, mask, weighted)
    advantage, out = check_advantage(out, expected)

    # The oracle's gradient, matrix, direction and step.
    live = mask.reshape(-1)
    x, action = inputs_at(relabelled, "desired_goal")[live], flat_actions(relabelled)[live]
    flat = oracles.flatten(case.weights).requires_grad_()
    log_prob = lambda point: case.log_prob(oracles.unflatten(point, case.weights), x, action)  # noqa: E731
    old = log_prob(flat).detach()
    rows = weight.reshape(-1)[live], advantage.reshape(-1)[live]
    (gradient,) = torch.autograd.grad(oracles.surrogate(log_prob, flat, old, *rows), flat)
    flat = flat.detach()
    matrix = oracles.dense_gauss_newton(log_prob, flat, rows[0])
    assert close(oracles.dense_hessian(lambda p: oracles.quadratic_kl(log_prob, p, old, rows[0]), flat), matrix)
    damped = matrix + DAMPING * torch.eye(len(flat), dtype=torch.float64)
    direction = oracles.conjugate_gradient(damped, gradient, 10, 1e-10)
    full = oracles.step_length(damped, direction, RADIUS) * direction

    def gain(point):
        return (oracles.surrogate(log_prob, point, old, *rows) - oracles.surrogate(log_prob, flat, old, *rows)).item()

    def divergence(point):
        return oracles.quadratic_kl(log_prob, point, old, rows[0]).item()

    end = oracles.backtrack(gain, divergence, flat, full, (gradient @ full).item(), RADIUS)

    # The library's.
    objective = TrustRegionObjective(case.actor)
    problem = objective.problem(out)
    params = objective.trainable_params.data.clone()
    ours = torch.func.grad(lambda p: sum(term(p)[0] for term in problem.terms))(params)
    names = {id(leaf): name for name, leaf in objective.trainable_params.items()}
    order = [names[id(leaf)] for leaf in case.weights]

    def in_order(vector: TensorDict) -> Tensor:
        return torch.cat([vector[name].reshape(-1) for name in order])

    assert close(in_order(ours), gradient)
    solver = ConjugateGradient(max_iterations=10, tolerance=1e-10, relative=False)
    solution = solver(curvature_operator(problem, params), ours, damping=DAMPING)
    assert close(in_order(solution.x), direction) and solution.iterations > 1
    optimizer = TrustRegionOptimizer.paper(objective.trainable_params, RADIUS, DAMPING)
    assert optimizer.direction == solver
    result = optimizer.step(problem)
    assert result.accepted and result.gain == pytest.approx(gain(end), rel=1e-6)
    assert result.divergence == pytest.approx(divergence(end), rel=1e-6)
    step = in_order(objective.trainable_params.data) - in_order(params)
    assert close(step, end - flat)
    assert close(in_order(objective.trainable_params.data), end)
    assert ravel(objective.trainable_params.data).numel() == len(end)
