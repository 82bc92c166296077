"""A release is written whole, once."""

from pathlib import Path

import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.common.inference.release.folder import write_release
from fedshelf.common.release.keys import read_private_key
from tests.helpers.released_models import save_release


def test_it_has_the_files_of_the_run_and_replaces_nothing(tmp_path: Path) -> None:
    release, _ = save_release(tmp_path)
    names = ["card.md", "model.json", "model.onnx", "model.safetensors", "release.json"]
    assert sorted(file.name for file in release.iterdir()) == names
    for name in names[1:4]:
        assert (release / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    key = read_private_key(tmp_path / "release.key")
    with pytest.raises(ConfigError, match="is there already; a release is never changed"):
        write_release(release, tmp_path / "run", "", None, key)
    with pytest.raises(FileNotFoundError):
        write_release(tmp_path / "new", tmp_path / "no run", "", None, key)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "release",
        "release.key",
        "release.key.pub",
        "run",
    ]
