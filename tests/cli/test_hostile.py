"""Names and errors that mean harm, in a real run: words in the terminal, on the page, in a site, and nothing more."""

from __future__ import annotations

import html
import json
import re
import sys

import pytest

SUITE = "</script><script>alert(1)</script> \"'\u202e [bold]x"
ERROR = f"<img src=x onerror=alert(2)> \x1b[2J\u2066 {'y' * 10_000}"
HARM = set("\x00\x1b\u202e\u2066")


@pytest.fixture(scope="module")
def ran(tmp_path_factory, new_place):
    """One run of an engine that works, and of one that raises the error when it loads."""
    place = new_place(tmp_path_factory.mktemp("hostile"))
    place.write(
        "site/hostile_engine.py",
        f"""
        from engines.fake import FakeEngine

        class Hostile(FakeEngine):
            def load(self, artifact, config):
                raise RuntimeError({ERROR!r})
        """,
    )
    place.write("site/hostile-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    place.write("site/hostile-1.0.dist-info/entry_points.txt", "[harness.engines]\nhostile = hostile_engine:Hostile\n")
    wrapper = place.write("python", f'#!/bin/sh\nPYTHONPATH={place.folder}/site exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    place.environment["PYTHONPATH"] = str(place.folder / "site")
    text = (place.folder / "suite.yaml").read_text(encoding="utf-8").replace("[fake]", "[fake, hostile]")
    place.write("suite.yaml", f"{text}name: {json.dumps(SUITE)}\ninterpreters: {{hostile: python}}\n")
    return place, place.run("run", "suite.yaml")


def test_the_terminal_says_what_failed_in_words(ran):
    _, said = ran
    assert said.code == 3, said.err
    assert "Traceback" not in said.err
    assert not HARM & set(said.out + said.err)
    assert "FAILED in load, RuntimeError: <img src=x onerror=alert(2)> ‹U+001B›[2J‹U+2066› yyy" in said.out
    assert max(map(len, said.out.splitlines())) < 3_000


def test_the_page_shows_both_as_they_are(ran):
    place, _ = ran
    raw = (place.store.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<script>alert|<img|\sonerror=alert\(2\)>", html_outside_data(raw))
    assert not HARM & set(raw)
    assert "</script><script>alert(1)</script> \"'‹U+202E› [bold]x" in place.page
    assert "<img src=x onerror=alert(2)> ‹U+001B›[2J‹U+2066› yyy" in place.page


def html_outside_data(page):
    """Return the markup of a page: what stands in text is escaped, what stands in data is a string of JSON."""
    return re.sub(r"<(script type=\"application/[^>]+)>.*?</script>", "", page, flags=re.DOTALL)


def test_a_site_has_safe_names_and_the_words(ran):
    place, _ = ran
    said = place.say("report", "-o", "public/")
    assert said.code == 0, said.err
    names = sorted(path.name for path in (place.folder / "public").iterdir())
    assert all(re.fullmatch(r"index\.html|script-script-[a-z0-9-]+\.(html|csv|json)", name) for name in names), names
    index = (place.folder / "public" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in index
    assert not HARM & set(index)
    assert "<script>alert(1)</script>" in html.unescape(index)


def test_every_other_form_is_inert_too(ran):
    place, _ = ran
    text = place.say("report", "--format", "md").out
    assert "<script" not in text
    assert "<img" not in text
    assert not HARM & set(text)
    rows = json.loads(place.say("report", "--format", "json").out)
    assert {row["engine"] for row in rows} == {"fake", "hostile"}
    assert place.say("report", "--format", "csv").out.count("\n") == 3
    said = place.say("recommend", "--load", "8x30fps")
    assert said.code == 5
    assert not HARM & set(said.out + said.err)
    assert "‹U+001B›" in said.out
