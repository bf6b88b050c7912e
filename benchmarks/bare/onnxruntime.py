"""ONNX Runtime: ``InferenceSession.run`` over a buffer that the input is copied into; the outputs are new arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over the adapter's own ``InferenceSession``."""
    model = session._session  # noqa: SLF001 - both sides must drive one and the same loaded model
    names = [value.name for value in model.get_outputs()]
    # ``run`` reads an array where it lies, so the copy that a caller's tensor takes is made here.
    buffers = {value.name: np.zeros(value.shape, np.float32) for value in model.get_inputs()}

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, buffer in buffers.items():
            np.copyto(buffer, inputs[name])
        return dict(zip(names, model.run(names, buffers), strict=True))

    return infer
