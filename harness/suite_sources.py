"""The models of a suite and their data, as a suite file says them: pydantic models with their documentation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping  # noqa: TC003 - an annotation that is evaluated
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    WithJsonSchema,
    model_validator,
)

from harness.errors import HarnessError
from harness.settings import SettingError, settings
from harness.suite_values import Listed, PathText, PlainPath, Range, SuiteModel, Word, problem
from harness.tasks.datasets import DataSpec
from harness.vocabulary import (
    FORMAT_KERAS_FILE,
    FORMAT_ONNX_FILE,
    FORMAT_SAVED_MODEL_FILE,
    FORMAT_TFLITE_FILE,
    FORMAT_TORCH_EXPORT,
    FORMAT_TORCH_MODULE,
    FORMAT_TORCH_ZOO,
    FORMAT_ULTRALYTICS,
    Format,
)


class Source(SuiteModel):
    """Where the model comes from: exactly one of the keys before ``file``, or ``file`` with ``format``."""

    ultralytics: PathText | None = Field(
        None,
        description="An Ultralytics checkpoint (.pt), which needs `trust: true`, or the name of a model that it "
        "defines, such as yolo11n-seg.yaml, whose weights are drawn.",
    )
    torch: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = Field(
        None, description="Import path of a factory of a torch.nn.Module: `package.module:callable`."
    )
    timm: Word | None = Field(None, description="A model of timm by name, such as efficientnet_lite0.")
    torchvision: Word | None = Field(None, description="A model of torchvision by name, such as resnet18.")
    onnx: PathText | None = Field(None, description="An ONNX file.")
    keras: PathText | None = Field(None, description="A Keras model (.keras).")
    saved_model: PathText | None = Field(None, description="The folder of a TensorFlow SavedModel.")
    tflite: PathText | None = Field(None, description="A TensorFlow Lite file (.tflite).")
    file: PathText | None = Field(None, description="A file of any other format, named by `format`.")
    format: Word | None = Field(
        None, description="With `file`: its source format, one that some exporter reads and none makes."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="With `torch`, `timm` and `torchvision`: keyword arguments; with `torch`, "
        "{call: 'module:callable'} stands for what the call returns.",
    )
    path: Annotated[tuple[PlainPath, ...], Listed] = Field(
        (), description="With `torch`: folders in which the factory's module is looked for first."
    )
    weights: PathText | None = Field(
        None,
        description="With `torch`, `timm` and `torchvision`: a state dict that torch.save wrote; with the latter two "
        "also `pretrained`, which the library downloads. Absent: drawn.",
    )
    fingerprint_note: str = Field(
        "", description="With `torch`: part of the model's identity; change it where code changed and weights did not."
    )
    trust: bool = Field(False, description="The file may run code when it is opened (a pickle does), and that is fine.")  # noqa: FBT003 - pydantic's own signature

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        given = [kind for kind in _SOURCES if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"a source is exactly one of {', '.join(_SOURCES)}; found {found}")
        if (self.file is None) != (self.format is None):
            raise ValueError("`file` and `format` are given together")
        for key, fits in _SOURCE_SETTINGS.items():
            if getattr(self, key) and given[0] not in fits:
                raise ValueError(f"`{key}` goes with {' or '.join(f'`{kind}`' for kind in fits)}")
        return self

    @property
    def kind(self) -> Format:
        """The artifact format of the source."""
        return next((_SOURCES[kind] for kind in _SOURCES if getattr(self, kind) is not None), "") or self.format or ""

    @property
    def reference(self) -> str:
        """What the suite said: a path, a name or an import path."""
        return next((getattr(self, kind) for kind in _SOURCES if getattr(self, kind) is not None), "")

    @property
    def pickled(self) -> bool:
        """Whether opening the source runs code that is inside it."""
        if self.ultralytics is not None:
            return not self.ultralytics.endswith((".yaml", ".yml"))  # the name of a definition, not a checkpoint
        return self.kind == FORMAT_TORCH_EXPORT

    def description(self) -> dict[str, Any] | None:
        """Return the JSON-able description that the source's format consists of; ``None`` where it is a file."""
        if self.timm is not None or self.torchvision is not None:
            return {
                "library": "timm" if self.timm is not None else "torchvision",
                "name": self.reference,
                "weights": self.weights,
                "arguments": self.arguments,
            }
        if self.torch is None:
            return None
        return {
            "factory": self.torch,
            "arguments": self.arguments,
            "path": list(self.path),
            "weights": self.weights,
            "fingerprint_note": self.fingerprint_note,
        }


_SOURCES: Mapping[str, Format] = {
    "ultralytics": FORMAT_ULTRALYTICS,
    "torch": FORMAT_TORCH_MODULE,
    "timm": FORMAT_TORCH_ZOO,
    "torchvision": FORMAT_TORCH_ZOO,
    "onnx": FORMAT_ONNX_FILE,
    "keras": FORMAT_KERAS_FILE,
    "saved_model": FORMAT_SAVED_MODEL_FILE,
    "tflite": FORMAT_TFLITE_FILE,
    "file": "",  # as ``format`` says
}
_SOURCE_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "arguments": ("torch", "timm", "torchvision"),
    "weights": ("torch", "timm", "torchvision"),
    "path": ("torch",),
    "fingerprint_note": ("torch",),
}
PRETRAINED = "pretrained"
"""As ``weights`` of a model by name: those that its library downloads."""


class Images(SuiteModel):
    """Images, and labels where there are any: exactly one of ``yolo``, ``imagefolder``, ``coco`` and ``files``."""

    yolo: PathText | None = Field(None, description="An Ultralytics data set file (data.yaml).")
    imagefolder: PathText | None = Field(None, description="A folder with one folder of images per class.")
    coco: PathText | None = Field(None, description="A COCO annotation file.")
    files: PathText | None = Field(None, description="A folder or a glob of image files.")
    images: PathText | None = Field(None, description="With `coco`: the folder of the images. With `files`: a glob.")
    package: Word | None = Field(None, description="With `files`: the installed package that it is relative to.")
    label: Word | None = Field(
        None, description="With `files`: a regular expression on the file name whose first group is the class index."
    )
    split: Word | None = Field(None, description="With `yolo` or `imagefolder`: the split to take images from.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in _GOES_WITH if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"data is exactly one of {', '.join(_GOES_WITH)}; found {found}")
        for key in ("images", "package", "label", "split"):
            if getattr(self, key) is not None and key not in _GOES_WITH[given[0]]:
                fits = " or ".join(f"`{kind}`" for kind, keys in _GOES_WITH.items() if key in keys)
                raise problem((key,), f"`{key}` goes with {fits}, not with `{given[0]}`")
        if self.label is not None:
            try:
                groups = re.compile(self.label).groups
            except (re.error, OverflowError, RecursionError) as error:
                raise problem(("label",), f"not a regular expression: {error}") from error
            if groups < 1:
                raise problem(("label",), r"the expression needs a group for the class index, such as (\d+)")
        return self

    def spec(self) -> DataSpec:
        """Return the images as ``harness.tasks.datasets`` takes them."""
        kind = next(kind for kind in _GOES_WITH if getattr(self, kind) is not None)
        rest = {key: getattr(self, key) for key in ("images", "package", "label", "split")}
        return DataSpec(kind, getattr(self, kind), **rest)


class CalibrationImages(Images):
    """Images of another data set to calibrate on; they need no labels."""

    take: Range | None = Field(None, description="Which of them: `start:stop` by path; all where absent.")

    def spec(self) -> DataSpec:
        """Return the images as ``harness.tasks.datasets`` takes them."""
        return dataclasses.replace(super().spec(), evaluate=self.take)


def _form_of_calibration(value: object) -> str:
    return "[images]" if isinstance(value, (dict, CalibrationImages)) else "[range]"


class Data(Images):
    """The images that a workload is judged on, and those that its INT8 is calibrated on."""

    calibrate: (
        Annotated[
            Annotated[Range, Tag("[range]")] | Annotated[CalibrationImages, Tag("[images]")],
            Discriminator(_form_of_calibration),
        ]
        | None
    ) = Field(
        None,
        description="Images to calibrate on: `start:stop` by path, of a split: `train:0:64`, or a mapping that names "
        "another data set; none where absent.",
    )
    evaluate: Range | None = Field(
        None, description="Images to measure on, `start:stop`; all where absent. Keep them apart from `calibrate`."
    )

    def spec(self) -> DataSpec:
        """Return the images as ``harness.tasks.datasets`` takes them."""
        spec = dataclasses.replace(super().spec(), evaluate=self.evaluate)
        if isinstance(self.calibrate, CalibrationImages):
            return dataclasses.replace(spec, calibration=self.calibrate.spec())
        return dataclasses.replace(spec, calibrate=self.calibrate)


_GOES_WITH = {
    "yolo": ("split",),
    "imagefolder": ("split",),
    "coco": ("images",),
    "files": ("images", "package", "label"),
}


class AccuracyTarget(SuiteModel):
    """The accuracy that counts as kept."""

    target: Annotated[float, Field(gt=0, le=1)] = Field(
        0.99, description="Share of the FP32 reference's metric that a row must keep; MLPerf's are 0.99 and 0.999."
    )


def _as_task(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _checked_task(task: dict[str, Any]) -> dict[str, Any]:
    # Imported here, for it is only needed once a suite is read.
    from harness.tasks import catalog  # noqa: PLC0415

    name = task.get("name")
    if not isinstance(name, str):
        raise problem(("name",), "a task needs a name, such as detect, classify or raw")
    try:
        kind = catalog.parameters(name)
    except HarnessError as error:
        raise problem(("name",), error.message, error.hint) from error
    try:
        return {"name": name, **settings(kind, {key: value for key, value in task.items() if key != "name"})}
    except SettingError as error:
        raise problem((error.key,) if error.key else (), error.message, error.hint) from error


class Workload(SuiteModel):
    """One model, what it does, and the data it is judged on."""

    source: Source = Field(description="Where the model comes from.")
    task: Annotated[
        dict[str, Any],
        AfterValidator(_checked_task),
        BeforeValidator(_as_task),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}),
    ] = Field(description="What the model does: a name, or a mapping of `name` and the task's own settings.")
    input: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=8), Listed] = Field(
        description="Shape of one input without the batch: [channels, height, width]."
    )
    data: Data | None = Field(None, description="Images; without them inputs are drawn and accuracy is skipped.")
    accuracy: AccuracyTarget = Field(default_factory=AccuracyTarget, description="What accuracy must reach.")
