"""Provenance: versions, commit and machine of a result."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import torchrl_htrpo
from torchrl_htrpo.records import provenance as place
from torchrl_htrpo.records.provenance import commit, machine, provenance, versions


def test_versions_are_those_of_what_is_loaded():
    found = versions()
    assert found["python"] == platform.python_version() and found["torch"] == torch.__version__
    assert found["torchrl_htrpo"] == torchrl_htrpo.__version__


def test_what_is_not_loaded_has_no_version(monkeypatch):
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    assert "mujoco" not in versions()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_repository_and_says_when_files_differ(tmp_path, monkeypatch):
    def git(*words):
        told = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(told, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(place, "__file__", str(tmp_path / "provenance.py"))
    assert commit() is None  # no repository
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    assert commit() == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert commit() == git("rev-parse", "HEAD") + "-dirty"


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() is None


def test_the_machine_is_described_and_json_takes_it():
    found = machine()
    assert found["cores"] >= found["usable_cores"] >= 1 and found["torch_threads"] == torch.get_num_threads()
    assert found["processor"]
    assert json.loads(json.dumps(provenance())) == provenance()
    assert str(Path.home()) not in json.dumps(provenance())
