from pathlib import Path

import pytest

from tests.helpers.sample_run import make_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 10 stores, 20 rounds, 10 classes. Tests read it and write only reports into it."""
    return make_run(tmp_path_factory.mktemp("runs") / "finished")
