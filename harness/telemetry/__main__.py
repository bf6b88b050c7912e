"""``python -m harness.telemetry ROWS ROOT``: sample into the file ROWS until the standard input ends.

A byte on the input asks for a row at once, and one on the output tells that it is written. The input ends with the
parent, however that ends, so nothing is left sampling.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path

from harness import codec
from harness.telemetry.sources import opened

PERIOD_S = 1.0


def main(rows: Path, root: Path) -> None:
    """Write a line that names the columns, then a line of the clock and their values, each by one call."""
    os.nice(19)
    with opened(root, ancestor=os.getppid()) as sensors, rows.open("ab", buffering=0) as file:
        columns = [codec.encode(sensor.column) for sensor in sensors.found]
        _write(file.fileno(), {"columns": columns, "absent": sensors.absent})
        requests = select.poll()
        requests.register(0, select.POLLIN)
        due_s = time.monotonic()
        while True:
            asked = bool(requests.poll(max(0.0, due_s - time.monotonic()) * 1e3))
            if asked and not os.read(0, 64):
                return
            _write(file.fileno(), [time.monotonic_ns(), *sensors.read()])
            if asked:
                os.write(1, b".")
            else:
                due_s = max(due_s + PERIOD_S, time.monotonic())


def _write(file: int, value: object) -> None:
    os.write(file, json.dumps(value, separators=(",", ":")).encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
