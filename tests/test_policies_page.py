"""The page on policies runs as it is written, and names every head there is."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import OmegaConf

from torchrl_htrpo import modules
from torchrl_htrpo.optim import StepStatus
from torchrl_htrpo.recipes.settings.groups import HEADS, MIXTURES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/policies.md").read_text()


def test_its_examples_run_and_the_step_is_accepted(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/policies.md", "exec"), names)
    assert names["result"].status is StepStatus.ACCEPTED
    assert "ACCEPTED" in capsys.readouterr().out


def test_every_head_is_in_its_table_with_its_configuration():
    heads = {name for name in modules.__all__ if name.endswith("Head") and name != "PolicyHead"}
    rows = re.findall(r"^\| \{class\}`~torchrl_htrpo\.modules\.(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {name for name, _ in rows} == heads
    configured = HEADS | MIXTURES
    assert {config for _, config in rows} == set(configured)
    for name, config in rows:
        assert OmegaConf.structured(configured[config])["_target_"].rpartition(f".{name}")[1]
