"""The page on hindsight off policy runs as it is written, and names every source of goals there is."""

from __future__ import annotations

import re
from pathlib import Path

from torchrl_htrpo.recipes.settings.groups import HINDSIGHT

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/off_policy.md").read_text()


def test_its_agent_learns_five_bits(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/off_policy.md", "exec"), names)
    assert names["success"] >= 0.9
    assert f"{names['success']:.2f}" in capsys.readouterr().out


def test_every_choice_of_the_recipes_is_in_its_table():
    rows = re.findall(r"^\| .*? \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(HINDSIGHT)


def test_it_lists_what_the_tests_of_torchrls_buffer_show():
    defects = (ROOT / "tests/test_torchrl_her.py").read_text().count("pytest.mark.xfail")
    listed = re.search(r"## Why not .*?\n## ", PAGE, re.DOTALL)[0]
    assert len(re.findall(r"^\d\. ", listed, re.MULTILINE)) == defects - 1  # the first has two tests
