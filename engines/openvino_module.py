"""OpenVINO's Python package, imported so that it sends nothing: import ``openvino`` from here.

``import openvino`` reports its own import to Google Analytics, from a thread and a child process, and counts its uses
in ``~/intel``, unless ``openvino_telemetry`` is absent (``openvino/tools/ovc/__init__.py``). A measured process must
do neither.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, cast

# ``None`` is Python's own way to make an import fail: OpenVINO and NNCF then take the stubs they bring along.
sys.modules.setdefault("openvino_telemetry", cast("Any", None))

openvino: Any = importlib.import_module("openvino")
