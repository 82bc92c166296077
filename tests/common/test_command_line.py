"""Errors of the command line: one sentence, each thing said once."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import pytest
import typer

from fedshelf.common.command_line import command_line, run


@pytest.fixture
def app() -> typer.Typer:
    made = command_line("Two commands.")
    made.command()(check)
    made.command()(join)
    return made


def check() -> None:
    """Check."""


def join() -> None:
    """Join."""


def test_a_mistyped_command_is_asked_about_once(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(app, ["jion"])
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert told.count("Did you mean 'join'?") == 1


def test_the_version_names_what_a_report_of_a_fault_needs(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(app, ["--version"])
    told = capsys.readouterr().out
    assert end.value.code == 0
    for name in ("fedshelf", "flwr", "torch"):
        assert f"{name} {metadata.version(name)}" in told
    assert f"Python {platform.python_version()}" in told


def test_help_has_a_short_name_in_commands_too(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["-h"], ["join", "-h"]):
        with pytest.raises(SystemExit) as end:
            run(app, arguments)
        assert end.value.code == 0
        assert "Usage:" in capsys.readouterr().out


def test_a_full_disk_is_told_with_what_the_command_can_do_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(_: Annotated[bool, typer.Option("--resume")] = False) -> None:
        """Train."""
        Path("/dev/full").write_text("a model")

    def export() -> None:
        """Export."""
        Path("/dev/full").write_text("a model")

    app = command_line("Two commands and a group of one.")
    group = command_line("A group.")
    app.command()(train)
    app.command()(export)
    group.command()(train)
    app.add_typer(group, name="many")
    for arguments, advice in (
        (["train", "--resume"], "make room and go on with --resume."),
        (["many", "train"], "make room and go on with --resume."),
        (["export"], "make room and then repeat the command."),
    ):
        with pytest.raises(SystemExit) as end:
            run(app, arguments)
        told = capsys.readouterr().err
        assert end.value.code == 1
        assert "The disk is full" in told
        assert told.rstrip().endswith(advice)
