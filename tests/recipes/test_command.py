"""Every command that a docstring or a page shows is one that its recipe takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from tests.recipes.runs import CONF, RECIPES, ROOT
from torchrl_htrpo.recipes.command import no_folder_if_refused, register_tasks
from torchrl_htrpo.records.lock import FolderLock

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/results").glob("*.md"))]
SCRIPTS = sorted((RECIPES / "paper").glob("reproduce.py")) + sorted(RECIPES.glob("*.py"))
MODULES = sorted(file for file in (ROOT / "torchrl_htrpo/recipes").glob("*.py") if "run_recipe(" in file.read_text())


def commands(file: Path) -> list[str]:
    text = file.read_text().replace("\\\n", " ")
    return re.findall(
        r"(?<![/\w])(?:recipes/[^`;\n]*\.py [^`;\n]*=[^`;\n]*|torchrl_htrpo (?:train|her|trpo|play|evaluate)[^`;\n]*)",
        text,
    )


def values_of(override: Override) -> list[str]:
    return (
        list(override.sweep_string_iterator())
        if override.is_sweep_override()
        else [override.get_value_element_as_str()]
    )


def composed(command: str) -> None:
    script, *overrides = shlex.split(command.replace("$seed", "0"), comments=True)
    # A sweep over all files of a group is for Hydra's command line.
    given = [text for text in overrides if "=" in text and "glob(" not in text and not text.startswith("hydra")]
    if "-m" in overrides:  # the first run of a sweep
        parsed = OverridesParser.create().parse_overrides(given)
        given = [f"{one.key_or_group}={next(iter(values_of(one)))}" for one in parsed]
    if script == "torchrl_htrpo":
        name = {"train": "htrpo"}.get(overrides[0], overrides[0])
    else:
        assert (ROOT / script) in SCRIPTS
        name = {"htrpo_fetch": "htrpo"}.get(Path(script).stem, Path(script).stem)
    config = RECIPES / "paper/config" if name == "reproduce" else CONF / name
    register_tasks(given)
    with initialize_config_dir(str(config), version_base="1.3"):
        compose(name, given)


@pytest.mark.parametrize("file", [*MODULES, RECIPES / "paper/reproduce.py"], ids=lambda file: file.stem)
def test_the_docstring_of_a_recipe_shows_commands_that_it_takes(file):
    found = commands(file)
    assert found or file.stem == "command"
    for command in found:
        composed(command)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_taken(page):
    for command in commands(page):
        if "<" not in command:
            composed(command)


def test_a_run_that_is_refused_after_it_wrote_something_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "outputs" / "now"
    (made / ".hydra").mkdir(parents=True)
    with pytest.raises(FileExistsError), no_folder_if_refused(made):
        list(map(Path.mkdir, [made / "logs"] * 2))  # a logger began before another one failed
    assert not list(tmp_path.iterdir())


def test_a_refused_run_leaves_what_was_in_its_folder_before(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RuntimeError), no_folder_if_refused(tmp_path):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_process_that_is_refused_while_another_begins_leaves_the_folder_of_that_one(tmp_path):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    locks = [FolderLock(tmp_path / "run") for _ in range(2)]
    with pytest.raises(RuntimeError, match="one process at a time"), no_folder_if_refused(tmp_path / "run"):
        list(map(FolderLock.acquire, locks))  # both came at once, and run.json of the first is not there yet
    assert (tmp_path / "run" / ".lock").exists() and (tmp_path / "run" / ".hydra").exists()
