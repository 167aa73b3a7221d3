"""The command line of the package."""

from __future__ import annotations

import pytest

from torchrl_htrpo import __main__ as command_line


def ran(monkeypatch, *arguments: str) -> str:
    monkeypatch.setattr("sys.argv", ["htrpo", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    return str(ended.value)


def test_help_lists_every_command(monkeypatch):
    told = ran(monkeypatch, "--help")
    assert all(f"  {command} " in told for command in command_line.COMMANDS) and ran(monkeypatch) == told


def test_an_unknown_command_is_refused_with_the_choices(monkeypatch):
    assert ran(monkeypatch, "trian").startswith("htrpo: trian is not a command") and "evaluate" in ran(monkeypatch, "x")
