"""A cache of their own for the tests of simulations, so that `shelf` is drawn once for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FEDSHELF_CACHE", str(folder))
        patch.delenv("FEDSHELF_DATA", raising=False)
        yield folder
