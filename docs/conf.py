"""The documentation site, by Sphinx and MyST: ``tox -e docs`` builds it into ``docs/_build/html``.

The pages are plain Markdown that a code host shows as it is, and its relative links are the links of the site. So the
source folder is the root of the repository, and the table of contents is made of the lists that readers see: those of
``index.md``, and the pages that the ``README.md`` of a folder links beside itself.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.addnodes import download_reference

import harness

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_HERE = Path(__file__).parent
_ROOT = _HERE.parent

project = "harness"
release = harness.__version__
extensions = ["myst_parser", "sphinx.ext.githubpages"]

root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md"]
exclude_patterns = ["docs/_build", *(path.name for path in _ROOT.iterdir() if path.is_dir() and path != _HERE)]

nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
highlight_language = "text"
smartquotes = False  # `--strict` is two hyphens, in whichever font it stands

html_theme = "furo"
html_title = "harness"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_static_path = ["static"]
html_css_files = ["site.css"]

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_LISTED = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\.md(?:#[^)]*)?\)", re.MULTILINE)
_BESIDE = re.compile(r"\]\(([\w-]+)\.md\)")
_FORWARD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>harness</title>
<meta http-equiv="refresh" content="0; url=docs/index.html">
<a href="docs/index.html">The documentation of harness</a>
</html>
"""


def contents(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Append to a page that lists others the table of contents that its lists are; the navigation shows it."""
    text = source[0]
    if docname == root_doc:
        _, *parts = _HEADING.split(text)
        for caption, section in zip(parts[::2], parts[1::2], strict=True):
            entries = [f"{title} <{target}>" for title, target in _LISTED.findall(section)]
            source[0] += _toctree(entries, caption)
    elif docname.endswith("/README"):
        source[0] += _toctree(list(dict.fromkeys(_BESIDE.findall(text))))


def _toctree(entries: list[str], caption: str = "") -> str:
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(("", "", "```{toctree}", *options, "", *entries, "```", "")) if entries else ""


def open_reports(_app: Sphinx, document: nodes.document) -> None:
    """Make a link to an HTML file one that opens it: reports are part of the site as they are."""
    for link in list(document.findall(download_reference)):
        if link["reftarget"].endswith(".html"):
            link.replace_self(nodes.reference("", "", *link.children, refuri=link["reftarget"], internal=True))


def complete(app: Sphinx, error: Exception | None) -> None:
    """Put the reports where the pages link them, and lead from the top of the site to its first page."""
    if error is not None or app.builder.format != "html":
        return
    reports = _HERE / "reports"
    if reports.is_dir():
        shutil.copytree(reports, app.outdir / "docs" / "reports", dirs_exist_ok=True)
    (app.outdir / "index.html").write_text(_FORWARD, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the three to Sphinx."""
    app.connect("source-read", contents)
    app.connect("doctree-read", open_reports, priority=400)  # before downloads are collected
    app.connect("build-finished", complete)
    return {"parallel_read_safe": True}
