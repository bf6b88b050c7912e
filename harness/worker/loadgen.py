"""The official LoadGen of MLCommons: how one test of it is set up and run, and what its logs say.

Facts on its behaviour are from its source, github.com/mlcommons/inference, folder ``loadgen``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import EngineUnavailable, HarnessError
from harness.vocabulary import LoadGenRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.scenarios import MlPerfSettings

Issue = Callable[[list[int], list[int]], None]
"""What LoadGen calls with the response ids of a query and the indices of its samples."""

SCENARIOS = {
    "single_stream": "SingleStream",
    "multi_stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}
"""A setting's ``mode`` → LoadGen's own word."""
ANSWERED = "Samples answered"
"""The one figure of an AccuracyOnly run, from its accuracy log: its summary holds none."""

_ANY_MODEL = "*"  # the section of mlperf.conf for all models: ours are none of MLPerf's benchmarks
_BUILT_IN = 0  # the mlperf.conf inside LoadGen, and no user's
_OFFLINE_SAMPLES = 24_576  # mlperf.conf: min_query_count of Offline, or the size of a smaller data set
_RULE = re.compile(r"=+\s*")
_PARAMETERS = "Test Parameters Used"


def imported() -> Any:
    """Return the module. Raises ``EngineUnavailable`` where it is not installed or cannot be loaded."""
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError as error:
        message = f"the official LoadGen is not to be had: {error}"
        raise EngineUnavailable(message, "pip install mlcommons-loadgen") from error


def official_settings(lg: Any, asked: MlPerfSettings, samples: int) -> tuple[Any, bool]:
    """Return LoadGen's ``TestSettings`` for a library of ``samples``, and whether they are the official ones.

    They come from the mlperf.conf inside LoadGen, its section for all models; ``asked`` may lengthen or shorten them.
    What that file leaves to the user (expected latency and rate) is still to be set.
    """
    scenario = SCENARIOS[asked.mode]
    settings = lg.TestSettings()
    if settings.FromConfig("", _ANY_MODEL, scenario, _BUILT_IN):
        raise HarnessError("LoadGen refuses its own mlperf.conf", "install another version of mlcommons-loadgen")
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = lg.TestMode.AccuracyOnly if asked.accuracy else lg.TestMode.PerformanceOnly
    if asked.mode == "offline":
        settings.min_query_count = max(settings.min_query_count, min(samples, _OFFLINE_SAMPLES))
    if asked.mode == "server" and asked.target_latency_ms is not None:
        settings.server_target_latency_ns = round(asked.target_latency_ms * 1e6)
    official = True
    if asked.seconds is not None:
        official &= asked.seconds * 1e3 >= settings.min_duration_ms
        settings.min_duration_ms = math.ceil(asked.seconds * 1e3)
    if asked.queries is not None:
        official &= asked.queries >= settings.min_query_count
        settings.min_query_count = asked.queries
    if asked.mode == "multi_stream":
        official &= asked.samples == settings.multi_stream_samples_per_query
        settings.multi_stream_samples_per_query = asked.samples
    return settings, official


def answering(lg: Any) -> Callable[[Sequence[int]], None]:
    """Return what tells LoadGen that the samples of these response ids are done; each may be told once."""
    response, complete = lg.QuerySampleResponse, lg.QuerySamplesComplete

    def answer(ids: Sequence[int]) -> None:
        complete([response(one, 0, 0) for one in ids])

    return answer


@dataclass(frozen=True)
class Logs:
    """What a test left on disk."""

    summary: str
    detail: str
    answered: Counter[int] = field(default_factory=Counter)  # of AccuracyOnly: how often each sample was


def play(lg: Any, settings: Any, issue: Issue, samples: int, folder: Path) -> Logs:
    """Run one test over a library of ``samples``, and return what LoadGen wrote in ``folder``, a new one.

    ``issue(ids, indices)`` is called in this thread for every query. It must not raise, which LoadGen does not
    survive, and each id must be answered, there or later from any thread. Returns when all are.
    """
    folder.mkdir(parents=True)
    output = lg.LogOutputSettings()
    output.outdir = str(folder)
    logs = lg.LogSettings()
    logs.log_output = output
    logs.enable_trace = False  # a line per sample, which nobody reads
    system = lg.ConstructFastSUT(issue, _nothing)
    library = lg.ConstructQSL(samples, samples, _nothing, _nothing)
    try:
        lg.StartTestWithLogSettings(system, library, settings, logs)
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)
    summary = (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8", errors="replace")
    detail = (folder / "mlperf_log_detail.txt").read_text(encoding="utf-8", errors="replace")
    if settings.mode != lg.TestMode.AccuracyOnly:
        return Logs(summary, detail)
    entries = json.loads((folder / "mlperf_log_accuracy.json").read_text(encoding="utf-8"))
    return Logs(summary, detail, Counter(entry["qsl_idx"] for entry in entries))


def _nothing(*_: object) -> None:
    """Stand for flushing, since queries are worked on as they come, and for loading samples, which are in memory."""


def run_of(logs: Logs, settings: Any, samples: int, *, official: bool) -> LoadGenRun:
    """Return a test as data: LoadGen's verdict and words, its figures, its settings and its text."""
    summary = parsed(logs.summary)
    version, errors = noted(logs.detail)
    valid, figures, reasons = summary.valid, summary.figures, summary.reasons
    if settings.mode.name == "AccuracyOnly":
        # LoadGen gives no verdict on it. MultiStream fills its last query up with samples that it has issued before.
        once = settings.scenario.name == "MultiStream" or all(count == 1 for count in logs.answered.values())
        answered = once and set(logs.answered) == set(range(samples))
        valid = answered and not errors
        figures = {ANSWERED: float(len(logs.answered))}
        reasons = () if answered else (f"{len(logs.answered)} of {samples} samples were answered, or some twice",)
    return LoadGenRun(
        scenario=settings.scenario.name,
        mode=settings.mode.name,
        valid=valid,
        reasons=(*reasons, *errors),
        figures=figures,
        settings=summary.parameters,
        official=official,
        version=version,
        summary=logs.summary,
    )


def noted(detail: str) -> tuple[str, tuple[str, ...]]:
    """Return LoadGen's version and the errors that it noted, each once, from a detailed log; lines cut off are none.

    An entry is a line of ``:::MLLOG`` and JSON.
    """
    version = ""
    errors: dict[str, None] = {}  # in order, each once
    for line in detail.splitlines():
        mark, _, text = line.partition(" ")
        entry = None
        if mark == ":::MLLOG":
            with contextlib.suppress(ValueError):
                entry = json.loads(text)
        if not isinstance(entry, dict):
            continue
        if entry.get("key") == "loadgen_version":
            version = str(entry.get("value"))
        metadata = entry.get("metadata")
        if isinstance(metadata, dict) and metadata.get("is_error"):
            errors[str(entry.get("value")).strip()] = None
    return version, tuple(errors)


@dataclass(frozen=True)
class Summary:
    """The summary of a PerformanceOnly run, read."""

    valid: bool
    reasons: tuple[str, ...]  # why it is not
    figures: dict[str, float]  # finite ones; LoadGen's keys and units
    parameters: dict[str, str]


def parsed(text: str) -> Summary:
    """Read a summary; what has another form than LoadGen writes is left out, and no verdict is not valid."""
    lines = text.splitlines()
    section, heading = "", ""
    words: dict[str, str] = {}
    figures: dict[str, float] = {}
    parameters: dict[str, str] = {}
    listed: dict[str, list[str]] = {}
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if _RULE.fullmatch(line):
            continue
        if _RULE.fullmatch(above) and _RULE.fullmatch(below):
            section, heading = line.strip(), ""
            continue
        before, _, after = line.partition(":")
        key, value = before.strip().removeprefix("* "), after.strip()
        if key and value and section == _PARAMETERS:
            parameters[key] = value
            continue
        if not line[:1].isspace():
            heading = key if before != line and not value else ""
        elif heading and line.strip():
            _list(listed.setdefault(heading, []), line.strip())
        if key and value:
            words.setdefault(key, value)
            number = _number(value)
            if number is not None:
                figures.setdefault(key, number)
    valid = words.get("Result is") == "VALID"
    return Summary(valid, () if valid else tuple(_reasons(words, listed)), figures, parameters)


def _list(items: list[str], text: str) -> None:
    """Add a line: a new item where it has the mark of one, else more of the last."""
    if text.startswith("*") or not items:
        items.append(text.lstrip("* "))
    else:
        items[-1] += f" {text}"


def _reasons(words: dict[str, str], listed: dict[str, list[str]]) -> Iterator[str]:
    if "Result is" not in words:
        yield "LoadGen gave no verdict"
    missed = [key for key, value in words.items() if key.endswith(" satisfied") and value != "Yes"]
    for key in missed:
        yield f"{key}: {words[key]}"
    yield from listed.get("Recommendations", ())
    if "Early stopping satisfied" in missed:
        yield from listed.get("Early Stopping Result", ())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
