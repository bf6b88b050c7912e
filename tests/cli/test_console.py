"""What the terminal is given: text from outside in its own characters, and nothing that moves a cursor."""

from __future__ import annotations

import pytest
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from harness.cli import console

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\u202ec\x9bd [bold]e[/] :smile:\nf"


def shown(printed, **options):
    terminal = console.Terminal(width=120, emoji=False, **options)
    with terminal.capture() as captured:
        printed(terminal)
    return captured.get()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_printed_does_nothing(terminal):
    table = Table(title=Text(HOSTILE))
    table.add_column(Text(HOSTILE))
    table.add_row(Text(HOSTILE))
    for printed in (HOSTILE, Text(HOSTILE), table):
        said = shown(lambda to, it=printed: to.print(it, markup=False), force_terminal=terminal, color_system=None)
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)
        assert "‹U+001B›[2J" in said
        assert "b‹U+202E›c‹U+009B›d [bold]e[/] :smile:" in said


def test_colours_and_bars_are_as_they_were():
    assert "\x1b[1;31mbad\x1b[0m" in shown(
        lambda to: to.print("[bold red]bad[/]"), force_terminal=True, color_system="standard", legacy_windows=False
    )

    def bars(to):
        with Progress(console=to, transient=True) as progress:
            progress.update(progress.add_task("x", total=2), advance=1)

    assert "\x1b[" in shown(bars, force_terminal=True, color_system="standard", legacy_windows=False)


def test_messages_and_hints_are_plain(capsys):
    console.say(HOSTILE)
    console.explain(HOSTILE, HOSTILE)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "‹U+001B›" in text
        assert "\x1b" not in text
    assert "hint:" in said.err
