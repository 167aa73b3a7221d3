"""Every command that a docstring or a page shows is one that its recipe takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests.recipes.runs import RECIPES, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/results").glob("*.md"))]
SCRIPTS = sorted(file for file in RECIPES.rglob("*.py") if "hydra.main(" in file.read_text())


def commands(file: Path) -> list[str]:
    text = file.read_text().replace("\\\n", " ")
    return re.findall(r"python (recipes/[^`;\n]*)", text)


def composed(command: str) -> None:
    script, *overrides = shlex.split(command.replace("$seed", "0"), comments=True)
    path = ROOT / script
    config = path.parent / "config"
    assert path in SCRIPTS
    # A sweep over all files of a group is for Hydra's command line.
    given = [text for text in overrides if "=" in text and "glob(" not in text]
    with initialize_config_dir(str(config), version_base="1.3"):
        compose(path.stem, given)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.stem)
def test_the_docstring_of_a_recipe_says_how_it_is_run(file):
    found = commands(file)
    assert found and all(command.split()[0] == str(file.relative_to(ROOT)) for command in found)
    for command in found:
        composed(command)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_taken(page):
    for command in commands(page):
        if "<" not in command:
            composed(command)
