"""MNN: the input copied into a host tensor and from there into the session's, ``runSession``, and back the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over one more session of the adapter's own interpreter: a session has one owner."""
    import MNN

    interpreter, artifact = session._interpreter, session._artifact  # noqa: SLF001 - both sides drive one model
    own = session._session(interpreter)  # noqa: SLF001 - as above, with the same settings

    def host(shape: tuple[int, ...]) -> Any:
        return MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), MNN.Tensor_DimensionType_Caffe)

    inputs = {spec.name: (interpreter.getSessionInput(own, spec.name), host(spec.shape)) for spec in artifact.inputs}
    outputs = {spec.name: (interpreter.getSessionOutput(own, spec.name), host(spec.shape)) for spec in artifact.outputs}

    def infer(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, (target, staged) in inputs.items():
            np.copyto(staged.getNumpyData(), values[name])
            target.copyFrom(staged)
        interpreter.runSession(own)
        found = {}
        for name, (source, staged) in outputs.items():
            source.copyToHostTensor(staged)
            found[name] = staged.getNumpyData().copy()
        return found

    return infer
