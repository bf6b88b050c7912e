"""Where the real weights and images are, for tests that need them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assets():
    folder = os.environ.get("HARNESS_ASSETS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HARNESS_ASSETS names no folder of test assets")
    return Path(folder).resolve()
