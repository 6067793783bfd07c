import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data (`UNFACE_TEST_DATA`)."""
    folder = os.environ.get("UNFACE_TEST_DATA")
    if not folder:
        pytest.skip("UNFACE_TEST_DATA is not set: real data needed")
    return Path(folder)
