"""Errors of the command line: one sentence, each thing said once."""

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
