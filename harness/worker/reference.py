"""The outputs that every other row is held against: FP32, before anything is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.jobs import TextAnswer
from harness.measure.verify import check_sane
from harness.vocabulary import Stage
from harness.worker.opening import adapter, batches, import_runtime, load

if TYPE_CHECKING:
    from harness.jobs import ReferenceJob
    from harness.worker.stage import Stages


def reference(job: ReferenceJob, stages: Stages) -> TextAnswer:
    """Write the outputs of the first batches as ``{batch}/{output}`` of an ``.npz``. Raises ``VerifyFailed``."""
    engine = adapter(job.engine)
    import_runtime(engine, stages)
    session, stream, _ = load(engine, job.artifact, job.session, job.destination.parent, stages)
    stages.enter(Stage.REFERENCE)
    arrays: dict[str, np.ndarray] = {}
    for index, batch in enumerate(batches(job.inputs, job.artifact, job.session.batch, limit=job.batches)):
        stream.bind(batch.tensors)
        stream.run()
        stream.sync()
        outputs = stream.fetch()
        check_sane(outputs, job.artifact.outputs)
        arrays |= {f"{index}/{name}": value for name, value in outputs.items()}
    session.close()
    with job.destination.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types its keywords as bool
    return TextAnswer(str(job.destination))
