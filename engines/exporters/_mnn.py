"""MNN's converter and quantiser, each call in a process of its own: they print their errors and may abort."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

from engines.mnn import MnnEngine, MnnOptions
from harness.engine import SessionConfig
from harness.errors import DataError, EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_MNN, Artifact, Precision, Unknowable

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = "pip install 'inference-harness[mnn]'"


def call(tool: str, arguments: list[str], folder: Path) -> list[str]:
    """Run ``mnnconvert`` or ``mnnquant`` in ``folder``; return what it said, line by line. Success is the file it made.

    The extension module is called directly: ``MNN.tools`` installs a package by pip when imported, and reports each
    use to its maker (``MNN/tools/utils/log.py`` of 3.6.1). Raises ``EngineUnavailable``.
    """
    # The search for "_tools" finds MNN's only where MNN itself is installed.
    if importlib.util.find_spec("MNN") is None or importlib.util.find_spec("_tools") is None:
        raise EngineUnavailable("MNN is not installed", INSTALL)
    program = f"import sys, _tools; _tools.{tool}([{tool!r}, *sys.argv[1:]])"
    command = [sys.executable, "-P", "-c", program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    text = (done.stdout + done.stderr).decode(errors="replace").replace("\r", "\n")
    ended = [f"{tool} ended with signal {-done.returncode}"] if done.returncode < 0 else []
    return [line.strip() for line in text.splitlines() if line.strip()] + ended


def check(source: Artifact, path: Path, precision: Precision = Precision.FP32) -> None:
    """Run the model once on zeros.

    Raises ``ExportFailed`` where its signature or an operator is not MNN's, or where it multiplies nothing in
    ``precision``: both tools call every outcome a success.
    """
    made = Artifact(FORMAT_MNN, precision, path, "", 0, source.inputs, source.outputs)
    try:
        session = MnnEngine().load(made, SessionConfig(precision=precision, threads=1, options=MnnOptions()))
        session.stream().run()
    except (DataError, Unsupported) as error:
        raise ExportFailed(f"MNN refuses the model that its tool made: {error.message}", error.hint) from error
    shares = session.describe().macs_by_precision if precision is not Precision.FP32 else None
    if shares is not None and (isinstance(shares, Unknowable) or precision.value not in shares):
        raise ExportFailed(f"MNN left every layer of the model out of {precision}", "ask for fp32")
