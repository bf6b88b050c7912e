"""The exporters of the fake engine: a script to an artifact, and an artifact to a lower precision."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from harness.engine import Exported, Exporter, ExportSpec
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_FAKE, FORMAT_FAKE_BUILT, FORMAT_FAKE_SCRIPT, Artifact, Precision, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class FakeImport(Exporter):
    """Fix the shapes of a script: ``{"outputs": {name: shape of one item}, "function": module:attribute or null}``."""

    name = "fake-import"
    source, target = FORMAT_FAKE_SCRIPT, FORMAT_FAKE
    precisions = frozenset({Precision.FP32})

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        script: dict[str, Any] = json.loads(source.path.read_text(encoding="utf-8"))
        _fault(script.get("export_fault", ""))
        inputs = (TensorSpec("input", "float32", (spec.batch, *spec.shape)),)
        outputs = tuple(
            TensorSpec(name, "float32", (spec.batch, *shape))
            for name, shape in script.get("outputs", {"output": [10]}).items()
        )
        fixed = script | {"outputs": [{"name": output.name, "shape": output.shape} for output in outputs]}
        (destination / "model.json").write_text(json.dumps(fixed), encoding="utf-8")
        return Exported("model.json", inputs, outputs)


class FakeQuantiser(Exporter):
    """Copy an artifact as INT8 or FP16; the engine does the rounding."""

    name = "fake-quantiser"
    source, target = FORMAT_FAKE, FORMAT_FAKE
    precisions = frozenset({Precision.INT8, Precision.FP16})
    calibrated = frozenset({Precision.INT8})

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        script = json.loads(source.path.read_text(encoding="utf-8"))
        _fault(script.get("quantise_fault", ""))
        (destination / "model.json").write_text(json.dumps(script), encoding="utf-8")
        images = f"calibrated on {spec.calibration.images} images" if spec.calibration else "rounded, not calibrated"
        return Exported("model.json", source.inputs, source.outputs, (images,))


class FakeBuilder(Exporter):
    """Build an artifact for its device: each build of one model differs in speed, as those of real builders do."""

    name = "fake-builder"
    source, target = FORMAT_FAKE, FORMAT_FAKE_BUILT
    precisions, keeps = frozenset({Precision.FP32}), frozenset({Precision.INT8, Precision.FP16})
    bound = True

    def binding(self, device: str) -> Mapping[str, str]:
        return {"device": device}

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        script = json.loads(source.path.read_text(encoding="utf-8"))
        _fault(script.get("build_fault", ""))
        slower_us = script.get("builds_us", [0.0])
        built = script | {"device": spec.device, "slower_us": slower_us[spec.build % len(slower_us)]}
        (destination / "model.json").write_text(json.dumps(built), encoding="utf-8")
        return Exported("model.json", source.inputs, source.outputs, (f"build {spec.build} for {spec.device}",))


def _fault(kind: str) -> None:
    if kind == "raise":
        raise ExportFailed("scripted failure of the export", "take the fault out of the script")
    if kind == "abort":
        os.abort()
