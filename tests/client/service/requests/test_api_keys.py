import os
from pathlib import Path

import pytest

from fedshelf.client.service.requests.api_keys import ApiKeys, read_api_keys
from fedshelf.client.service.server import bind
from fedshelf.common.errors import ConfigError

KEY = "0123456789abcdef"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_each_line_is_a_key(tmp_path: Path) -> None:
    keys = read_api_keys(write(tmp_path / "keys", f"# till 3\n{KEY}\n\n{KEY[::-1]}\n"))
    assert keys.are_needed
    assert keys.accept(f"Bearer {KEY}")
    assert keys.accept(f"bearer {KEY[::-1]}")
    assert not keys.accept(f"Bearer {KEY[1:]}")
    assert not keys.accept("")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no key"), ("# none\n", "no key"), ("short\n", "5 characters"), ("ü" * 20, "Cannot")],
)
def test_files_without_usable_keys_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_api_keys(write(tmp_path / "keys", text))


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        read_api_keys(write(tmp_path / "keys", KEY, 0o644))
    with pytest.raises(ConfigError, match="openssl rand"):
        read_api_keys(tmp_path / "none")


def test_only_this_machine_is_served_without_keys() -> None:
    with pytest.raises(ConfigError, match="--key-file"):
        bind("0.0.0.0", 0, ApiKeys([]))
    bind("0.0.0.0", 0, ApiKeys([KEY])).close()
    bind("127.0.0.1", 0, ApiKeys([])).close()
