"""TensorFlow: the concrete function called with ``tf.constant`` of each input, its outputs by ``.numpy()``, copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from benchmarks.bare import BareLoop


def over(session: Any) -> BareLoop:
    """Return the loop over the adapter's own concrete function."""
    import tensorflow as tf

    function = session._function  # noqa: SLF001 - both sides must drive one and the same loaded model

    def infer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = function(**{name: tf.constant(value) for name, value in inputs.items()})
        # ``numpy()`` is a view of what TensorFlow owns.
        return {name: value.numpy().copy() for name, value in found.items()}

    return infer
