"""Keys are private where they sign, one line where they are pinned, and never trusted unseen."""

from pathlib import Path

import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.common.release.keys import (
    PINNED_FILE,
    RELEASE_KEY_VARIABLE,
    key_id,
    make_key,
    pin,
    pinned_keys,
    public_file,
    public_text,
    read_private_key,
    read_public_keys,
)


def test_a_key_is_for_its_owner_and_its_public_half_for_all(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "release.key"
    public = make_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert public_text(read_private_key(file)) == public
    assert read_public_keys(str(public_file(file)), "KEY") == (public,)
    assert read_public_keys(public, "KEY") == (public,)
    with pytest.raises(ConfigError, match="a key is never overwritten"):
        make_key(file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_private_key(file)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    with pytest.raises(ConfigError, match=f"There is no release key {file}; make one: flower-"):
        read_private_key(file)
    file.touch(0o600)
    with pytest.raises(ConfigError, match="Cannot read the release key"):
        read_private_key(file)
    file.write_bytes(b"\xff")
    for wrong in ("", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "ed25519:é", str(file)):
        with pytest.raises(ConfigError, match="KEY"):
            read_public_keys(wrong, "KEY")


def test_keys_are_pinned_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    assert pinned_keys() == ()
    first, second, third = (make_key(tmp_path / name) for name in "abc")
    assert len({key_id(first), key_id(second), key_id(third)}) == 3
    for key in (first, second, first):
        pin(key)
    assert pinned_keys() == (first, second)
    monkeypatch.setenv(RELEASE_KEY_VARIABLE, third)
    assert pinned_keys() == (third,)
    monkeypatch.setenv(RELEASE_KEY_VARIABLE, str(public_file(tmp_path / "a")))
    assert pinned_keys() == (first,)
    monkeypatch.delenv(RELEASE_KEY_VARIABLE)
    (tmp_path / "home" / PINNED_FILE).write_text("nonsense")
    with pytest.raises(ConfigError, match="expected a public release key"):
        pinned_keys()
