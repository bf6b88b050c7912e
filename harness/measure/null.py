"""The stream that does nothing: what is left is the harness's own cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engine import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_OUTPUTS: dict[str, np.ndarray] = {}


class NullStream(Stream):
    """Every call returns at once."""

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None: ...

    def run(self) -> None: ...

    def fetch(self) -> dict[str, np.ndarray]:
        return _OUTPUTS
