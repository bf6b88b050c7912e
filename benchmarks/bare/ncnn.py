"""ncnn: an extractor a run, over a ``Mat`` that the input is copied into; ``np.array`` copies the outputs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over the adapter's own ``Net``."""
    import ncnn

    net, artifact = session._net, session._artifact  # noqa: SLF001 - both sides must drive one and the same network
    blank = [np.zeros(spec.shape[1:], spec.dtype) for spec in artifact.inputs]
    mats = [ncnn.Mat(array).clone() for array in blank]

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        extractor = net.create_extractor()
        for index, (spec, mat) in enumerate(zip(artifact.inputs, mats, strict=True)):
            np.copyto(mat.numpy(), inputs[spec.name][0])
            extractor.input(f"in{index}", mat)
        return {
            spec.name: np.array(extractor.extract(f"out{index}")[1]).reshape(spec.shape)
            for index, spec in enumerate(artifact.outputs)
        }

    return infer
