"""What holds for every format."""

from __future__ import annotations

import getpass
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness import registry as adapters
from harness.errors import HarnessError
from results.comparison import Verdict
from results.formats import registry
from results.formats.contract import Format

EVERY = pytest.mark.parametrize("form", registry.FORMATS.values(), ids=registry.FORMATS)


@EVERY
def test_it_fulfils_the_contract(form):
    assert isinstance(form, Format)
    assert form.suffix.startswith(".")
    assert "\n" not in form.description
    assert registry.named(form.name) is form


@EVERY
def test_the_same_input_gives_the_same_bytes(form, made):
    assert form.of_run(made.snapshot()) == form.of_run(made.snapshot())
    assert form.of_comparison(made.comparison()) == form.of_comparison(made.comparison())


@EVERY
def test_it_ends_in_one_line_end_and_can_be_encoded(form, run, compared, made):
    odd = made.snapshot([made.cell("\ud800odd", made.of_launches("latency", 1e6), label="odd \ud800 \x00 label")])
    for text in (form.of_run(run), form.of_comparison(compared), form.of_run(odd)):
        assert text.encode().endswith(b"\n")
        assert not text.endswith("\n\n")


@EVERY
def test_it_names_no_folder_and_nothing_of_this_machine(form, run, compared):
    for text in (form.of_run(run), form.of_comparison(compared)):
        assert "/home/ann" not in text
        assert "secret" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        # A short host name may be part of a word.
        assert len(socket.gethostname()) < 6 or socket.gethostname() not in text
        assert f"/{getpass.getuser()}/" not in text


@EVERY
def test_a_run_without_cells_is_written(form, made):
    empty = made.snapshot([])
    assert form.of_run(empty)
    assert form.of_comparison(made.comparison([], before=empty, after=empty, removed=(), causes=(), family=0))


@EVERY
def test_cells_that_share_a_label_stay_apart(form, made):
    readings = made.of_launches("latency", 1e6, 1.1e6), made.of_launches("throughput", 900, 950)
    twins = [made.cell(word, *readings, label="one label", cell_id=word * 64) for word in "ab"]
    text = form.of_run(made.snapshot(twins))
    assert "aaaaaaaa" in text
    assert "bbbbbbbb" in text


@EVERY
def test_a_comparison_goes_by_the_names_of_its_changes(form, made):
    """Of two arms of one run the labels tell the environment, which a name that stays the same must not."""
    readings = made.of_launches("latency", 1e6, 1.1e6), made.of_launches("throughput", 900, 950)
    after = made.snapshot([made.cell("fast", *readings, label="fast@head")])
    before = made.snapshot([replace(after.cells[0], label="fast@base")])
    change = replace(made.change("fast", "latency", Verdict.EQUIVALENT), label="fast itself")
    text = form.of_comparison(made.comparison([change], before=before, after=after, removed=()))
    assert "fast itself" in text
    assert "fast@" not in text
    assert "fast&#64;" not in text


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(HarnessError, match=r"no format is called 'junitt'; did you mean 'junit'\?") as told:
        registry.named("junitt")
    assert "openmetrics" in told.value.hint


def test_other_distributions_offer_formats(monkeypatch):
    class Theirs:
        name, suffix, description, step_file = "theirs", ".txt", "one line", ""

        def of_run(self, snapshot):
            return snapshot.run_id

        def of_comparison(self, comparison):
            return comparison.after.run_id

    entries = {
        "theirs": adapters.Registered("theirs", "their.module:Theirs", "their-distribution"),
        "junit": adapters.Registered("junit", "their.module:JUnit", "their-distribution"),
        "none": adapters.Registered("none", "their.module:Nothing", "their-distribution"),
    }
    made = {"their.module:Theirs": Theirs(), "their.module:Nothing": SimpleNamespace()}
    monkeypatch.setattr(registry.registry, "registered", lambda group: entries if group == registry.GROUP else {})
    monkeypatch.setattr(registry.registry, "resolve", made.__getitem__)
    assert registry.named("theirs") is made["their.module:Theirs"]
    assert registry.named("junit") is registry.FORMATS["junit"]
    assert registry.offered().count("junit") == 1
    with pytest.raises(HarnessError, match="Nothing of their-distribution is no format"):
        registry.named("none")
