"""A host of a fleet that measures nothing: ``stand_in.py ADDRESS NAME STATE [TLS] [VERSION]`` in a process of its own.

What it is asked to launch is a word: ``sleep:SECONDS``, ``big:BYTES``, ``refuse`` or ``break``. It writes down when it
began and how it ended, and answers a launch that it has made already with what it kept.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import harness
from harness.fleet import certificates, config
from harness.fleet.contract import About, Packed
from harness.fleet.serving import Station, serve_worker
from harness.settings import SettingError


class StandIn:
    """Answers some of the contract's questions."""

    def __init__(self, name: str, state: Path) -> None:
        self.name = name
        self._log = state / "log.jsonl"

    def about(self) -> About:
        return About(self.name, harness.__version__, "feedbeef0000", {}, {"pid": str(os.getpid())})

    def held(self, run_id: str) -> tuple[str, ...]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        told = [json.loads(line) for line in lines]
        return tuple(each["word"] for each in told if each["run"] == run_id and each["what"] == "ended")

    def launch(self, run_id: str, word: str) -> Packed:
        if word in self.held(run_id):
            return Packed(word, {"pid": os.getpid(), "again": True}, {})
        self._write(run_id, word, "began")
        what, _, how = word.partition(":")
        files = {}
        try:
            if what == "sleep":
                time.sleep(float(how))
            elif what == "big":
                files["big"] = b"x" * int(how)
            elif what == "refuse":
                raise SettingError("key", "this is refused", "do it otherwise")
            else:
                raise ZeroDivisionError("a defect of the host")
        except KeyboardInterrupt:
            self._write(run_id, word, "interrupted")
            raise
        self._write(run_id, word, "ended")
        return Packed(word, {"pid": os.getpid(), "again": False}, files)

    def _write(self, run_id: str, word: str, what: str) -> None:
        line = {"run": run_id, "word": word, "what": what, "pid": os.getpid(), "at_ns": time.monotonic_ns()}
        with self._log.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    address, name, state, tls, version = (*sys.argv[1:], *("",) * (6 - len(sys.argv)))
    station = Station(
        name=name,
        scheduler=config.address(address),
        folder=Path(state) / "dask",
        tls=certificates.of_folder(Path(tls)) if tls else None,
        devices=("cpu", "toy:0"),
        card={"machine": "a stand-in", **({"harness": version} if version else {})},
        held=lambda: ["01ARZ3NDEKTSV4RRFFQ69G5FAV"],
    )
    try:
        serve_worker(
            StandIn(name, Path(state)), station, lambda word: sys.stdout.write(f"{word}\n") and sys.stdout.flush()
        )
    except harness.errors.HarnessError as error:
        sys.exit(f"{error.message}; {error.hint}")
