"""One cache and one thread for all tests beside a conftest that imports these fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def cache(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """One cache for all of them, in all processes of this test run, so that `shelf` is drawn
    once.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if hasattr(request.config, "workerinput") else own) / "shared-cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSHELF_CACHE", str(folder))
        patch.delenv("FEDSHELF_DATA", raising=False)
        yield folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As engines have it; and several threads wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
