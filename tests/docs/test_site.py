"""The documentation as a site: it builds without a warning, holds every page, and no link in it is dead."""

from __future__ import annotations

import html.parser
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

for needed in ("sphinx", "myst_parser", "furo"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -e '.[docs]'")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# The line of tox.ini, with folders of the test's own.
BUILD = (sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q")


def _build(root, out):
    command = [*BUILD, "-c", root / "docs", "-d", out / "doctrees", root, out / "html"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = _build(ROOT, out)
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip()
    return out / "html"


class _Page(html.parser.HTMLParser):
    """What a page leads to, what it loads, and the places in it that can be led to."""

    def __init__(self, file):
        super().__init__()
        self.links, self.loaded, self.places = [], [], set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.places |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        elif tag == "link" and named.get("rel") in {"stylesheet", "icon", "preload"}:
            self.loaded.append(named["href"])
        elif tag in {"script", "img", "source", "iframe"} and named.get("src"):
            self.loaded.append(named["src"])


@pytest.fixture(scope="module")
def pages(site):
    return {file: _Page(file) for file in site.rglob("*.html") if "_static" not in file.parts}


def _read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_page_is_in_the_site(site):
    written = [
        *(page.relative_to(ROOT) for page in DOCS.rglob("*.md") if "_build" not in page.parts),
        *(Path(name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]
    assert [str(page) for page in written if not (site / page.with_suffix(".html")).is_file()] == []


def test_the_navigation_leads_to_every_page(pages, site):
    """Sphinx warns of a page that no table of contents has; this holds what a reader sees."""
    first = site / "docs" / "index.html"
    shown = {(first.parent / unquote(urlsplit(link).path)).resolve() for link in pages[first].links}
    ours = {page for page in pages if page.name not in {"search.html", "genindex.html"} and "reports" not in page.parts}
    assert {str(page) for page in ours - shown - {site / "index.html", first}} == set()


def test_no_link_is_dead(pages):
    dead = []
    for page, found in pages.items():
        for link in (*found.links, *found.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            fragment = unquote(parts.fragment)
            if not target.is_file():
                dead.append(f"{page.name}: {link}")
            elif fragment and target in pages and fragment not in pages[target].places:
                dead.append(f"{page.name}: {link} has no such place")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(pages, site):
    loaded = [source for page in pages.values() for source in page.loaded]
    assert loaded
    assert [source for source in loaded if urlsplit(source).netloc] == []
    sheets = "".join(sheet.read_text(encoding="utf-8") for sheet in (site / "_static").rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)[\s\"']*(?:https?:)?//[^)]*", sheets) == []


def test_the_top_of_the_site_leads_to_its_first_page(site):
    assert "url=docs/index.html" in (site / "index.html").read_text(encoding="utf-8")


def test_a_report_has_its_page_and_is_copied_as_it_is(site):
    """``docs/reports`` is there or not; where it is, a page leads to each report and the site has it."""
    for report in sorted(DOCS.glob("reports/*.html")):
        assert f"](reports/{report.name})" in _read("docs/example-report.md")
        assert (site / "docs" / "reports" / report.name).read_bytes() == report.read_bytes()
    assert (DOCS / "example-report.md").exists() == any(DOCS.glob("reports/*.html"))


@pytest.fixture
def written(tmp_path):
    """Return a function that builds pages under the same configuration: what it did, and the folder of the site."""

    def write(pages):
        files = {f"docs/{name}": _read(f"docs/{name}") for name in ("conf.py", "static/site.css")}
        for name, text in {**files, **pages}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return _build(tmp_path, tmp_path / "out"), tmp_path / "out" / "html"

    return write


def test_what_is_wrong_fails_the_build(written):
    """Every mistake that it is to find, at once."""
    links = "- [Page](page.md)\n- [Gone](gone.md)\n\n[no page](nowhere.md) [no place](page.md#nothing)\n"
    done, _ = written(
        {
            "docs/index.md": f"# Top\n\n## Part\n\n{links}",
            "docs/page.md": "# Page\n",
            "docs/forgotten.md": "# Forgotten\n",
        }
    )
    assert done.returncode != 0
    for word in ("gone", "nowhere.md", "nothing", "forgotten.md"):
        assert word in done.stderr, word


def test_a_report_opens_and_another_file_downloads(written):
    done, site = written(
        {
            "docs/index.md": "# Top\n\n[report](reports/one.html) [file](some.yml)\n",
            "docs/reports/one.html": "<!doctype html><title>One</title>",
            "docs/some.yml": "a: 1\n",
        }
    )
    assert done.returncode == 0, done.stderr
    found = _Page(site / "docs" / "index.html").links
    assert "reports/one.html" in found
    assert (site / "docs" / "reports" / "one.html").is_file()
    assert any(link.startswith("../_downloads/") and link.endswith("some.yml") for link in found)


def test_the_pages_beside_a_readme_are_its_contents(written):
    done, site = written(
        {
            "docs/index.md": "# Top\n\n## Part\n\n- [Room](room/README.md)\n",
            "docs/room/README.md": "# Room\n\n| |\n|---|\n| [one](one.md) |\n",
            "docs/room/one.md": "# One\n",
        }
    )
    assert done.returncode == 0, done.stderr
    assert "room/one.html" in _Page(site / "docs" / "index.html").links


def test_tox_builds_it_as_strictly():
    assert "sphinx-build -W --keep-going -q -c docs -d docs/_build/doctrees . docs/_build/html" in _read("tox.ini")
    assert "nitpicky = True" in _read("docs/conf.py")


def test_what_is_built_is_ignored_by_git():
    assert "/docs/_build/" in _read(".gitignore").splitlines()
