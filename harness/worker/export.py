"""One step of an exporter, in a process of its own."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

from harness.engine import Exporter
from harness.errors import HarnessError
from harness.jobs import BindingAnswer, BindingJob, ExportAnswer, ExportJob, FetchJob, IdentifyJob, TextAnswer
from harness.vocabulary import Stage

if TYPE_CHECKING:
    from harness.worker.stage import Stages


def export(job: ExportJob, stages: Stages) -> ExportAnswer:
    """Make the artifact. Raises what the exporter raises, and ``HarnessError`` where it left nothing behind."""
    stages.enter(Stage.EXPORT)
    exporter = _exporter(job.exporter)
    made = exporter.export(job.source, job.spec, job.destination)
    if not (job.destination / made.entry).exists():
        message = f"{exporter.name} said that it made {made.entry!r}, but it is not there"
        raise HarnessError(message, "`Exported.entry` is relative to the destination: a mistake of the exporter")
    return ExportAnswer(made.entry, made.inputs, made.outputs, made.notes, _versions(exporter))


def identify(job: IdentifyJob, stages: Stages) -> TextAnswer:
    """Return the content hash of the source, or ``None`` where the file's bytes say it all."""
    stages.enter(Stage.IDENTIFY)
    return TextAnswer(_exporter(job.exporter).identify(job.source))


def binding(job: BindingJob, stages: Stages) -> BindingAnswer:
    """Return what of this machine and device the exporter's artifact depends on."""
    stages.enter(Stage.EXPORT)
    return BindingAnswer(_exporter(job.exporter).binding(job.device))


def fetch(job: FetchJob, stages: Stages) -> TextAnswer:
    """Return the path of the source that the vendor's own download brought. Raises ``DataError``."""
    stages.enter(Stage.IDENTIFY)
    return TextAnswer(str(_exporter(job.exporter).fetch(job.reference, job.destination)))


def _exporter(target: str) -> Exporter:
    module, _, attribute = target.partition(":")
    made = getattr(import_module(module), attribute)()
    if not isinstance(made, Exporter):
        message = f"{target} is no harness.engine.Exporter"
        raise HarnessError(message, "its entry point must name a class derived from it")
    return made


def _versions(exporter: Exporter) -> dict[str, str]:
    return {name: metadata.version(name) for name in exporter.distributions}
