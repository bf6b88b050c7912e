"""Where a launch has come to, kept on disk so that the parent knows it after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.vocabulary import Stage

if TYPE_CHECKING:
    from pathlib import Path


class Stages:
    """The current stage; entering one writes its name to a small file, never inside a timed loop."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.current = Stage.IMPORT
        self.enter(Stage.IMPORT)

    def enter(self, stage: Stage) -> None:
        """Note that ``stage`` begins."""
        self.current = stage
        self._file.write_text(stage.value, encoding="utf-8")
