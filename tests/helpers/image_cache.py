"""A cache of pixels for each test that lies beside a conftest which imports the fixture."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache directory of its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEDSHELF_CACHE", str(folder))
    return folder / "images"
