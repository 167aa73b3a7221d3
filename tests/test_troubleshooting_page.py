"""The troubleshooting page knows every status of a step and every warning about learning."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from torchrl_htrpo.modules import GaussianHead, GaussianMixtureHead
from torchrl_htrpo.optim import StepStatus

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


@pytest.mark.parametrize("status", StepStatus)
def test_every_status_is_explained(status):
    assert f"| `{status.name}` |" in PAGE


@pytest.mark.parametrize("head", [GaussianHead(2), GaussianMixtureHead(2, 2)], ids=lambda head: type(head).__name__)
def test_every_warning_of_a_head_is_explained(head):
    quoted = re.findall(r'\| "([^"]+)" \|', PAGE)
    for text in head.warnings.values():
        assert any(words in text for words in quoted), text


def test_every_warning_about_hindsight_is_explained():
    source = (ROOT / "torchrl_htrpo" / "evaluation" / "hindsight_metrics.py").read_text()
    quoted = re.findall(r'\| "([^"]+)" \|', PAGE)
    told = re.findall(r'self\._warn\(\s*"\w+", "([^"]+)"', source)
    assert len(told) == 2
    for text in told:
        assert any(words in text for words in quoted), text


def warned() -> list[str]:
    """The constant text of each warning that is logged, but for those above, whose text comes from elsewhere."""
    found = []
    for path in (ROOT / "torchrl_htrpo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in {"torchrl_logger.warning", "warnings.warn"} and path.parent.name != "evaluation":
                parts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                found.append(" ".join(str(part) for part in parts))
    return found


def test_every_other_warning_is_explained():
    quoted = re.findall(r'\| "([^"]+)" \|', PAGE)
    assert len(warned()) >= 6
    for text in warned():
        assert any(words in text for words in quoted), text
