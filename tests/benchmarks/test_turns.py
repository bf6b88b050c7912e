"""Two programs by turns: never both at once, each with its share, and nothing left behind."""

import itertools
import os
import time

import pytest

from benchmarks.turns import Program, taken
from harness.errors import HarnessError

BEATS = """
import sys, time
until = time.monotonic() + float(sys.argv[1])
with open("beats", "w") as out:
    while time.monotonic() < until:
        out.write(f"{time.monotonic_ns()}\\n")
        out.flush()
        time.sleep(0.005)
"""


def program(folder, *arguments):
    folder.mkdir()
    return Program(folder.name, arguments, folder, 1)


def beats(folder):
    return [int(line) for line in (folder / "beats").read_text().split()]


def test_only_one_of_them_runs_at_a_time(tmp_path):
    one, two = (program(tmp_path / name, "-c", BEATS, "1.2") for name in ("one", "two"))
    taken([one, two], 0.1, 60)
    seen = sorted([(at, "one") for at in beats(one.folder)] + [(at, "two") for at in beats(two.folder)])
    changes = [later for (_, a), (later, b) in itertools.pairwise(seen) if a != b]
    turns = [(after - before) / 1e9 for before, after in itertools.pairwise(changes)]
    assert len(turns) >= 4
    # Run together, they would change with nearly every beat.
    assert sorted(turns)[len(turns) // 2] > 0.05


def test_the_turns_of_one_that_has_ended_pass_idle(tmp_path):
    short, long = program(tmp_path / "short", "-c", BEATS, "0.1"), program(tmp_path / "long", "-c", BEATS, "1.5")
    taken([short, long], 0.1, 60)
    after = [at for at in beats(long.folder) if at > beats(short.folder)[-1] + 2e8]
    pauses = [later - before for before, later in itertools.pairwise(after) if later - before > 6e7]
    assert pauses, "stopped all the same while nobody else runs"


def test_one_that_fails_is_named_with_its_last_words(tmp_path):
    good, bad = program(tmp_path / "good", "-c", ""), program(tmp_path / "bad", "-c", "raise ValueError('no')")
    with pytest.raises(HarnessError, match="bad: ValueError: no"):
        taken([good, bad], 0.05, 60)


def test_one_without_an_end_is_ended(tmp_path):
    stuck = program(
        tmp_path / "stuck", "-c", "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    with pytest.raises(HarnessError, match="stuck: no end within 1 s"):
        taken([stuck], 0.3, 1)
    pid = int((stuck.folder / "pid").read_text())
    time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
