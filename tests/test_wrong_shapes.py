"""No transform and no objective takes an entry of a wrong shape and computes another result with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

import torchrl_htrpo as ht
from torchrl_htrpo import batch, envs, evaluation, hindsight, modules, objectives

HEADS = {"categorical": modules.CategoricalHead, "one_hot": modules.OneHotHead, "gaussian": modules.GaussianHead}
Call = Callable[[TensorDictBase], Any]


def calls(kind: str) -> dict[str, tuple[Call, TensorDictBase]]:
    """Every public step of the pipeline, with a batch that it accepts."""
    torch.manual_seed(0)
    head = HEADS[kind]
    env: Any = envs.DetourEnv(num_envs=3, horizon=5) if kind == "gaussian" else envs.BitFlipEnv(4, num_envs=3)
    task, actor, critic = env.task(), ht.make_actor(head, env, (4,)), ht.make_critic(env, (4,))
    raw = actor(env.rollout(4)).exclude(("next", "observation"), inplace=False)
    raw["next", "observation"] = raw["observation"].roll(-1, 1)
    samplers = {
        "AllGoalSampler": hindsight.AllGoalSampler(),
        "UniformGoalSampler": hindsight.UniformGoalSampler(3, skip_held=task.reached),
        "HGFGoalSampler": hindsight.HGFGoalSampler(3, skip_held=task.reached),
        "OriginalGoalSampler": hindsight.OriginalGoalSampler(),
        "FutureGoalSampler": hindsight.FutureGoalSampler(),
        "FinalGoalSampler": hindsight.FinalGoalSampler(),
    }
    found: dict[str, tuple[Call, TensorDictBase]] = {name: (sampler, raw) for name, sampler in samplers.items()}
    steps = {
        "HindsightRelabel": hindsight.HindsightRelabel(task),
        "CumulativeGoalRatio": hindsight.CumulativeGoalRatio(actor),
        "StateValue": objectives.StateValue(critic),
        "GoalVTrace": objectives.GoalVTrace(),
        "CenterAdvantage": objectives.CenterAdvantage(),
        "RowSampler": batch.RowSampler(num_rows=8),
    }
    found["HindsightReplay"] = hindsight.HindsightReplay(task, 8), samplers["FutureGoalSampler"](raw)
    data = samplers["AllGoalSampler"](raw)
    for name, step in steps.items():
        found[name] = step, data
        if name == "RowSampler":
            found["HindsightMetrics"] = evaluation.HindsightMetrics(task), data
        data = step(data)
    for loss in (objectives.QKLLoss, objectives.SampledKLLoss, objectives.KLLoss):
        found[loss.__name__] = loss(actor), data
    objective = objectives.TrustRegionObjective(actor, critic)
    found["TrustRegionObjective"] = objective, data
    found["TrustRegionObjective.problem"] = partial(surrogate, objective), data
    return found


def surrogate(objective: objectives.TrustRegionObjective, data: TensorDictBase) -> dict[str, Tensor]:
    values = objective.problem(data).values(objective.trainable_params)
    return {str(index): value for index, value in enumerate(values)}


def mutations(value: Tensor, dims: int) -> Iterator[tuple[str, Tensor]]:
    yield "one dimension more", value.unsqueeze(-1)
    if value.dim() > dims:
        yield "without its last dimension", value[..., 0]
        yield "twice as wide", torch.cat((value, value), -1)
        if value.shape[-1] > 1:
            yield "narrower", value[..., :1]
    if value.dtype == torch.bool:
        yield "of floats", value.float()


def outcome(call: Call, data: TensorDictBase) -> Any:
    torch.manual_seed(1)
    out = call(data)
    if isinstance(out, dict):
        out = TensorDict({key: torch.as_tensor(value) for key, value in out.items()})
    return {key: value.clone() for key, value in out.items(True, True)}


def same(one: dict[Any, Tensor], other: dict[Any, Tensor], but: Any) -> bool:
    keys = one.keys() - {but}
    return keys == other.keys() - {but} and all(
        one[key].shape == other[key].shape and torch.allclose(one[key], other[key], equal_nan=True) for key in keys
    )


def judge(call: Call, data: TensorDictBase, key: Any, value: Tensor, expected: dict[Any, Tensor], name: str) -> str:
    try:
        found = outcome(call, data.copy().set(key, value))
    except (ValueError, TypeError, KeyError) as error:
        owners = (name.partition(".")[0], "validity", "row_weights", "action_log_prob")
        entries = {name if isinstance(name, str) else name[-1] for name in data.keys(True, True)}
        named = any(repr(entry) in str(error) for entry in entries) and any(owner in str(error) for owner in owners)
        return "refused" if named else "opaque"
    except Exception:  # whatever comes: an error, but not one of ours
        return "opaque"
    return "same" if same(expected, found, key) else "other"


def attack(kind: str) -> Counter[tuple[str, str, str, str]]:
    """Count the outcomes by call, entry and mutation."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for name, (call, data) in calls(kind).items():
        expected = outcome(call, data.copy())
        for key, value in data.items(True, True):
            for what, mutated in mutations(value, data.batch_dims):
                counts[judge(call, data, key, mutated, expected, name), name, str(key), what] += 1
    return counts


@pytest.mark.parametrize("kind", HEADS)
def test_no_entry_of_a_wrong_shape_is_accepted_with_another_result(kind):
    counts = attack(kind)
    assert counts.total() > 400
    assert not [where for where in counts if where[0] == "other"]
    # What networks read is judged by torch: its messages tell the sizes, not the entry.
    opaque = {where[2] for where in counts if where[0] == "opaque"}
    assert opaque <= {"observation", "desired_goal", "('next', 'observation')", "('next', 'desired_goal')"}


def test_a_flag_without_its_last_dimension_does_not_broadcast():
    env = envs.BitFlipEnv(4, num_envs=8)
    data = hindsight.FutureGoalSampler()(env.rollout(4))
    data["next", "truncated"] = data["next", "truncated"].squeeze(-1)
    with pytest.raises(ValueError, match=r"HindsightReplay: \('next', 'truncated'\) must be of shape \[8, 4, 1\]"):
        hindsight.HindsightReplay(env.task(), num_rows=8)(data)
