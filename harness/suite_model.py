"""What a suite may say: pydantic models whose descriptions are the reference documentation."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from harness.gating import Gating
from harness.scenarios import ASKED, KINDS, Kind
from harness.settings import SettingError, did_you_mean, settings
from harness.suite_sources import Workload
from harness.suite_values import (
    Listed,
    Many,
    Name,
    Percentile,
    PlainPath,
    PrecisionName,
    SuiteModel,
    Word,
    problem,
)
from harness.vocabulary import Precision

SCENARIOS = ("latency", "throughput", "memory", "accuracy")
"""What a suite asks for by default. ``prove`` is added by the plan."""


def _checked_scenario(name: str, given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("kind", name)
    if not isinstance(kind, str) or kind not in ASKED:
        key = "kind" if "kind" in given else ""
        message = f"no scenario is called {kind!r}{did_you_mean(str(kind), ASKED)}"
        hint = f"`kind` names one of: {', '.join(ASKED)}"
        raise problem((name, key) if key else (name,), message, hint)
    if name in ASKED and kind != name:
        raise problem((name, "kind"), f"{name} is a scenario itself", "choose another name for it")
    try:
        checked = settings(KINDS[kind].settings, {key: value for key, value in given.items() if key != "kind"})
    except SettingError as error:
        raise problem((name, error.key) if error.key else (name,), error.message, error.hint) from error
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


class Configuration(SuiteModel):
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


class Selection(SuiteModel):
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


class Matrix(SuiteModel):
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


class Suite(SuiteModel):
    """What to measure, on which models, how long: one file."""

    version: Literal[1] = Field(description="Version of this format.")
    name: Word | None = Field(None, description="Name in reports; the file's where absent.")
    description: str = Field("", description="A sentence for the reader of the report.")
    workloads: Annotated[dict[Name, Workload], Field(min_length=1)] = Field(description="The models, by name.")
    matrix: Matrix = Field(description="What to measure.")
    include: Annotated[tuple[Selection, ...], Listed] = Field(
        (), description="More cells: each entry is a matrix of its own that takes absent keys from `matrix`."
    )
    exclude: Annotated[tuple[Excluded, ...], Listed] = Field((), description="Cells to leave out.")
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
    gate: Gating = Field(default_factory=Gating, description="What fails `harness gate`, and by how much.")

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
                    raise problem((*place, "scenario"), message, f"there are: {', '.join(known)}")
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
