"""Alarms that are given to a program."""

import json
import sys
from pathlib import Path

import pytest

from fedshelf.client.notifications.background import NotSentError
from fedshelf.client.notifications.program import parse_command, program
from fedshelf.common.errors import ConfigError


def script(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [sys.executable, str(path)]


def test_a_program_gets_json_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = script(
        tmp_path / "script.py",
        "import json, sys\n"
        "json.dump([json.load(sys.stdin), sys.argv[2:]], open(sys.argv[1], 'w'))\n",
    )
    program([*words, str(out), "$HOME; echo", "*"])({"class": "hat"})
    assert json.loads(out.read_text()) == [{"class": "hat"}, ["$HOME; echo", "*"]]


def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    words = script(tmp_path / "script.py", "import sys; sys.exit(3)")
    with pytest.raises(NotSentError, match="ended with code 3"):
        program(words)({})
    with pytest.raises(NotSentError, match="cannot be run"):
        program([str(tmp_path / "none")])({})


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    words = script(tmp_path / "script.py", "import time; time.sleep(600)")
    with pytest.raises(NotSentError, match=r"longer than 0\.2 s"):
        program(words, limit=0.2)({})


def test_commands_are_split_as_a_shell_does_and_must_exist() -> None:
    assert parse_command("sh -c 'cat > \"a b\"'") == ["sh", "-c", 'cat > "a b"']
    for wrong in ("", "no-such-program-anywhere -x", "sh 'open"):
        with pytest.raises(ConfigError, match="--command got"):
            parse_command(wrong)
