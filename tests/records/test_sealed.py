"""Sealed checkpoints: changed bytes are detected, no file can run code, and saving is atomic."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch
from torchrl.checkpoint import Checkpoint

from torchrl_htrpo.records import sealed
from torchrl_htrpo.records.sealed import SEAL, DamagedCheckpoint, SealedCheckpoint, check_seal

UPSTREAM = Path(__file__).parents[2] / "docs" / "upstream" / "tensordict_custom_op.py"


@pytest.fixture
def net():
    return torch.nn.Linear(64, 8)


@pytest.fixture
def saved(tmp_path, net) -> Path:
    return SealedCheckpoint(net=net, progress={"steps": 1}).save(tmp_path / "saved")


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def test_what_was_saved_is_loaded_bit_for_bit(saved, net):
    other, progress = torch.nn.Linear(64, 8), {}
    SealedCheckpoint(net=other, progress=progress).load(saved)
    assert torch.equal(other.weight, net.weight) and torch.equal(other.bias, net.bias) and progress == {"steps": 1}


def test_a_checkpoint_is_made_of_safetensors_and_json(saved):
    assert {file.suffix for file in files(saved)} == {".safetensors", ".json"}


@pytest.mark.parametrize("size", ["0", "half", "minus one", "plus one", "gone", "link"])
def test_a_file_that_was_cut_or_lengthened_or_is_gone_is_named_and_nothing_is_loaded(size, saved, net):
    kept = net.weight.clone()
    for file in files(saved):
        content = file.read_bytes()
        cut = {"0": 0, "half": len(content) // 2, "minus one": -1}.get(size)
        file.unlink()
        if size == "link":
            (saved.parent / "elsewhere").write_bytes(content)
            file.symlink_to(saved.parent / "elsewhere")
        elif size != "gone":
            file.write_bytes(content[:cut] if cut is not None else content + b"0")
        if (size, file.name) == ("link", SEAL):
            file.unlink()
            file.write_bytes(content)
            continue
        before = file.stat().st_size if file.exists() else None
        with pytest.raises(DamagedCheckpoint, match=SEAL if file.name == SEAL else file.name):
            SealedCheckpoint(net=net, progress={}).load(saved)
        assert (file.stat().st_size if file.exists() else None) == before
        file.unlink(missing_ok=True)
        file.write_bytes(content)
    assert torch.equal(net.weight, kept)
    check_seal(saved)


def test_a_flipped_bit_is_detected(saved):
    """Eight bits of each file; of the seal itself, what its fields say."""
    dice = random.Random(0)
    for file in files(saved):
        content = file.read_bytes()
        for _ in range(8):
            place = dice.randrange(len(content))
            flipped = content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :]
            file.write_bytes(flipped)
            if file.name == SEAL and _says(flipped) == _says(content):
                continue  # white space
            with pytest.raises(DamagedCheckpoint):
                check_seal(saved)
        file.write_bytes(content)


def _says(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_the_parts_of_another_checkpoint_are_refused(saved, tmp_path):
    other = SealedCheckpoint(net=torch.nn.Linear(64, 8), progress={"steps": 1}).save(tmp_path / "other")
    actor = next(saved.glob("components/*-net"))
    shutil.rmtree(actor)
    shutil.copytree(other / actor.relative_to(saved), actor)
    with pytest.raises(DamagedCheckpoint, match=r"tensors.safetensors was changed"):
        SealedCheckpoint(net=torch.nn.Linear(64, 8)).load(saved)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_seal_that_leads_out_of_the_folder_is_refused(name, saved):
    seal = json.loads((saved / SEAL).read_text())
    seal["files"][name] = {"size": 0, "sha256": ""}
    (saved / SEAL).write_text(json.dumps(seal))
    with pytest.raises(DamagedCheckpoint, match="of the manifest and other files"):
        check_seal(saved)


def test_a_checkpoint_of_the_format_before_is_refused_with_what_to_do(tmp_path, net):
    old = Checkpoint(net=net).save(tmp_path / "old")
    with pytest.raises(DamagedCheckpoint, match="older formats are not read"):
        SealedCheckpoint(net=net).load(old)
    archive = Checkpoint(net=net).save(tmp_path / "one.json", format="archive")
    with pytest.raises(DamagedCheckpoint):
        SealedCheckpoint(net=net).load(archive)


def reseal(folder: Path) -> None:
    (folder / SEAL).unlink()
    sealed._seal(folder)


def exploit():
    spec = importlib.util.spec_from_file_location("tensordict_custom_op", UPSTREAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_that_run_code_in_tensordict_run_nothing_here(saved, net, tmp_path):
    """Also with a renewed seal."""
    touched, component = tmp_path / "touched", next(saved.glob("components/*-net"))
    exploit().write(component / "state", touched)
    shutil.copytree(component / "state", component, dirs_exist_ok=True)
    (component / "state.pt").write_bytes(pickle.dumps(exploit().Touch(touched)))
    reseal(saved)
    SealedCheckpoint(net=net, progress={}).load(saved)  # the other files are not looked at
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["components"]["net"]["adapter"] = "torchrl.state_dict"
    (saved / "manifest.json").write_text(json.dumps(manifest))
    reseal(saved)
    with pytest.raises(RuntimeError, match="manifest adapter is 'torchrl.state_dict'"):
        SealedCheckpoint(net=net, progress={}).load(saved)
    assert not touched.exists()


def test_tensordict_by_itself_would_have_run_them(tmp_path):
    """The reason for our format. When this fails, tensordict refuses such files and docs/upstream can be removed."""
    assert exploit().runs(tmp_path)


def test_saving_again_replaces_and_leaves_nothing_beside(saved, net):
    with torch.no_grad():
        net.weight.fill_(3.0)
    SealedCheckpoint(net=net, progress={}).save(saved)
    other = torch.nn.Linear(64, 8)
    SealedCheckpoint(net=other).load(saved)
    assert (other.weight == 3.0).all() and [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_files_and_folders_are_on_the_disk_before_the_name_appears(tmp_path, net, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", record)
    SealedCheckpoint(net=net, progress={}).save(tmp_path / "saved")
    draft = tmp_path / ".saved.draft"
    wanted = {draft / path.relative_to(tmp_path / "saved") for path in (tmp_path / "saved").rglob("*")} | {draft}
    assert wanted <= set(synced) and synced[-1] == tmp_path


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_folder_and_the_bytes_and_leaves_nothing(code, tmp_path, net, monkeypatch):
    real = Path.open

    def full(self, mode="r", *args, **kwargs):
        if "w" in mode and self.suffix == ".safetensors":
            raise OSError(code, os.strerror(code))
        return real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=rf"no room: \d+ bytes for {tmp_path}.*net.* free\): {os.strerror(code)}") as told:
        SealedCheckpoint(net=net).save(tmp_path / "saved")
    assert told.value.errno == code and not list(tmp_path.iterdir())
