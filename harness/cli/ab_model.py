"""A suite for one ONNX file, for commands that are given a model and no suite."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

SCENARIOS = ("latency", "throughput", "memory")
MINUTES = 10.0
"""The time that a model without a suite has, where nothing is said."""
_INPUT_HINT = "give the shape of one input without the batch, such as --input 3,224,224"
_CHANNELS = {1, 3, 4}


def suite_text(model: Path, engine: str, precisions: Sequence[str], shape: Sequence[int]) -> str:
    """Return a suite that times an ONNX file with one engine; ``shape``: of one input, read from the file where empty.

    Raises ``HarnessError`` for a file that is not there, or whose input the file does not fix.
    """
    if not model.is_file():
        raise HarnessError(f"{model} does not exist", "give the path of an ONNX file")
    batch = 1
    if not shape:
        shape, batch = input_of(model)
    name = re.sub(r"[^A-Za-z0-9_+-]+", "-", model.stem).strip("-+_")[:64] or "model"
    data: dict[str, Any] = {
        "version": 1,
        "name": name,
        "preset": "quick",  # many short launches tell two sides apart sooner than a few long ones
        "workloads": {name: {"source": {"onnx": str(model.absolute())}, "task": "raw", "input": list(shape)}},
        "matrix": {
            "engine": [engine],
            "precision": list(precisions) or ["fp32"],
            "batch": [batch],
            "scenario": list(SCENARIOS),
        },
    }
    return json.dumps(data, indent=1)  # which is YAML too


def input_of(model: Path) -> tuple[tuple[int, ...], int]:
    """Return the shape of one input as (C, H, W), and the batch: that of the file, 1 where it leaves it open.

    Raises ``HarnessError`` where the file does not say.
    """
    try:
        import onnx
    except ImportError as error:
        hint = "pip install 'inference-harness[onnx]', which its export needs too"
        raise HarnessError(f"onnx cannot be imported to read {model.name}: {error}", hint) from error
    try:
        graph = onnx.load(model, load_external_data=False).graph
    except Exception as error:
        raise HarnessError(f"{model.name} is no ONNX file: {error}", "give the path of an ONNX file") from error
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        hint = "export the model with its other inputs fixed"
        raise HarnessError(f"{model.name} has {len(inputs)} inputs ({names}); one is supported", hint)
    named = [(size.dim_value, size.dim_param) for size in inputs[0].type.tensor_type.shape.dim]
    batch, shape = named[0][0] if named else 0, tuple(size for size, _ in named[1:])
    if not shape or min(shape) < 1:
        words = ", ".join(str(size) if size > 0 else param or "?" for size, param in named)
        raise HarnessError(f"the input of {model.name} is ({words}): its shape is not fixed", _INPUT_HINT)
    if len(shape) == 3 and shape[2] in _CHANNELS and shape[0] not in _CHANNELS:
        shape = (shape[2], shape[0], shape[1])  # channels last, as the import finds out too
    return shape, max(1, batch)


def as_shape(text: str | None) -> tuple[int, ...]:
    """Return the numbers of ``3,224,224``; none where nothing is said. Raises ``HarnessError``."""
    if text is None:
        return ()
    if not re.fullmatch(r"\s*[1-9][0-9]{0,6}(\s*[,x]\s*[1-9][0-9]{0,6}){0,7}\s*", text):
        raise HarnessError(f"--input {text[:40]!r} is no shape", _INPUT_HINT)
    return tuple(int(size) for size in re.split(r"[,x]", text))
