"""The errors of the project: one base class, each instance with a hint that says what to do next."""

from __future__ import annotations


class HarnessError(Exception):
    """Anything the user should read as one clear message; only the command line turns it into an exit code.

    ``hint`` says what to do next, in one sentence.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class SuiteError(HarnessError):
    """The suite file is wrong; the message begins with ``file:line:column:``."""


class PlanError(HarnessError):
    """The suite is well formed but asks for something that no plan can give."""


class DataError(HarnessError):
    """A data set, an image or a label file is missing, corrupt or not what it claims to be."""


class EngineUnavailable(HarnessError):
    """The runtime is not installed or cannot be imported; the hint is the command that installs it."""


class Unsupported(HarnessError):
    """The engine cannot execute what was asked (device, precision, shape, option); the cell is skipped."""


class InvalidInput(HarnessError):
    """What was given to ``Stream.bind`` does not match the model's inputs."""


class ExportFailed(HarnessError):
    """An exporter or a quantiser could not make the artifact."""


class VerifyFailed(HarnessError):
    """The outputs are not usable: non-finite, of a wrong shape, constant, or far from the reference."""


class NotAsAsked(HarnessError):
    """The work did not run on the device or at the precision asked, and ``fallback: strict`` forbids that."""


class StoreError(HarnessError):
    """A run folder is missing, locked, corrupt or not writable."""
