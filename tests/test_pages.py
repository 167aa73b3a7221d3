"""Names and commands in the documentation are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tests.recipes.runs import CONF, RECIPES, ROOT
from torchrl_htrpo.recipes.command import register_tasks

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(ROOT.glob("docs/**/*.md"))
SCRIPTS = sorted(ROOT.glob("docs/how_to/*.py")) + sorted(ROOT.glob("docs/examples/*.py"))
# A page speaks of a key below one of these.
SETTINGS = [
    ("htrpo", ("task=reach",)),
    ("htrpo", ("task=reach", "preset=discrete")),
    ("htrpo", ("task=gear_shift", "head=gmm")),
    ("htrpo", ("task=pacman",)),
    ("her", ("task=reach",)),
    ("trpo", ()),
    ("play", ()),
    ("paper", ()),
]
OVERRIDE = re.compile(r"\+?[a-z_]+(\.[a-z_]+)*=[^=\s\"'(]+")


def spans(page: Path) -> list[str]:
    """The text in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))


def is_override(span: str) -> bool:
    """Whether it is what a command line takes; capitals are arguments of Python, brackets are for the reader."""
    words = span.split()
    return all(OVERRIDE.fullmatch(word) and not re.search(r"=([A-Z]\w*[a-z]|<)", word) for word in words)


def composes(recipe: str, overrides: list[str]) -> bool:
    folder, name = (RECIPES / "paper/config", "reproduce") if recipe == "paper" else (CONF / recipe, recipe)
    with initialize_config_dir(str(folder), version_base="1.3"):
        try:
            compose(name, overrides)
        except HydraException:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_override_in_the_text_is_a_key_of_a_recipe(page):
    register_tasks()
    found = {span for span in spans(page) if is_override(span)}
    unknown = [
        span for span in found if not any(composes(recipe, [*given, *span.split()]) for recipe, given in SETTINGS)
    ]
    assert not unknown


def test_the_settings_page_names_keys_of_the_configuration():
    register_tasks()
    with initialize_config_dir(str(CONF / "htrpo"), version_base="1.3"):
        cfg = compose("htrpo", ["task=reach", "preset=discrete"])
    rows = re.findall(r"^\| [^|`]+ \| (`[^|]+`) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    keys = [key for row in rows for key in re.findall(r"`([a-z_.]+)`", row)]
    assert len(keys) > 12
    missing = object()
    assert not [key for key in keys if OmegaConf.select(cfg, key, default=missing) is missing]


def test_no_page_uses_a_name_that_was_renamed():
    changes = (ROOT / "CHANGELOG.md").read_text().split("### Renamed")[1].split("###")[0]
    rows = [line.split("|")[1:3] for line in changes.splitlines() if line.startswith("| ")]
    old, new = ({name.rstrip("=") for row in rows for name in re.findall(r"`([^`]+)`", row[side])} for side in (0, 1))
    assert "max_kl" in old - new
    stale = {page.name: sorted({span.rstrip("=") for span in spans(page)} & (old - new)) for page in PAGES}
    assert not {name: found for name, found in stale.items() if found}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs/api.rst", ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_no_page_holds_the_marks_of_a_merge(page):
    assert not re.search(r"^(<<<<<<<|=======|>>>>>>>)( |$)", page.read_text(), re.MULTILINE) or page.suffix == ".rst"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_actor_of_a_script_explores_when_it_collects(script):
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    actors = [call for call in calls if ast.unparse(call.func).endswith("ProbabilisticActor")]
    given = [{argument.arg: ast.unparse(argument.value) for argument in call.keywords} for call in actors]
    assert all(arguments.get("default_interaction_type") == "InteractionType.RANDOM" for arguments in given)
