"""LiteRT: ``set_tensor``, ``invoke``, ``get_tensor``, which copy in and out, on an interpreter of the same settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over one more interpreter of the adapter's own settings: an interpreter has one owner."""
    interpreter = session._open()  # noqa: SLF001 - both sides must drive one and the same kind of interpreter
    inputs, outputs = session._input_indices, session._output_indices  # noqa: SLF001 - as above

    def infer(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, index in inputs.items():
            interpreter.set_tensor(index, values[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs.items()}

    return infer
