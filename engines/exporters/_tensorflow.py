"""What the exporters to ``saved-model`` share: the layout of the image, static shapes, one run, and saving."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.engine import Exported
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.engine import ExportSpec

ENTRY = "model"
SIGNATURE = "serving_default"
INSTALL = "pip install 'inference-harness[tensorflow]'"


@dataclass(frozen=True)
class Servable:
    """A model of one float32 image tensor. ``owner`` is what keeps its variables and tables."""

    function: Callable[[Any], Mapping[str, Any]]  # from the tensor to outputs by name
    input_name: str
    shape: tuple[int, ...]
    owner: Any
    notes: tuple[str, ...] = ()


def require() -> Any:
    """Import and return tensorflow. Raises ``EngineUnavailable``."""
    try:
        import tensorflow as tf
    except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
        raise EngineUnavailable(f"tensorflow cannot be imported: {error}", INSTALL) from error
    return tf


def image_shape(declared: Any, spec: ExportSpec, name: str) -> tuple[int, ...]:
    """Return the static shape that a model's input takes: (N, H, W, C), TensorFlow's order, else (N, C, H, W).

    ``declared`` is a ``tf.TensorShape``. Raises ``ExportFailed`` for another rank, ``Unsupported`` for other sides.
    """
    item = spec.shape
    orders = [(*item[1:], item[0]), item] if len(item) == 3 else [item]
    shapes = [(spec.batch, *order) for order in orders]
    if declared.rank is not None and declared.rank != len(shapes[0]):
        hint = "set `input:` of the workload to the shape of one item, without the batch"
        raise ExportFailed(f"{name} takes {declared.rank} dimensions, the workload gives {len(item)}", hint)
    for shape in shapes:
        if declared.is_compatible_with(shape):
            return shape
    hint = "its shape is fixed: set `input:` (channels, height, width) and `batch:` to it"
    raise Unsupported(f"{name} takes {declared}, a batch of {spec.batch} of {list(item)} was asked", hint)


def save(tf: Any, servable: Servable, destination: Path, *, freeze: bool) -> Exported:
    """Write the SavedModel ``model`` with one signature of static shapes, once it has run at them.

    ``freeze`` turns variables into constants, which the graph optimiser can fold. Raises ``ExportFailed`` where the
    model does not run at this shape, ``Unsupported`` where an output is no tensor of numbers.
    """
    name = re.sub(r"\W", "_", servable.input_name)
    serve = tf.function(
        servable.function, input_signature=[tf.TensorSpec(servable.shape, tf.float32, name)], autograph=False
    )
    try:
        found = serve(tf.zeros(servable.shape))
    except Exception as error:  # a model's own functions raise whatever they like
        hint = "the message names the operator, or the shape, that it does not take"
        message = f"the model does not run at {servable.shape}: {type(error).__name__}: {error}"
        raise ExportFailed(message, hint) from error
    for key, value in found.items():
        if not isinstance(value, tf.Tensor) or not (value.dtype.is_floating or value.dtype.is_integer):
            raise Unsupported(f"output {key!r} is no tensor of numbers", "serve dense tensors of a numeric type")
    shapes = {key: value.shape for key, value in found.items()}
    function = _frozen(tf, serve, sorted(found)) if freeze else servable.function

    def fixed(image: Any) -> dict[str, Any]:
        answers = dict(function(image))
        for key, tensor in answers.items():
            tensor.set_shape(shapes[key])  # those of a graph traced for any batch
        return answers

    module = tf.Module()
    module.serve = tf.function(fixed, input_signature=serve.input_signature, autograph=False)
    if not freeze:
        module.owner = servable.owner
    tf.saved_model.save(module, str(destination / ENTRY), signatures={SIGNATURE: module.serve})
    inputs = (TensorSpec(name, "float32", servable.shape),)
    outputs = tuple(TensorSpec(key, value.dtype.name, tuple(value.shape)) for key, value in found.items())
    notes = (*servable.notes, "variables frozen into constants") if freeze else servable.notes
    return Exported(ENTRY, inputs, outputs, notes)


def _frozen(tf: Any, serve: Any, names: list[str]) -> Callable[[Any], Mapping[str, Any]]:
    """Return the function with its variables as constants; ``names`` are its outputs' in the order of ``tf.nest``."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        constant = convert_variables_to_constants_v2(serve.get_concrete_function())
    except (ValueError, tf.errors.OpError) as error:
        hint = "drop `freeze`: tables and other resources cannot become constants"
        raise ExportFailed(f"the model cannot be frozen: {error}", hint) from error
    return lambda image: dict(zip(names, constant(image), strict=True))
