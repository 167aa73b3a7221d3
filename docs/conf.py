"""Sphinx: the documentation with an executed gallery; `make docs` builds it with warnings as errors."""

from __future__ import annotations

import os
from typing import Any

# The gallery executes on few rows: one thread is faster, and the libraries' advice belongs elsewhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RL_WARNINGS", "0")
os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars in the output of the gallery

from sphinx.util.inspect import signature as signature_of
from sphinx.util.inspect import stringify_signature

from torchrl_htrpo import __version__

project = "torchrl_htrpo"
author = "The torchrl_htrpo developers"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "results/tables", "examples", "gallery/*.ipynb", "gallery/*.py"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"torchrl_htrpo {version}"
html_static_path = ["_static"]
html_css_files = ["narrow.css"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "write_computation_times": False,
}


def signature_of_init(app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """TorchRL's environments have a metaclass that hides the arguments of their constructors."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    found = signature_of(obj.__init__, bound_method=True)
    return stringify_signature(found, show_return_annotation=False, unqualified_typehints=True), returns


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", signature_of_init)
