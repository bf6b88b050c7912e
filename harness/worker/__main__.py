"""``python -m harness.worker SCRATCH``: read the job there, do it, leave the answer there."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable  # noqa: TC003 - a type of a local name
from pathlib import Path
from typing import Any

from harness import codec, jobs
from harness.errors import EngineUnavailable, HarnessError, Unsupported, VerifyFailed
from harness.vocabulary import Failed, Skipped, Stage
from harness.worker.stage import Stages

_HINT = "see the log; `harness rerun RUN CELL` repeats it in the foreground"


def main(scratch: Path) -> None:
    """Do the job in ``scratch``; whatever Python can catch becomes an answer, the rest is the parent's to see."""
    _die_with_parent()
    stages = Stages(scratch / jobs.STAGE_FILE)
    try:
        request = json.loads((scratch / jobs.JOB_FILE).read_text(encoding="utf-8"))
        if request.get("cpus"):
            # Before numpy or a runtime is imported: they count the processors, and their threads inherit these.
            os.sched_setaffinity(0, request["cpus"])
        job_class, _ = jobs.KINDS[request["kind"]]
        answer = _do(request["kind"], codec.decode(job_class, request["job"]), stages)
        text = json.dumps({"answer": codec.encode(answer)}, allow_nan=False)
    except Exception as error:  # noqa: BLE001 - an engine may raise anything; it costs this cell alone
        traceback.print_exc()
        text = json.dumps({"refusal": codec.encode(_refusal(error, stages.current))})
    temporary = scratch / (jobs.ANSWER_FILE + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(scratch / jobs.ANSWER_FILE)


def _do(kind: str, job: Any, stages: Stages) -> object:
    # Each branch imports only what its job needs: the measured process stays small.
    if kind == "launch":
        from harness.worker.launch import launch

        return launch(job, stages)
    if kind == "probe":
        from harness.worker.probe import probe

        return probe(job, stages)
    if kind == "reference":
        from harness.worker.reference import reference

        return reference(job, stages)
    if kind == "prepare":
        from harness.worker.prepare import prepare

        return prepare(job, stages)
    if kind == "overhead":
        from harness.worker.overhead import overhead

        return overhead(job, stages)
    from harness.worker import export

    steps: dict[str, Callable[[Any, Stages], object]] = {
        "binding": export.binding,
        "export": export.export,
        "fetch": export.fetch,
        "identify": export.identify,
    }
    return steps[kind](job, stages)


def _refusal(error: Exception, stage: Stage) -> jobs.Refusal:
    from harness.worker import exhausted

    message = error.message if isinstance(error, HarnessError) else str(error)
    if exhausted.exhausted(error):
        words = f"memory ran out in stage {stage.value}" + (f": {message}" if message else "")
        return jobs.Refusal(failed=Failed(stage, exhausted.KIND, _shortened(words), exhausted.HINT))
    if isinstance(error, (Unsupported, EngineUnavailable)):
        return jobs.Refusal(skipped=Skipped(error.message, error.hint))
    hint = (error.hint if isinstance(error, HarnessError) else "") or _HINT
    kind = "verify" if isinstance(error, VerifyFailed) else type(error).__name__
    return jobs.Refusal(failed=Failed(stage, kind, _shortened(message) or type(error).__name__, hint))


def _shortened(message: str, limit: int = 2000) -> str:
    return message if len(message) <= limit else f"{message[:limit]} … ({len(message)} characters; the log has all)"


def _die_with_parent() -> None:
    """Ask the kernel to end this process with its parent, so that a killed run leaves nothing measuring."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import select
    import signal

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    # A parent that died before that is told by our output, a pipe that nobody reads any more.
    watch = select.poll()
    watch.register(1, 0)
    if any(event & select.POLLERR for _, event in watch.poll(0)):
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # A runtime whose threads or finalisers hang or crash at exit must not undo an answer already given.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
