"""Checkpoints: which are kept, that a kill leaves one, that none runs code, that none of another run is taken."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torchrl.checkpoint import Checkpoint
from torchrl.data import LazyTensorStorage, ReplayBuffer

from torchrl_htrpo.envs import BitFlipEnv, make_goal_env
from torchrl_htrpo.evaluation import EnvRandomness, StoredItems
from torchrl_htrpo.evaluation.checkpoints import (
    checkpoints_of,
    differences,
    load_data,
    refuse_differences,
    sweep,
)

HERE = {"config": {"gamma": 0.9, "critic": {"lr": 0.1}}, "versions": {"torch": "2"}}


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def net():
    return torch.nn.Linear(2, 1)


@pytest.fixture
def saved(tmp_path, net) -> Path:
    return checkpoints_of(tmp_path).save(Checkpoint(net=net), step=1, metadata={"success": 0.5, **HERE})


def states(folder: Path) -> list[Path]:
    """Where the tensors of a checkpoint lie."""
    return [file.parent for file in folder.rglob("meta.json")]


def test_what_was_saved_is_loaded_bit_for_bit(saved, net):
    other = torch.nn.Linear(2, 1)
    load_data(Checkpoint(net=other), saved)
    assert torch.equal(other.weight, net.weight) and torch.equal(other.bias, net.bias)


@pytest.mark.parametrize("name", ["other.pickle", "state.pt", "state.tdz", "nothing"])
def test_a_payload_that_could_run_code_is_refused_and_does_not_run(name, saved, net, tmp_path):
    gone_off = tmp_path / "gone_off"
    for folder in {*states(saved), *(state.parent for state in states(saved))}:
        (folder / name).write_bytes(pickle.dumps(Bomb(gone_off)))
    with pytest.raises(ValueError, match=rf"tensors and JSON only .*{name}"):
        load_data(Checkpoint(net=net), saved)
    assert not gone_off.exists()


def test_tensordict_by_itself_would_have_run_it(saved, tmp_path):
    """Why there is a refusal. When this fails, tensordict refuses by itself, and ours may go."""
    import tensordict

    gone_off = tmp_path / "gone_off"
    (state,) = states(saved)
    (state / "other.pickle").write_bytes(pickle.dumps(Bomb(gone_off)))
    (state / "meta.json").write_text('{"_type": "<class \'tensordict.tensorclass.NonTensorData\'>"}')
    with pytest.warns(FutureWarning, match="pickle"), suppress(TypeError):
        tensordict.load(state)
    assert gone_off.exists()


def test_a_link_and_an_archive_are_refused(saved, net, tmp_path):
    (saved / "components" / "more.json").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="more.json"):
        load_data(Checkpoint(net=net), saved)
    archive = Checkpoint(net=net).save(tmp_path / "one.json", format="archive")
    with pytest.raises(ValueError, match="tensors and JSON only"):
        load_data(Checkpoint(net=net), archive)


def test_the_last_two_and_the_best_are_kept(tmp_path, net):
    rotation = checkpoints_of(tmp_path)
    for step, success in enumerate([0.1, 0.9, -1.0, 0.5, 0.6]):
        rotation.save(Checkpoint(net=net), step=step, metadata={"success": success})
    assert [int(path.name.split("-")[1]) for path in rotation.checkpoints()] == [1, 3, 4]
    assert rotation.best().name.endswith("1") and rotation.latest().name.endswith("4")


def test_what_a_kill_left_half_written_is_swept_away_and_never_taken(saved, tmp_path):
    rotation = checkpoints_of(tmp_path)
    half = saved.with_name(".checkpoint-000000000002.stage-0")
    half.mkdir()
    (half / "components").mkdir()
    assert rotation.latest() == saved
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [saved.name]


def test_a_checkpoint_of_the_same_configuration_is_taken(saved):
    refuse_differences(saved, HERE)


def test_differences_in_configuration_and_versions_are_named(saved):
    here = {"config": {"gamma": 0.8, "critic": {}, "new": None}, "versions": {"torch": "3"}}
    with pytest.raises(ValueError, match="of the same configuration and versions") as refused:
        refuse_differences(saved, here)
    for difference in (
        "config.critic.lr: 0.1 there, 'nothing' here",
        "config.gamma: 0.9 there, 0.8 here",
        "config.new: 'nothing' there, None here",
        "versions.torch: '2' there, '3' here",
    ):
        assert difference in str(refused.value)


def test_equal_configurations_do_not_differ():
    assert differences(HERE, HERE) == [] and differences({"a": [1, 2]}, {"a": [1, 2]}) == []


def fetch():
    pytest.importorskip("mujoco")
    return make_goal_env("push", 2, seed=0, num_threads=1)


@pytest.mark.parametrize("make", [lambda: BitFlipEnv(8, 2, seed=0), fetch], ids=["bits", "fetch"])
def test_an_environment_draws_again_what_it_would_have_drawn(make):
    env, other = make(), make()
    env.reset()
    state = EnvRandomness(env).state_dict()
    expected = [env.reset()["desired_goal"] for _ in range(2)]
    EnvRandomness(other).load_state_dict(state)
    assert all(torch.equal(other.reset()["desired_goal"], goal) for goal in expected)


def test_an_environment_without_a_state_to_give_is_let_be():
    class Plain:
        pass

    randomness = EnvRandomness(Plain())
    assert randomness.state_dict() == {}
    randomness.load_state_dict({})


def items(first, count):
    """Episodes of two steps, told apart by their number."""
    number = torch.arange(first, first + count).reshape(count, 1, 1).expand(count, 2, 1).double()
    after = TensorDict(number=number + 0.5, batch_size=[count, 2])
    return TensorDict(number=number.contiguous(), next=after, batch_size=[count, 2])


@pytest.mark.parametrize("stored", [0, 3, 5, 8, 14])
def test_a_replay_buffer_comes_back_with_its_items_and_its_place_in_the_ring(stored, tmp_path):
    one, other = (ReplayBuffer(storage=LazyTensorStorage(5)) for _ in range(2))
    if stored:
        one.extend(items(0, min(stored, 4)))
        for number in range(4, stored):
            one.extend(items(number, 1))
    Checkpoint(buffer=StoredItems(one)).save(tmp_path / "saved")
    other.extend(items(100, 3))  # what it held before is forgotten
    load_data(Checkpoint(buffer=StoredItems(other)), tmp_path / "saved")
    assert len(other) == len(one) == min(stored, 5)
    for buffer in (one, other):
        buffer.extend(items(50, 3))
    assert (one.storage[: len(one)] == other.storage[: len(other)]).all()
    assert other.storage[: len(other)].batch_size == one.storage[: len(one)].batch_size


def test_a_stored_buffer_holds_no_more_than_its_items(tmp_path):
    buffer = ReplayBuffer(storage=LazyTensorStorage(100_000))
    buffer.extend(items(0, 2))
    path = Checkpoint(buffer=StoredItems(buffer)).save(tmp_path / "saved") or tmp_path / "saved"
    assert sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()) < 100_000


def test_a_larger_buffer_takes_the_items_of_a_full_one():
    small, large = (ReplayBuffer(storage=LazyTensorStorage(size)) for size in (3, 9))
    small.extend(items(0, 3))
    StoredItems(large).load_state_dict(StoredItems(small).state_dict())
    large.extend(items(3, 2))
    assert large.storage[: len(large)]["number"][:, 0, 0].tolist() == [0, 1, 2, 3, 4]
