"""Greedy episodes are whole, greedy, repeatable, and counted as defined."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.envs import ExplorationType, set_exploration_type

from torchrl_htrpo.envs import BitFlipEnv, EqualGoals, GoalTask, HiddenGapEnv
from torchrl_htrpo.evaluation import collect_episodes, evaluate, summarize
from torchrl_htrpo.modules import CategoricalHead, make_actor

BITS = 4


@pytest.fixture
def env():
    return BitFlipEnv(BITS, num_envs=3, seed=0)


@pytest.fixture
def actor():
    return make_actor(CategoricalHead(BITS), 2 * BITS, (8,))


def solver() -> TensorDictModule:
    """Flips the first bit that differs."""

    def act(observation, goal):
        return (observation != goal).long().argmax(-1)

    return TensorDictModule(act, in_keys=["observation", "desired_goal"], out_keys=["action"])


@pytest.mark.parametrize("episodes", [1, 3, 4, 7])
def test_as_many_whole_episodes_as_asked_for(env, actor, episodes):
    batch = collect_episodes(env, actor, episodes, BITS)
    assert batch.shape == (episodes, BITS)
    assert not batch["observation"][:, 0].any()  # each begins at a start
    assert batch["next", "done"][:, -1].all() and not batch["next", "done"][:, :-1].any()


def test_actions_are_greedy_whatever_the_exploration_type_outside(env, actor):
    with set_exploration_type(ExplorationType.RANDOM):
        batch = collect_episodes(env, actor, 6, BITS)
    assert torch.equal(batch["action"], batch["logits"].argmax(-1))


def test_sampled_actions_can_be_evaluated_without_changing_the_random_state(env, actor):
    arguments = {"episodes": 40, "horizon": BITS, "seed": 3, "exploration": ExplorationType.RANDOM}
    before = torch.get_rng_state()
    first, again = (evaluate(env, actor, env.task(), **arguments) for _ in range(2))
    assert first == again and torch.equal(torch.get_rng_state(), before)
    batch = collect_episodes(env, actor, 40, BITS, exploration=ExplorationType.RANDOM)
    assert not torch.equal(batch["action"], batch["logits"].argmax(-1))


def test_no_graph_is_kept(env, actor):
    assert not any(leaf.requires_grad for leaf in collect_episodes(env, actor, 3, BITS).values(True, True))


def test_a_seed_makes_every_evaluation_meet_the_same_goals_and_none_does_not(env, actor):
    first, again = (evaluate(env, actor, env.task(), episodes=40, horizon=BITS, seed=3) for _ in range(2))
    assert first == again
    goals = [collect_episodes(env, actor, 9, BITS)["desired_goal"] for _ in range(2)]
    assert not torch.equal(*goals)


def test_a_policy_that_solves_the_task_has_success_one():
    env = BitFlipEnv(BITS, num_envs=8, seed=0)
    figures = evaluate(env, solver(), env.task(), episodes=32, horizon=BITS, seed=0)
    assert figures.success == 1.0 and figures.success_high == 1.0 and figures.episodes == 32


def by_hand() -> TensorDict:
    """Four episodes of three steps on goal 1: reached at step 2 and kept, reached then lost, at the end, never."""
    achieved = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]).float().unsqueeze(-1)
    return TensorDict(
        {"desired_goal": torch.ones(4, 3, 1), "next": {"achieved_goal": achieved}},
        batch_size=[4, 3],
    )


def test_hand_counted_episodes():
    figures = summarize(by_hand(), GoalTask(EqualGoals(), "sparse"))
    assert figures.success == 0.75
    assert figures.success_last == 0.5
    assert figures.episode_return == 0.75  # 1 once, at the first success
    assert figures.length == (2 + 1 + 3 + 3) / 4
    assert figures.episodes == 4
    assert 0.3 < figures.success_low < 0.75 < figures.success_high < 1


def test_only_the_first_episode_of_a_row_counts():
    done = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]).bool().unsqueeze(-1)
    episodes = by_hand()
    episodes["next", "done"] = done
    # Reached at its last step; reached then lost; ended before the success that follows; never.
    figures = summarize(episodes, GoalTask(EqualGoals(), "sparse"))
    assert (figures.success, figures.success_last, figures.episode_return) == (0.5, 0.25, 0.5)
    assert figures.length == (2 + 1 + 1 + 1) / 4
    assert summarize(episodes, GoalTask(EqualGoals(), "her")).episode_return == -(1 + 2 + 1 + 1) / 4


def test_the_return_is_that_of_the_task():
    assert summarize(by_hand(), GoalTask(EqualGoals(), "her")).episode_return == -(1 + 2 + 2 + 3) / 4
    assert summarize(by_hand(), GoalTask(EqualGoals(), "paper_code")).episode_return == (2 + 3 + 1 + 0) / 4


def test_all_figures_go_to_a_logger_as_numbers():
    metrics = summarize(by_hand(), GoalTask(EqualGoals())).metrics()
    assert metrics["success"] == 0.75 and metrics["episodes"] == 4.0
    assert all(isinstance(value, float) for value in metrics.values())


def test_a_seeded_evaluation_does_not_change_later_episodes(env, actor):
    state = env.rng_state()
    expected = env.reset()["desired_goal"]
    env.set_rng_state(state)
    evaluate(env, actor, env.task(), episodes=10, horizon=4, seed=7)
    assert torch.equal(env.reset()["desired_goal"], expected)


def test_the_noise_of_actions_is_independent_of_the_goals():
    drawn = []

    def act(goal):
        drawn.append(torch.randn(4))
        return torch.zeros(len(goal), 2)

    env, policy = HiddenGapEnv(4), TensorDictModule(act, ["desired_goal"], ["action"])
    evaluate(env, policy, env.task(), episodes=4, horizon=8, seed=7)
    env.set_seed(7)
    first = drawn[-8]  # of eight steps
    assert not torch.equal(first, torch.randn(4, generator=env.generator))
    evaluate(env, policy, env.task(), episodes=4, horizon=8, seed=7)
    assert torch.equal(drawn[-8], first)


def test_a_policy_whose_actions_do_not_fit_is_refused_before_anything_is_collected(env):
    state = env.rng_state()["generator"]
    with pytest.raises(ValueError, match="check_actor: actor must be a policy among the 4 choices of 'action', got 3"):
        evaluate(env, make_actor(CategoricalHead(3), 8, (8,)), env.task(), episodes=3, horizon=BITS)
    assert torch.equal(env.rng_state()["generator"], state)
