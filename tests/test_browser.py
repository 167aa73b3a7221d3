"""The built documentation in a real browser: every page opens, links lead somewhere, nothing scrolls sideways.

    apt-get install chromium && pip install playwright && make docs && pytest tests/test_browser.py

Skipped without Chromium, playwright or built pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag

import pytest

HTML = Path(__file__).parents[1] / "docs/_build/html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium"),
    pytest.mark.skipif(not PAGES, reason="needs the built documentation (make docs)"),
]
LINKS = "() => [...document.querySelectorAll('a[href]')].map(link => link.href)"
IDS = "() => [...document.querySelectorAll('[id]')].map(element => element.id)"
OVERHANG = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the built pages."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(HTML)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def seen(site) -> dict[str, dict]:
    """Each page at 400 px: its links, the ids of its elements, its errors, and how far it scrolls sideways."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found: dict[str, dict] = {}
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 400, "height": 800})
        # Formulas are drawn by a script from the network: without it the test is the same everywhere.
        page.route(lambda address: not address.startswith(site), lambda route: route.abort())
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("response", lambda got: errors.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        for name in PAGES:
            errors.clear()
            page.goto(site + name)
            links, ids, overhang = (page.evaluate(script) for script in (LINKS, IDS, OVERHANG))
            found[name] = {"links": links, "ids": set(ids), "errors": list(errors), "overhang": overhang}
        browser.close()
    return found


def test_every_page_opens_without_errors(seen):
    assert not {name: page["errors"] for name, page in seen.items() if page["errors"]}


def test_no_page_scrolls_sideways_on_a_phone(seen):
    assert not {name: page["overhang"] for name, page in seen.items() if page["overhang"] > 0}


def test_every_link_within_the_documentation_leads_somewhere(seen, site):
    broken = set()
    for name, page in seen.items():
        for link in (link for link in page["links"] if link.startswith(site)):
            address, anchor = urldefrag(link.removeprefix(site))
            target = unquote(address) or "index.html"
            known = seen[target]["ids"] if target in seen else set() if (HTML / target).is_file() else None
            if known is None or (anchor and target in seen and unquote(anchor) not in known):
                broken.add((name, link.removeprefix(site)))
    assert not broken
