"""``harness export``: a stored run as other tools read it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from results.formats import registry


@pytest.fixture(scope="module")
def measured(tmp_path_factory, new_place):
    """A place with one run, which tests only read."""
    place = new_place(tmp_path_factory.mktemp("measured"))
    assert place.run("run", "suite.yaml").code == 0
    return place


@pytest.mark.parametrize("name", registry.FORMATS)
def test_every_format_is_printed_or_written(measured, tmp_path, name):
    printed = measured.say("export", "--format", name)
    assert (printed.code, printed.err) == (0, "")
    assert "toy" in printed.out or name == "gab-bigger"
    file = tmp_path / f"out{registry.named(name).suffix}"
    written = measured.say("export", "latest", "--format", name, "-o", str(file))
    assert written.code == 0
    assert str(file) in written.out.replace("\n", "")
    assert file.read_bytes().decode() == printed.out


def test_a_terminal_without_unicode_gets_utf_8_files_and_escaped_words(measured):
    bare = replace(measured, environment={"PYTHONIOENCODING": "ascii"})
    with bare.begin("export", "--format", "summary") as process:
        printed = process.stdout.buffer.read()
    assert process.returncode == 0
    assert printed.decode() == measured.say("export", "--format", "summary").out
    assert not printed.isascii()
    said = bare.run("compare", "latest", "latest")
    assert (said.code, said.err) == (0, "")
    assert said.out.isascii()
    assert "\\u2192" in said.out


def test_the_text_is_in_json_too(measured):
    said = measured.say("export", "--format", "csv", "--json")
    told = json.loads(said.out)
    assert told.keys() == {"run_id", "format", "file", "text"}
    assert told["run_id"] == measured.store.run_id
    assert told["text"].startswith("run_id,")


def test_the_formats_are_listed(measured):
    assert [form["name"] for form in json.loads(measured.say("export", "--list", "--json").out)] == list(
        registry.FORMATS
    )
    listed = measured.say("export", "--list").out
    assert all(name in listed for name in registry.FORMATS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no format is given"),
        (("--format", "junitt"), "did you mean 'junit'"),
        (("--format", "junit", "-o", "absent/x.xml"), "there is no folder"),
        (("--format", "junit", "-o", "."), "is a folder"),
        (("nothing", "--format", "junit"), "nothing"),
    ],
)
def test_wrong_input_is_one_message(measured, arguments, message):
    said = measured.say("export", *arguments)
    assert said.code == 4
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err
