"""One file per engine: an inference as its vendor documents it, with the copies that the harness makes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.engine import Session

BareLoop = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""One inference: from arrays in host memory to arrays that the caller owns."""


def names() -> tuple[str, ...]:
    """Return the engines that have a bare loop."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def over(engine: str, session: Session) -> BareLoop:
    """Return the bare loop of ``engine`` over the model that an adapter's session has loaded."""
    made: BareLoop = importlib.import_module(f"{__name__}.{engine}").over(session)
    return made
