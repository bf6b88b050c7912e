"""The task without a meaning."""

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.tasks.raw import Raw, RawParameters
from harness.tasks.task import Frame


def test_outputs_come_back_by_frame_without_a_copy():
    scores, state = np.arange(6.0).reshape(2, 3), np.float32(3).reshape(())
    first, second = Raw(RawParameters()).postprocess({"scores": scores, "state": state}, [Frame(), Frame()])
    assert first["scores"].tolist() == [0, 1, 2]
    assert second["scores"].base is scores.base
    assert first["state"] is state


def test_images_and_metrics_are_refused():
    with pytest.raises(HarnessError, match="takes no images"):
        Raw(RawParameters()).preprocess(np.zeros((8, 8, 3), np.uint8), (3, 8, 8))
    with pytest.raises(NotImplementedError, match="no metric"):
        Raw(RawParameters()).evaluate([], [], {})
