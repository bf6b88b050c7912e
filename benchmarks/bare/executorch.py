"""ExecuTorch: ``Method.execute`` over tensors that the input is copied into; it answers with tensors of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over one more method of the adapter's own program: a method has one owner."""
    import torch

    artifact = session._artifact  # noqa: SLF001 - both sides must drive one and the same model
    program, method = session._method()  # noqa: SLF001 - as above
    tensors = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in artifact.inputs]

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert program, "it owns what the method runs"
        for tensor, spec in zip(tensors, artifact.inputs, strict=True):
            np.copyto(tensor.numpy(), inputs[spec.name])
        found = method.execute(tensors)
        return {spec.name: value.numpy().copy() for spec, value in zip(artifact.outputs, found, strict=True)}

    return infer
