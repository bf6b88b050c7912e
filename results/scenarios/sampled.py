"""The rows of the sensors beside one launch: all that its record names, and those of its steady phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.codec import CodecError
from harness.errors import StoreError
from harness.measure.samples import STEADY
from harness.system import Unavailable
from harness.telemetry.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.vocabulary import SamplesRef
    from results.launches import Measured


def sampled(launch: Measured, arrays: Callable[[SamplesRef], Mapping[str, np.ndarray]]) -> Table | None:
    """Return the rows, ``None`` where the record names none. ``arrays`` reads a file of the run.

    Raises ``Unavailable`` where the file is damaged or is something else.
    """
    ref = launch.record.telemetry
    if ref is None:
        return None
    try:
        return Table.of_arrays(arrays(ref))
    except StoreError as error:
        raise Unavailable(error.message) from error
    except (CodecError, KeyError, ValueError) as error:
        raise Unavailable(f"{ref.path} holds no rows of sensors") from error


def while_steady(table: Table, launch: Measured) -> Table:
    """Return the rows while every stream of the launch was at work."""
    samples = launch.samples
    done = samples.phase == STEADY
    streams = [done & (samples.stream == stream) for stream in np.unique(samples.stream[done])]
    if not streams:
        return table.within(0, -1)
    begin_ns = max(int(samples.start_ns[rows].min()) for rows in streams)
    end_ns = min(int(samples.end_ns[rows].max()) for rows in streams)
    return table.within(begin_ns, end_ns)
