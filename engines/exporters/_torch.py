"""What the exporters to ``torch-export`` share: float32 at the graph's boundary, tracing, a check, and saving."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.engine import Exported
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import Precision, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.engine import ExportSpec

ENTRY = "model.pt2"
INSTALL = "pip install 'inference-harness[torch]'"
_TOLERANCE = 1e-3  # of the largest output; the traced graph is bit-identical on every model tried
_DTYPES: Mapping[Precision, str] = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
PRECISIONS = frozenset(_DTYPES)


@dataclass(frozen=True)
class Traceable:
    """A float32 ``torch.nn.Module`` in eval mode. ``settle`` runs between its first eager run and the trace."""

    module: Any
    input_name: str
    notes: tuple[str, ...] = ()
    settle: Callable[[], None] = lambda: None


def require(module: str, install: str = INSTALL) -> Any:
    """Import and return ``module``. Raises ``EngineUnavailable`` whose hint is ``install``."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # the latter two: a shared library or an operator is missing
        raise EngineUnavailable(f"{module} cannot be imported: {error}", install) from error


def export(model: Traceable, spec: ExportSpec, destination: Path) -> Exported:
    """Trace ``model`` at (batch, *shape), float32 in and out, arithmetic at the asked precision, and save it.

    Outputs are flattened to a tuple, named ``output0``, ``output1``, ... Raises ``ExportFailed`` where torch cannot
    trace the module, or where the trace gives other outputs than the module.
    """
    torch = require("torch")
    boundary = _boundary(model.module, getattr(torch, _DTYPES[spec.precision]))
    generator = torch.Generator().manual_seed(spec.seed)
    given = torch.rand((spec.batch, *spec.shape), generator=generator)
    with torch.no_grad():
        try:
            boundary(given)  # lets the model fill its caches, which eager use would keep too
            model.settle()
            expected = boundary(given)
            program = torch.export.export(boundary, (given,))
            found = program.module()(given)
        except Exception as error:  # a user's module and torch's tracer raise whatever they like
            hint = (
                f"it must run on one float32 {tuple(given.shape)} tensor, without control flow that depends on values"
            )
            raise ExportFailed(f"torch.export failed: {type(error).__name__}: {error}", hint) from error
    check(expected, found)
    torch.export.save(program, destination / ENTRY)
    inputs = (TensorSpec(model.input_name, "float32", tuple(given.shape)),)
    outputs = tuple(
        TensorSpec(f"output{index}", str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for index, value in enumerate(expected)
    )
    return Exported(ENTRY, inputs, outputs, model.notes)


def _boundary(model: Any, dtype: Any) -> Any:
    """Return a module that casts its float32 input to ``dtype``, runs the cast model, and answers in float32.

    The casts lie inside the graph, so that every engine and precision is fed the same bytes.
    """
    from torch import float32, nn

    class Boundary(nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = model.to(dtype)

        def forward(self, given: Any) -> tuple[Any, ...]:
            found = _leaves(self.model(given.to(dtype)))
            return tuple(value.to(float32) if value.is_floating_point() else value for value in found)

    return Boundary().eval()


def _leaves(value: Any) -> list[Any]:
    """Return the tensors of a model's answer, depth first: a tensor, or lists, tuples and dicts of them."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [value]


def check(expected: tuple[Any, ...], found: tuple[Any, ...]) -> None:
    torch = require("torch")
    if not expected:
        raise ExportFailed("the model returned no tensor", "its forward must return a tensor, or tensors in a tuple")
    for index, (eager, traced) in enumerate(zip(expected, found, strict=True)):
        finite = eager.double().nan_to_num()
        limit = _TOLERANCE * max(finite.abs().max().item(), 1e-12) if eager.numel() else 0.0
        if not torch.allclose(traced.double(), eager.double(), rtol=0, atol=limit, equal_nan=True):
            raise ExportFailed(
                f"output {index} of the traced graph differs from the eager module's",
                "the module decides by the values it sees, or keeps state between calls: make its forward pure",
            )
