"""pnnx, ncnn's converter: a program of its own, run inside the destination folder."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

from engines.ncnn import NcnnEngine, NcnnOptions
from harness.engine import Exported, SessionConfig
from harness.errors import DataError, EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_NCNN, Artifact

ENTRY = "model.ncnn.param"
INSTALL = "pip install 'inference-harness[ncnn]'"
DISTRIBUTIONS = ("pnnx", "ncnn")


def convert(model: Path, source: Artifact, destination: Path) -> Exported:
    """Convert a TorchScript or ONNX file to ``model.ncnn.param`` and ``.bin`` in float32, and run the result once.

    ncnn calls inputs ``in0``, ``in1``, ... and outputs ``out0``, ...: the order is the source's. Raises
    ``EngineUnavailable``, ``Unsupported`` or ``ExportFailed``.
    """
    program = _program()
    for spec in (*source.inputs, *source.outputs):
        if spec.dtype != "float32":
            raise Unsupported(f"{spec.name!r} is {spec.dtype}", "ncnn's tensors are float32 at the graph's boundary")
    if any(spec.shape[0] != 1 for spec in source.inputs):
        raise Unsupported("ncnn's networks have no batch", "ask for batch 1")
    shapes = ",".join(f"[{','.join(map(str, spec.shape))}]f32" for spec in source.inputs)
    with tempfile.TemporaryDirectory(dir=destination) as name:
        folder = Path(name)
        given = shutil.copy(model, folder / f"model{model.suffix}")
        # Weights stay float32: pnnx would store them as float16.
        command = [program, Path(given).name, f"inputshape={shapes}", "fp16=0"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        made = [folder / f"model.ncnn.{suffix}" for suffix in ("param", "bin")]
        if done.returncode or not all(path.is_file() for path in made):
            said = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise ExportFailed(
                f"pnnx cannot convert the model: {said[0]}", "an operator or the opset may be unknown to it"
            )
        for path in made:
            shutil.move(path, destination / path.name)
    _check(source, destination)
    return Exported(ENTRY, source.inputs, source.outputs, ("the batch, of one, is no axis of the network",))


def _program() -> str:
    """Return the path of the program in its wheel, whose Python module would import torch."""
    found = importlib.util.find_spec("pnnx")
    folders = found.submodule_search_locations if found else None
    program = shutil.which("pnnx", path=folders[0]) if folders else None
    if program is None:
        raise EngineUnavailable("pnnx is not installed", INSTALL)
    return program


def _check(source: Artifact, destination: Path) -> None:
    """Run the network once on zeros; an operator that pnnx left untranslated is named by the engine."""
    made = Artifact(FORMAT_NCNN, source.precision, destination / ENTRY, "", 0, source.inputs, source.outputs)
    try:
        session = NcnnEngine().load(made, SessionConfig(threads=1, options=NcnnOptions()))
    except (DataError, Unsupported) as error:
        raise ExportFailed(f"pnnx made a network that ncnn refuses: {error.message}", error.hint) from error
    stream = session.stream()
    stream.run()
    try:
        stream.fetch()
    except ValueError as error:
        expected = ", ".join(f"{spec.name} {spec.shape}" for spec in source.outputs)
        message = f"the converted network does not answer with {expected}: {error}"
        raise ExportFailed(message, "pnnx drops the batch: a model that works across it cannot be converted") from error
