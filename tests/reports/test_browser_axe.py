"""The rules of axe-core: no serious or critical violation, in light and in dark, with everything unfolded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.html import render
from reports.model import Column, Figure, Panel, Section, Sheet, Value, Verdict
from reports.view import build

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

_UNFOLD = """() => {
  for (const details of document.querySelectorAll("main details")) details.open = true;
  for (const part of document.querySelectorAll(".panel, .folds, .incidents, .groups")) {
    part.style.contentVisibility = "visible";
  }
}"""


def with_answer(make):
    rows = make.varied()
    figures = (
        Figure("devices", "3", "", "[3, 4]", "passes", "good"),
        Figure("cost", "0.4", "EUR", note="no", tone="bad"),
    )
    card = Verdict("lite0", "p99 ≤ 33 ms", "Three of the machine.", (0,), figures, ("It stays the choice.",))
    columns = (Column("what", numeric=False), Column("by", "%"))
    sheet = Sheet("t-machines", "What would change it", columns, ((Value("price"), Value("12")),))
    answer = Section(
        "answer",
        "Recommendation",
        "Answer",
        "Best first.",
        (Panel("lite0", card=card, sheets=(replace(sheet, id="t-relaxing"),)),),
    )
    return render(replace(build(make.manifest(), rows, make.standings(rows)), answer=answer, machines=(sheet,)))


@pytest.fixture(scope="module")
def folder(make, varied_page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    pages = {
        "varied": varied_page,
        "hostile": make.page(make.hostile_rows(), make.hostile_manifest()),
        "large": make.page(make.many(320)),
        "answer": with_answer(make),
    }
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["varied", "hostile", "large", "answer"])
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
