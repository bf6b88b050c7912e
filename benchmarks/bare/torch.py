"""PyTorch: the exported module called under ``inference_mode``, its input copied into a tensor, its outputs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over the adapter's own module."""
    import torch

    module, artifact = session._module, session._artifact  # noqa: SLF001 - both sides must drive one loaded model
    tensors = {spec.name: torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in artifact.inputs}
    names = [spec.name for spec in artifact.outputs]

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(inputs[name]))
            found = module(*tensors.values())
            return {name: value.clone().numpy() for name, value in zip(names, found, strict=True)}

    return infer
