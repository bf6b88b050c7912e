"""What a suite may say: pydantic models whose descriptions are the reference documentation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping  # noqa: TC003 - an annotation that is evaluated
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from harness.errors import HarnessError
from harness.scenarios import ASKED, KINDS, Kind
from harness.settings import SettingError, did_you_mean, settings
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
    Precision,
)

T = TypeVar("T")

SCENARIOS = ("latency", "throughput", "memory", "accuracy")
"""What a suite asks for by default. ``prove`` is added by the plan."""


class _Many:
    """A list for which a single value may stand."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_tuple, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listed = handler(schema)
        return {"anyOf": [listed, listed["items"]]}


def _as_tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return value if isinstance(value, (tuple, dict)) else (value,)


def _as_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_Listed = BeforeValidator(_as_list)
Many = Annotated[tuple[T, ...], Field(min_length=1), _Many()]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,63}$")]
Word = Annotated[str, Field(min_length=1, max_length=200)]
PathText = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A path; in the file also a list of candidates, of which loading keeps the first that exists."""
PlainPath = Annotated[str, Field(min_length=1, max_length=4096)]
PrecisionName = Annotated[Precision, Field(strict=False)]
Range = Annotated[str, Field(pattern=r"^([A-Za-z_]\w*:)?(-?[0-9]{1,9})?:(-?[0-9]{1,9})?(:(-?[0-9]{1,9})?)?$")]
Percentile = Annotated[float, Field(gt=0, lt=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Model):
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
    path: Annotated[tuple[PlainPath, ...], _Listed] = Field(
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


class Images(_Model):
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
                raise _problem((key,), f"`{key}` goes with {fits}, not with `{given[0]}`")
        if self.label is not None:
            try:
                groups = re.compile(self.label).groups
            except (re.error, OverflowError, RecursionError) as error:
                raise _problem(("label",), f"not a regular expression: {error}") from error
            if groups < 1:
                raise _problem(("label",), r"the expression needs a group for the class index, such as (\d+)")
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


class AccuracyTarget(_Model):
    """The accuracy that counts as kept."""

    target: Annotated[float, Field(gt=0, le=1)] = Field(
        0.99, description="Share of the FP32 reference's metric that a row must keep; MLPerf's are 0.99 and 0.999."
    )


def _problem(place: tuple[str | int, ...], message: str, hint: str = "") -> PydanticCustomError:
    """Return an error at a place below the value that is being validated."""
    return PydanticCustomError("suite", "{message}", {"message": message, "below": place, "hint": hint})


def _as_task(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _checked_task(task: dict[str, Any]) -> dict[str, Any]:
    # Imported here, for it is only needed once a suite is read.
    from harness.tasks import catalog  # noqa: PLC0415

    name = task.get("name")
    if not isinstance(name, str):
        raise _problem(("name",), "a task needs a name, such as detect, classify or raw")
    try:
        kind = catalog.parameters(name)
    except HarnessError as error:
        raise _problem(("name",), error.message, error.hint) from error
    try:
        return {"name": name, **settings(kind, {key: value for key, value in task.items() if key != "name"})}
    except SettingError as error:
        raise _problem((error.key,) if error.key else (), error.message, error.hint) from error


class Workload(_Model):
    """One model, what it does, and the data it is judged on."""

    source: Source = Field(description="Where the model comes from.")
    task: Annotated[
        dict[str, Any],
        AfterValidator(_checked_task),
        BeforeValidator(_as_task),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}),
    ] = Field(description="What the model does: a name, or a mapping of `name` and the task's own settings.")
    input: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=8), _Listed] = Field(
        description="Shape of one input without the batch: [channels, height, width]."
    )
    data: Data | None = Field(None, description="Images; without them inputs are drawn and accuracy is skipped.")
    accuracy: AccuracyTarget = Field(default_factory=AccuracyTarget, description="What accuracy must reach.")


def _checked_scenario(name: str, given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("kind", name)
    if not isinstance(kind, str) or kind not in ASKED:
        key = "kind" if "kind" in given else ""
        message = f"no scenario is called {kind!r}{did_you_mean(str(kind), ASKED)}"
        hint = f"`kind` names one of: {', '.join(ASKED)}"
        raise _problem((name, key) if key else (name,), message, hint)
    if name in ASKED and kind != name:
        raise _problem((name, "kind"), f"{name} is a scenario itself", "choose another name for it")
    try:
        checked = settings(KINDS[kind].settings, {key: value for key, value in given.items() if key != "kind"})
    except SettingError as error:
        raise _problem((name, error.key) if error.key else (name,), error.message, error.hint) from error
    return {"kind": kind, **checked}


def _as_cpus(value: object) -> object:
    """Return the processors that a list of numbers and ranges means."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    found: list[object] = []
    for part in parts:
        ends = re.fullmatch(r"(\d{1,5})-(\d{1,5})", part) if isinstance(part, str) else None
        if ends is not None and int(ends[1]) <= int(ends[2]):
            found += range(int(ends[1]), int(ends[2]) + 1)
        else:
            found.append(int(part) if isinstance(part, str) and re.fullmatch(r"\d{1,5}", part) else part)
    try:
        return tuple(sorted(set(found)))  # type: ignore[type-var]  # what cannot be sorted is no list of numbers
    except TypeError:
        return tuple(found)


_NUMBER_OR_RANGE = [{"type": "integer"}, {"type": "string"}]
Cpus = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    Field(min_length=1),
    BeforeValidator(_as_cpus),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"anyOf": _NUMBER_OR_RANGE}}, *_NUMBER_OR_RANGE]}),
]

TechniqueName = Literal["fusion", "precision", "tuning", "memory", "threads", "layout"]


class Configuration(_Model):
    """Named settings of an engine, measured as rows of their own beside its usual ones."""

    options: dict[str, Any] = Field(default_factory=dict, description="Settings of the engine, over `options`.")
    export: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings of exporters, by exporter, over `export`."
    )
    technique: TechniqueName | None = Field(None, description="What it turns on or off, for the report.")
    description: str = Field("", description="A sentence for the reader of the report.")

    @model_validator(mode="after")
    def _says_something(self) -> Configuration:
        if not self.options and not self.export:
            raise ValueError("a configuration sets something: give `options` or `export`")
        return self


class Selection(_Model):
    """Some cells of the matrix; a key that is absent says nothing."""

    workload: Many[str] | None = Field(None, description="Names of workloads.")
    engine: Many[Word] | None = Field(None, description="Names of engines.")
    precision: Many[PrecisionName] | None = Field(None, description="Precisions.")
    device: Many[Word] | None = Field(None, description="Devices, or `auto`.")
    batch: Many[PositiveInt] | None = Field(None, description="Batch sizes.")
    threads: Many[PositiveInt | None] | None = Field(None, description="Thread counts.")
    streams: Many[PositiveInt | None] | None = Field(None, description="Stream counts.")
    scenario: Many[Name] | None = Field(None, description="Scenarios, or names of `scenarios`.")
    configuration: Many[Name] | None = Field(None, description="Names of `configurations`, or `default`.")

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_a_value(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.field_name not in {"threads", "streams"}:
            raise ValueError("null means nothing here: leave the key out")
        return (None,) if value is None else value

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class Excluded(Selection):
    """Cells to leave out: those that match every key given."""

    @model_validator(mode="after")
    def _says_something(self) -> Excluded:
        if not self.model_fields_set:
            raise ValueError("an empty entry would leave out everything")
        return self


class Matrix(_Model):
    """What to measure: the product of these lists. A single value may stand for a list of one."""

    workload: Many[str] | None = Field(None, description="Names of workloads; all where absent.")
    engine: Many[Word] = Field(description="Names of engines; `harness doctor` lists them.")
    precision: Many[PrecisionName] = Field((Precision.FP32,), description="Precisions to run at.")
    device: Many[Word] = Field(("auto",), description="Devices as the engine names them; `auto`: each that it has.")
    batch: Many[PositiveInt] = Field((1,), description="Items per inference; shapes are static.")
    threads: Many[PositiveInt | None] = Field((None,), description="Threads; null: what the runtime takes by itself.")
    streams: Many[PositiveInt | None] = Field(
        (None,), description="Concurrent streams of the throughput scenario; null: what the runtime recommends."
    )
    scenario: Many[Name] = Field(
        SCENARIOS,
        description="What to measure: names of `scenarios`, or "
        + ", ".join(f"`{name}`" for name in ASKED)
        + "; what was executed is proven besides, once per timed row.",
    )
    configuration: Many[Name] | None = Field(
        None, description="Names of `configurations`, or `default`; absent: `default` and each that the engine has."
    )


class Suite(_Model):
    """What to measure, on which models, how long: one file."""

    version: Literal[1] = Field(description="Version of this format.")
    name: Word | None = Field(None, description="Name in reports; the file's where absent.")
    description: str = Field("", description="A sentence for the reader of the report.")
    workloads: Annotated[dict[Name, Workload], Field(min_length=1)] = Field(description="The models, by name.")
    matrix: Matrix = Field(description="What to measure.")
    include: Annotated[tuple[Selection, ...], _Listed] = Field(
        (), description="More cells: each entry is a matrix of its own that takes absent keys from `matrix`."
    )
    exclude: Annotated[tuple[Excluded, ...], _Listed] = Field((), description="Cells to leave out.")
    preset: Literal["quick", "default", "publish"] = Field("default", description="How thorough to be.")
    launches: Annotated[int, Field(gt=0, le=1000)] | None = Field(
        None, description="Fresh processes per timed cell, instead of the preset's number."
    )
    timeout: Annotated[PositiveFloat, Field(le=7 * 86_400)] = Field(600.0, description="Seconds per launch.")
    fallback: Literal["allow", "strict"] = Field(
        "allow",
        description="`strict`: a row whose work did not run on the device and at the precision asked fails.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Of the order of launches and of drawn inputs.")
    budget: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h)$")] | None = Field(
        None,
        description="Time for the launches, such as 30m: after two launches of each cell it is spent where intervals "
        "are widest, and what was not measured is said. Absent: every launch of the preset is made.",
    )
    cpus: Cpus | None = Field(
        None, description="Processors that launches are kept on, as a list of numbers or ranges, such as [0, '2-5']."
    )
    scenarios: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of scenarios, by scenario; or by a name of your own, with `kind` naming the scenario.",
    )
    percentiles: Many[Percentile] | None = Field(
        None, description="What the report must be able to print; launches are lengthened for it. Absent: the preset's."
    )
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Settings of engines, by engine.")
    export: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Settings of exporters, by exporter.")
    configurations: dict[str, dict[Name, Configuration]] = Field(
        default_factory=dict, description="Named settings to compare, by engine: each makes rows of its own."
    )
    builds: Annotated[int, Field(gt=0, le=100)] = Field(
        1,
        description="Builds of an artifact that is bound to its device, such as a TensorRT engine: launches take "
        "turns, so that the spread from build to build is in the intervals.",
    )
    interpreters: dict[str, PlainPath] = Field(
        default_factory=dict,
        description="Python interpreters of engines and exporters that live in another environment, by name.",
    )
    cache: Literal["cold", "warm"] = Field(
        "cold", description="`cold`: runtimes compile afresh in every launch; `warm`: their own caches persist."
    )
    gate: dict[str, Any] = Field(default_factory=dict, description="Limits for `harness gate`.")

    @field_validator("scenarios")
    @classmethod
    def _known_settings(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: _checked_scenario(name, said) for name, said in given.items()}

    @model_validator(mode="after")
    def _known_scenarios(self) -> Suite:
        known = dict.fromkeys((*ASKED, *self.scenarios))
        entries: list[tuple[tuple[str | int, ...], Selection | Matrix]] = [(("matrix",), self.matrix)]
        entries += [(("include", index), entry) for index, entry in enumerate(self.include)]
        entries += [(("exclude", index), entry) for index, entry in enumerate(self.exclude)]
        for place, entry in entries:
            for name in entry.scenario or ():
                if name not in known:
                    message = f"no scenario is called {name!r}{did_you_mean(name, known)}"
                    raise _problem((*place, "scenario"), message, f"there are: {', '.join(known)}")
        return self

    def scenario(self, name: str) -> tuple[Kind, dict[str, Any]]:
        """Return the kind of a scenario that the matrix names, and every setting of it."""
        said = self.scenarios.get(name, {"kind": name})
        kind = KINDS[said["kind"]]
        return kind, settings(kind.settings, {key: value for key, value in said.items() if key != "kind"})

    @property
    def budget_s(self) -> float | None:
        """The budget in seconds."""
        if self.budget is None:
            return None
        return int(self.budget[:-1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[self.budget[-1]]

    def resolved(self) -> dict[str, Any]:
        """Return everything the suite says as JSON-able data, defaults included; loads as an equal suite."""
        return self.model_dump(mode="json")
