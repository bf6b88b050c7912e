"""Ultralytics models by definition: a YAML of layers, and weights that are drawn."""

from __future__ import annotations

import difflib
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.exporters import _torch, _torch_weights
from harness.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_INSTALL = "pip install 'inference-harness[torch,ultralytics]'"
_MODELS = {
    "Detect": "DetectionModel",
    "v10Detect": "DetectionModel",
    "Segment": "SegmentationModel",
    "Segment26": "SegmentationModel",
    "Pose": "PoseModel",
    "Pose26": "PoseModel",
    "OBB": "OBBModel",
    "OBB26": "OBBModel",
    "Classify": "ClassificationModel",
}
"""Class of the model by that of its head."""
_SCALE = re.compile(r"(\d+)([nslmx])(.+)?$")  # yolo11n-seg is yolo11-seg at the scale n
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z]\w*\([\w.=, +-]*\)")


def is_definition(path: Path) -> bool:
    """Return whether a source is a definition rather than a checkpoint."""
    return path.suffix in {".yaml", ".yml"}


def copied_definition(reference: str, destination: Path) -> Path:
    """Copy a definition of the installed package under the name that says its scale. Raises ``DataError``."""
    package = Path(_torch.require("ultralytics", _INSTALL).__file__).parent
    known = {file.name: file for file in (package / "cfg" / "models").rglob("*.yaml")}
    stem = Path(reference).stem
    file = known.get(f"{stem}.yaml") or known.get(_SCALE.sub(r"\1\3", stem) + ".yaml")
    if Path(reference).name != reference or file is None:
        near = difflib.get_close_matches(f"{stem}.yaml", known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DataError(
            f"{reference!r} is neither a file nor a definition that Ultralytics brings",
            f"{meant}Give the path of a definition, or an official name such as yolo11n-seg.yaml",
        )
    shutil.copyfile(file, destination / reference)
    return destination / reference


def defined(path: Path) -> Any:
    """Return the model that a definition describes, its weights drawn from seed 0.

    Raises ``DataError`` where it describes none, or would run code rather than name layers.
    """
    tasks = _torch.require("ultralytics.nn.tasks", _INSTALL)
    try:
        definition = tasks.yaml_model_load(path)
        _check_layers(definition, tasks)
        kind = getattr(tasks, _MODELS[definition["head"][-1][2]])
        channels = definition.get("channels", 3)
        model = _torch_weights.seeded(lambda: kind(definition, ch=channels, verbose=False))
        _set_scales(model.eval(), channels)
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{path.name} has no {error}", f"its last layer is one of {', '.join(_MODELS)}") from error
    except Exception as error:  # Ultralytics' parser raises whatever a wrong layer leads to
        hint = "it has nc, scales, backbone and head, as the definitions that Ultralytics brings"
        raise DataError(f"{path.name} describes no Ultralytics model: {error}", hint) from error
    return model


def _set_scales(model: Any, channels: int) -> None:
    """Give every BatchNorm the variance of what reaches it, so that values keep their scale through the layers.

    As Ultralytics draws them, each layer shrinks its input: the head of a nano model answers with its biases to the
    last digit, of a larger one with what may be slow to compute (subnormal numbers). One variance a layer, rounded to a
    power of two: the same on every machine, though sums are not.
    """
    torch = _torch.require("torch")

    def measure(layer: Any, given: tuple[Any, ...]) -> None:
        variance = float(given[0].var())
        if variance > 0:
            layer.running_var.fill_(2.0 ** round(math.log2(variance)))

    normalising = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(measure) for layer in normalising]
    with torch.no_grad():
        model(torch.rand((1, channels, 128, 128), generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()


def _check_layers(definition: Mapping[str, Any], tasks: Any) -> None:
    """Raise ``DataError`` unless every layer is a torch module: Ultralytics calls whatever it finds by that name.

    An activation is evaluated as Python by it.
    """
    torch = _torch.require("torch", _INSTALL)
    for _, _, name, _ in [*definition["backbone"], *definition["head"]]:
        if name.startswith("torchvision.ops."):
            continue
        found = getattr(torch.nn, name[3:], None) if name.startswith("nn.") else getattr(tasks, name, None)
        if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
            raise DataError(
                f"the definition names {name!r}, which is no layer", "name layers of Ultralytics or torch.nn"
            )
    activation = definition.get("activation")
    if activation is not None and not _ACTIVATION.fullmatch(str(activation)):
        raise DataError(f"the activation {activation!r} is no layer of torch.nn", "write it as nn.SiLU()")
