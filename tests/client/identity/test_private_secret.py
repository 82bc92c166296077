"""The secret of a store: drawn once, private, and never replaced."""

import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from fedshelf.client.identity.home import SECRET_FILE, private_secret
from fedshelf.common.errors import ConfigError


def test_it_is_drawn_once(tmp_path: Path) -> None:
    secret = private_secret(tmp_path)
    assert len(secret) == 32
    assert private_secret(tmp_path) == secret
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    assert private_secret(tmp_path / "other") != secret


def test_processes_that_begin_at_once_agree(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        assert len(set(pool.map(private_secret, [tmp_path] * 16))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_FILE]


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    private_secret(tmp_path)
    path = tmp_path / SECRET_FILE
    path.write_bytes(path.read_bytes()[:31])
    with pytest.raises(ConfigError, match="has 31 bytes, expected 32"):
        private_secret(tmp_path)


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    private_secret(tmp_path)
    (tmp_path / SECRET_FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        private_secret(tmp_path)
