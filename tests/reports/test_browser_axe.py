"""The rules of axe-core: no serious or critical violation, in light and in dark, with everything unfolded."""

from __future__ import annotations

import pytest

from reports import site
from reports.html import render
from reports.view import of_runs
from results.merged import merged

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

PAGES = ("varied", "hostile", "large", "answer", "machines", "index")
_UNFOLD = """() => {
  for (const details of document.querySelectorAll("main details")) details.open = true;
  for (const part of document.querySelectorAll(".panel, .folds, .incidents, .groups")) {
    part.style.contentVisibility = "visible";
  }
}"""


@pytest.fixture(scope="module")
def folder(make, offered, varied_page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    rows = make.varied()
    elsewhere = make.source(rows, run_id="01B", machine="Intel Xeon, 8 cores", hw_id="bbbbbbbbbbbb", damage=("line 3",))
    together = merged([make.source(rows), elsewhere])
    odd = [merged([make.source(rows[6:9], text, f"02{place}")]) for place, text in enumerate(("a <b>", ""))]
    index = [
        site.Page("quickstart", of_runs(together), together),
        site.Page("answer", make.answered(offered), odd[0]),
        *(site.Page(each.sources[0].suite, of_runs(each), each) for each in odd),
    ]
    pages = {
        "varied": varied_page,
        "hostile": make.page(make.hostile_rows(), make.hostile_manifest()),
        "large": make.page(make.many(320)),
        "answer": render(make.answered(offered)),
        "machines": render(of_runs(together)),
        "index": site.index(index),
    }
    for name in PAGES:
        (folder / f"{name}.html").write_text(pages[name], encoding="utf-8")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_there_is_no_serious_violation(visit, folder, name, scheme):
    page = visit(folder / f"{name}.html", color_scheme=scheme, bypass_csp=True)
    page.evaluate(_UNFOLD)
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [
        (violation["id"], violation["help"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ]
    assert grave == []
