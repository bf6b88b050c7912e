"""``harness report`` of several runs: one page, a site, data; and what it says where they do not go together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from results.store import runs_in


@pytest.fixture(scope="module")
def ran(tmp_path_factory, new_place):
    """A place with two runs of one suite, and one of another."""
    place = new_place(tmp_path_factory.mktemp("reports"))
    text = (place.folder / "suite.yaml").read_text()
    place.write("other.yaml", text.replace("toy", "tiny").replace("[3, 8, 8]", "[3, 16, 16]"))
    for suite in ("suite.yaml", "suite.yaml", "other.yaml"):
        said = place.say("run", suite, "--quiet")
        assert said.code == 0, said.err
    return place


@pytest.fixture
def at(ran, tmp_path, new_place):
    """A place of its own with those runs."""
    shutil.copytree(ran.folder, tmp_path / "own")
    return type(ran)(tmp_path / "own")


@pytest.fixture
def ids(at):
    return [run.name for run in runs_in(at.folder / "runs")]


def elsewhere(at, run_id, name="Intel Xeon", hw_id="bbbbbbbbbbbb"):
    """Make a run one of another machine."""
    file = at.folder / "runs" / run_id / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["host"]["hw_id"] = hw_id
    manifest["host"]["hardware"]["cpu"] = {"name": name}
    file.write_text(json.dumps(manifest))


def test_runs_of_one_suite_are_one_page(at, ids):
    said = at.say("report", *ids[:2], "-o", "page.html")
    assert (said.code, said.out) == (0, "page.html\n"), said.err
    page = (at.folder / "page.html").read_text()
    assert ids[0] in page
    assert ids[1] in page
    assert "Between the runs" in page


def test_the_order_of_arguments_does_not_matter(at, ids):
    elsewhere(at, ids[0])
    assert at.say("report", *ids[:2], "-o", "one.html").code == 0
    assert at.say("report", *ids[1::-1], ids[0], "-o", "other.html").code == 0
    assert (at.folder / "one.html").read_bytes() == (at.folder / "other.html").read_bytes()


def test_machines_are_told_apart(at, ids):
    elsewhere(at, ids[0])
    assert at.say("report", *ids[:2], "-o", "page.html").code == 0
    page = (at.folder / "page.html").read_text()
    assert "on Intel Xeon" in page
    told = json.loads(at.say("report", *ids[:2], "--json").out)
    assert [run["run_id"] for run in told["runs"]] == ids[:2]
    assert len({row["machine"] for row in told["rows"]}) == 2
    assert len({row["variant_id"] for row in told["rows"]}) == 2


def test_several_suites_are_a_site(at, ids):
    said = at.say("report", *ids, "-o", "site/")
    assert (said.code, said.out, said.err) == (0, "site/index.html\n", "")
    found = {path.name for path in (at.folder / "site").iterdir()}
    assert found == {"index.html", *(f"{name}.{end}" for name in ("suite", "other") for end in ("html", "csv", "json"))}
    text = (at.folder / "site" / "index.html").read_text()
    assert set(re.findall(r'href="([^"#][^"]*)"', text)) == found - {"index.html"}


def test_a_site_is_the_same_in_whatever_order(at, ids):
    assert at.say("report", *ids, "-o", "one/").code == 0
    assert at.say("report", *ids[::-1], "-o", "other/").code == 0
    for path in (at.folder / "one").iterdir():
        assert path.read_bytes() == (at.folder / "other" / path.name).read_bytes()


def test_a_page_of_an_earlier_site_stays_and_is_named(at, ids):
    assert at.say("report", *ids, "-o", "site/").code == 0
    said = at.say("report", *ids[:2], "-o", "site")
    assert said.code == 0
    assert "not of this site, and left as it was: other.html" in said.err
    assert (at.folder / "site" / "other.html").is_file()
    assert "other.html" not in (at.folder / "site" / "index.html").read_text()


def test_one_run_may_be_a_site_too(at, ids):
    assert at.say("report", ids[0], "-o", "deep/site/").out == "deep/site/index.html\n"


def test_a_run_is_known_by_its_tag(at, ids):
    assert at.say("results", "tag", ids[0], "reference").code == 0
    assert at.say("report", "reference", "-o", "page.html").code == 0
    assert ids[0] in (at.folder / "page.html").read_text()


def test_a_run_is_known_by_the_commit_that_it_was_made_at(at, ids):
    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *words], cwd=at.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch", "main")
    git("commit", "--quiet", "--allow-empty", "--message", "one")
    said = at.say("report", "main", "-o", "page.html")
    assert (said.code, "there is no run of main" in said.err) == (4, True)
    file = at.folder / "runs" / ids[0] / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["host"]["environment"]["revision"] = {"sha": git("rev-parse", "main"), "dirty": False}
    file.write_text(json.dumps(manifest))
    assert at.say("report", "main", "-o", "page.html").code == 0
    assert ids[0] in (at.folder / "page.html").read_text()


def test_rows_of_several_runs_as_data(at, ids):
    elsewhere(at, ids[0])
    said = at.say("report", *ids[:2], "--format", "csv")
    assert said.code == 0
    head, *lines = said.out.splitlines()
    assert "machine" in head.split(",")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["0", "1"], "the page of 2 runs needs a place", "-o PAGE.html"),
        (["0", "2", "-o", "page.html"], "the runs are of 2 suites: 'other', 'suite'", "-o DIR/"),
        (["0", "2"], "the runs are of 2 suites", "-o DIR/"),
        (["0", "2", "--json"], "the runs are of 2 suites: 'other', 'suite'", "-o DIR/"),
        (["0", "2", "--format", "md"], "the runs are of 2 suites", "-o DIR/"),
        (["0", "gone", "-o", "site/"], "no run 'gone' in", "run folder"),
        (["0", "-o", "suite.yaml/"], "suite.yaml cannot be made", "another folder"),
        (["0", "--format", "pdf"], "no report is written as 'pdf'", "--format takes"),
        (["0", "--slo", "soon"], "--slo", ""),
    ],
)
def test_what_does_not_go_together_is_one_message(at, ids, arguments, said, hint):
    words = [ids[int(word)] if word.isdecimal() else word for word in arguments]
    found = at.say("report", *words)
    assert (found.code, found.out) == (4, "")
    assert said in found.err
    assert hint in found.err
    assert "Traceback" not in found.err


def test_a_run_that_lost_its_plan_is_said_on_the_page(at, ids):
    file = at.folder / "runs" / ids[0] / "manifest.json"
    manifest = json.loads(file.read_text())
    suite = manifest.pop("plan")["suite"]
    manifest["plan"] = {"suite": suite}
    file.write_text(json.dumps(manifest))
    assert at.say("report", *ids[:2], "-o", "page.html").code == 0
    assert "manifest holds no readable plan" in (at.folder / "page.html").read_text()


def test_the_page_begins_with_what_to_buy(at, ids):
    said = at.say("report", *ids[:2], "-o", "page.html", "--load", "2x5fps")
    assert said.code == 0, said.err
    page = (at.folder / "page.html").read_text()
    assert page.index('id="recommendation"') < page.index('id="verdict"')


def test_a_site_answers_where_the_workload_is(at, ids):
    said = at.say("report", *ids, "-o", "site/", "--load", "2x5fps", "--workload", "tiny")
    assert said.code == 0, said.err
    assert 'id="recommendation"' in (at.folder / "site" / "other.html").read_text()
    assert 'id="recommendation"' not in (at.folder / "site" / "suite.html").read_text()
    said = at.say("report", *ids, "-o", "site/", "--load", "2x5fps", "--workload", "none")
    assert said.code == 4
    assert "'none'" in said.err
    assert "toy and tiny" in said.err


def test_json_takes_no_other_place_or_form(at, ids):
    for more in (["-o", "rows.json"], ["--format", "md"]):
        said = at.say("report", ids[0], "--json", *more)
        assert (said.code, said.out) == (4, "")
        assert f"takes no {more[0]}" in said.err
    assert not (at.folder / "rows.json").exists()


def test_a_merged_page_is_held_against_each_of_its_runs(at, ids):
    assert at.say("report", *ids[:2], "-o", "page.html").code == 0
    older, newer = (at.say("verify", run_id, "--report", "page.html") for run_id in ids[:2])
    assert (older.code, newer.code) == (0, 0), older.out + newer.out
    assert f"not checked, report: page.html shows that of run {ids[1]} instead" in older.out
    assert f"not of this run, and not checked: 1 row of page.html, of run {ids[1]}" in older.out
    assert "not of this run" not in newer.out
    assert json.loads(at.say("verify", ids[0], "--report", "page.html", "--json").out)["rows_of_other_runs"] == {
        ids[1]: 1
    }


def of_machines(at, ids):
    """Hand out the rows of two machines, and return the lines with the file."""
    elsewhere(at, ids[1])
    told = json.loads(at.say("report", *ids[:2], "--json").out)
    lines = {line["run_id"]: line for line in told["rows"]}
    assert all("-" in line["variant_id"] for line in lines.values())
    return lines, lambda kept: str(at.write("theirs.json", json.dumps(kept)))


def test_a_merged_page_of_machines_is_held_against_the_run(at, ids):
    lines, handed_out = of_machines(at, ids)
    whole = list(lines.values())
    said = at.say("verify", ids[0], "--report", handed_out(whole))
    assert (said.code, "not checked, report" in said.out) == (0, False), said.out
    lines[ids[0]] |= {"latency_ms": 0.001}
    said = at.say("verify", ids[0], "--report", handed_out(whole))
    assert said.code == 3
    assert "theirs.json says 0.001 ms" in said.out


def test_the_row_of_another_machine_stands_for_none_of_this_run(at, ids):
    lines, handed_out = of_machines(at, ids)
    said = at.say("verify", ids[0], "--report", handed_out([lines[ids[1]]]))
    assert said.code == 3
    assert "theirs.json has no such row" in said.out


def test_a_row_under_another_machines_id_is_none_of_this_run(at, ids):
    lines, handed_out = of_machines(at, ids)
    forged = {**lines[ids[0]], "variant_id": lines[ids[1]]["variant_id"]}
    said = at.say("verify", ids[0], "--report", handed_out([lines[ids[0]], forged]))
    assert said.code == 3
    assert "which is not of this run" in said.out


def test_a_workload_that_got_a_longer_name_is_still_the_row(at, ids):
    lines, handed_out = of_machines(at, ids)
    line = lines[ids[0]]
    assert at.say("verify", ids[0], "--report", handed_out([{**line, "workload": "toy (model abcdef)"}])).code == 0
    said = at.say("verify", ids[0], "--report", handed_out([{**line, "workload": "tiny"}]))
    assert said.code == 3
    assert "says workload tiny" in said.out
