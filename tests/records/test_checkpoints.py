"""Checkpoints: which are kept, which are intact, and that none of another run is taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer

from torchrl_htrpo.envs import BitFlipEnv, make_goal_env
from torchrl_htrpo.records import EnvRandomness, StoredItems
from torchrl_htrpo.records.checkpoints import (
    checkpoints_of,
    differences,
    intact_checkpoint,
    load_intact,
    refuse_differences,
    set_damaged_aside,
    stored_checkpoints,
    sweep,
)
from torchrl_htrpo.records.sealed import DamagedCheckpoint, SealedCheckpoint

HERE = {"config": {"gamma": 0.9, "critic": {"lr": 0.1}}, "versions": {"torch": "2"}}


@pytest.fixture
def net():
    return torch.nn.Linear(2, 1)


@pytest.fixture
def saved(tmp_path, net) -> Path:
    return checkpoints_of(tmp_path).save(SealedCheckpoint(net=net), step=1, metadata={"success": 0.5, **HERE})


@pytest.fixture
def three(tmp_path, net) -> list[Path]:
    """Of success 0.9, 0.1 and 0.5."""
    rotation = checkpoints_of(tmp_path)
    for step, success in enumerate((0.9, 0.1, 0.5)):
        rotation.save(SealedCheckpoint(net=net), step=step, metadata={"success": success})
    return stored_checkpoints(tmp_path)


def damage(checkpoint: Path) -> None:
    file = next(checkpoint.rglob("tensors.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])


def test_the_last_two_and_the_best_are_kept(tmp_path, net):
    rotation = checkpoints_of(tmp_path)
    for step, success in enumerate([0.1, 0.9, -1.0, 0.5, 0.6]):
        rotation.save(SealedCheckpoint(net=net), step=step, metadata={"success": success})
    assert [int(path.name.split("-")[1]) for path in stored_checkpoints(tmp_path)] == [1, 3, 4]
    assert intact_checkpoint(tmp_path, best=True).name.endswith("1") and intact_checkpoint(tmp_path).name.endswith("4")


def test_the_newest_that_is_intact_is_taken_and_the_damaged_one_is_named(three, tmp_path, caplog):
    damage(three[-1])
    with caplog.at_level("WARNING", logger="torchrl"):
        assert intact_checkpoint(tmp_path) == three[1]
    assert intact_checkpoint(tmp_path, best=True) == three[0]
    set_damaged_aside(tmp_path)
    assert stored_checkpoints(tmp_path) == three[:2]
    assert (three[-1].parent / "damaged-000000000002").is_dir()


def test_a_damaged_best_one_gives_way_to_the_best_of_the_others(three, tmp_path):
    damage(three[0])
    assert intact_checkpoint(tmp_path, best=True) == three[2]


def test_a_run_whose_checkpoints_are_all_damaged_says_what_is_wrong_with_each(three, tmp_path):
    for path in three:
        damage(path)
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint-0+: .*checkpoint-0+1: .*checkpoint-0+2: .* bytes, not"):
        intact_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "checksums.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"files": {}}', b"\xff\x00"])
def test_a_torn_record_of_a_checkpoint_is_damage(name, content, three, tmp_path):
    (three[-1] / name).write_bytes(content)
    assert intact_checkpoint(tmp_path) == three[1]


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="at least one complete iteration"):
        intact_checkpoint(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_harmless_files_are_not_looked_at(saved, tmp_path, net):
    for folder in (tmp_path, saved.parent, saved, saved / "components"):
        (folder / ".DS_Store").write_bytes(b"\x00")
        (folder / ".link").symlink_to(tmp_path)
    (saved.parent / "checkpoint-1 (copy)").mkdir()
    (saved.parent / "checkpoint-000000000009").symlink_to(saved)
    (saved.parent / ".checkpoint-link").symlink_to(saved)
    sweep(tmp_path)
    assert intact_checkpoint(tmp_path) == saved
    assert SealedCheckpoint(net=net).load(saved).loaded == {"net"}


def test_what_a_kill_left_half_written_is_swept_away_and_never_taken(saved, tmp_path):
    for name in (".checkpoint-000000000002.stage-0", "..checkpoint-000000000002.draft.stage-0"):
        shutil.copytree(saved, saved.with_name(name))
    assert intact_checkpoint(tmp_path) == saved
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
    SealedCheckpoint(buffer=StoredItems(one)).save(tmp_path / "saved")
    other.extend(items(100, 3))  # what it held before is forgotten
    SealedCheckpoint(buffer=StoredItems(other)).load(tmp_path / "saved")
    assert len(other) == len(one) == min(stored, 5)
    for buffer in (one, other):
        buffer.extend(items(50, 3))
    assert (one.storage[: len(one)] == other.storage[: len(other)]).all()
    assert other.storage[: len(other)].batch_size == one.storage[: len(one)].batch_size


def test_a_stored_buffer_holds_no_more_than_its_items(tmp_path):
    buffer = ReplayBuffer(storage=LazyTensorStorage(100_000))
    buffer.extend(items(0, 2))
    path = SealedCheckpoint(buffer=StoredItems(buffer)).save(tmp_path / "saved")
    assert sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()) < 100_000


def test_a_larger_buffer_takes_the_items_of_a_full_one():
    small, large = (ReplayBuffer(storage=LazyTensorStorage(size)) for size in (3, 9))
    small.extend(items(0, 3))
    StoredItems(large).load_state_dict(StoredItems(small).state_dict())
    large.extend(items(3, 2))
    assert large.storage[: len(large)]["number"][:, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_the_state_of_a_buffer_does_not_depend_on_the_order_in_which_its_entries_were_written():
    buffers, batch = [ReplayBuffer(storage=LazyTensorStorage(4)) for _ in range(2)], items(0, 3)
    buffers[0].extend(batch)
    buffers[1].extend(TensorDict({"next": batch["next"], "number": batch["number"]}, batch_size=batch.shape))
    one, other = (
        json.dumps(StoredItems(buffer).state_dict(), default=lambda leaf: leaf.tolist()) for buffer in buffers
    )
    assert one == other


def test_a_checkpoint_that_a_running_run_removes_is_neither_damaged_nor_missing(tmp_path, net, monkeypatch, caplog):
    rotation = checkpoints_of(tmp_path)

    def save(step: int) -> None:
        rotation.save(SealedCheckpoint(net=net), step=step, metadata={"success": -1.0})

    save(1)
    found = load_intact(SealedCheckpoint(net=net), tmp_path, accept=lambda path: [save(2), save(3), save(4)])
    assert found.name.endswith("4")
    before = stored_checkpoints(tmp_path)
    save(5)
    late = iter([before])  # the list was read before the run saved again
    now = stored_checkpoints
    monkeypatch.setattr("torchrl_htrpo.records.checkpoints.stored_checkpoints", lambda path: next(late, now(path)))
    assert intact_checkpoint(tmp_path).name.endswith("5") and not caplog.text


def test_a_damaged_checkpoint_that_stays_is_an_error_at_its_load(saved, tmp_path, net):
    with pytest.raises(DamagedCheckpoint):
        load_intact(SealedCheckpoint(net=net), tmp_path, accept=damage)
