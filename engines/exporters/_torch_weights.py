"""What the exporters that build a torch module share: drawing weights, loading a state dict, and a hash of both."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from engines.exporters import _torch
from harness.errors import DataError
from harness.vocabulary import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRAWN = "random weights: drawn, seed 0"
"""The note of a model that no data has trained: its speed is that of a trained one, its accuracy is none."""


def seeded(build: Callable[[], Any]) -> Any:
    """Return what ``build`` returns, drawn from seed 0; the global random state is left as it was.

    Weights must be the same in every process, or each run would measure another model.
    """
    torch = _torch.require("torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def load(module: Any, path: Path) -> None:
    """Load a state dict that ``torch.save`` wrote, tensors alone. Raises ``DataError``."""
    torch = _torch.require("torch")
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise DataError(f"cannot read weights: {error}", "`weights` is relative to the suite file") from error
    except Exception as error:  # unpickling and torch's key check raise several classes
        hint = "save it with torch.save(model.state_dict(), path); nothing but tensors is loaded"
        raise DataError(f"{path} holds no state dict of this module: {error}", hint) from error


def fingerprint(head: object, module: Any) -> str:
    """Return SHA-256 over ``head``, which is JSON-able, and every tensor of the module's state dict by name."""
    torch = _torch.require("torch")
    sha256 = hashlib.sha256(canonical_json(head).encode())
    for name, value in sorted(module.state_dict().items()):
        sha256.update(canonical_json([name, str(value.dtype), list(value.shape)]).encode())
        sha256.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()
