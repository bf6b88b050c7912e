"""What vendors' libraries raise, told as failures of the export."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from harness.errors import ExportFailed, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 600  # characters of a message: some libraries print whole graphs


@contextlib.contextmanager
def explained(failure: str, hint: str) -> Iterator[None]:
    """Raise ``ExportFailed`` for any error inside that is not the project's own.

    ``failure`` begins the message, such as "model.onnx cannot be read as ONNX".
    """
    try:
        yield
    except (HarnessError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:_LONGEST] or "no reason given"
        raise ExportFailed(f"{failure}: {type(error).__name__}: {said}", hint) from error
