"""A flag of a setting is one line: its name and its key."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from fedshelf.common import setting_flags as flags
from fedshelf.common.config import known_keys, resolve
from fedshelf.server.main import app as server
from fedshelf.simulations.main import app as simulation

COMMANDS = [(simulation, name) for name in ("run", "split", "compare", "ensemble")]
COMMANDS += [(server, "start")]


def options(app: typer.Typer, name: str) -> dict[str, click.Parameter]:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    return {str(option.name): option for option in group.commands[name].params}


def call(command: Callable[..., None], *arguments: str) -> None:
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_every_setting_can_have_a_flag_of_its_type() -> None:
    assert flags.DECLARED.keys() == known_keys().keys()
    for key, default in known_keys().items():
        kind = flags.TYPES[flags.DECLARED[key]["type"]]
        assert kind is type(default) or (kind in (str, Path) and isinstance(default, str | tuple))


def test_a_command_receives_what_was_given_under_its_keys() -> None:
    received = []

    @flags.setting_flags(
        lr="train.lr",
        batch_size="train.batch_size",
        dataset="data.dataset",
        classes="data.classes",
        merge_spellings="data.merge_spellings",
        out="run.out",
        seed="run.seed",
    )
    def command(first: int, given: dict[str, Any], last: str = "z") -> None:
        """Do nothing."""
        received.append((first, given, last))

    call(command, "7")
    call(
        command, "7", "--lr", "0.5", "--batch-size", "8", "--classes", "a,b", "--merge-spellings",
        "--out", "runs/x/", "--last", "y",
    )  # fmt: skip
    assert received == [
        (7, {}, "z"),
        (
            7,
            {
                "train.lr": 0.5,
                "train.batch_size": 8,
                "data.classes": "a,b",
                "data.merge_spellings": True,
                "run.out": "runs/x",
            },
            "y",
        ),
    ]
    assert resolve(received[1][1]).data.classes == ("a", "b")


def test_options_stand_in_help_where_the_command_takes_them() -> None:
    @flags.setting_flags(seed="run.seed", lr="train.lr")
    def command(first: int, given: dict[str, Any], last: str = "z") -> None:
        """Do nothing."""

    assert list(inspect.signature(command).parameters) == ["first", "seed", "lr", "last"]


def test_a_flag_of_no_setting_is_a_mistake_of_the_programmer() -> None:
    def command(given: dict[str, Any]) -> None:
        """Do nothing."""

    with pytest.raises(KeyError, match=r"train\.lrr"):
        flags.setting_flags(lr="train.lrr")(command)


@pytest.mark.parametrize(("app", "name"), COMMANDS)
def test_commands_explain_settings_in_the_words_of_their_declaration(
    app: typer.Typer, name: str
) -> None:
    key, flag = ("data.dataset", "dataset") if app is simulation else ("train.lr", "lr")
    declared = flags.DECLARED[key]
    explained = f"{declared['help']} Default: {known_keys()[key]}."
    assert getattr(options(app, name)[flag], "help", None) == explained
