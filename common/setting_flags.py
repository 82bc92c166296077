"""Command-line flags of settings: name, type, help and metavar come from the setting's declaration.

`settings.json` beside this file has them in a form that needs no pydantic, as --help must be quick;
`make settings` writes it.
"""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Command = Callable[..., None]

TYPES = {"bool": bool, "int": int, "float": float, "str": str, "path": Path}
DECLARED: Mapping[str, Mapping[str, str]] = json.loads(
    Path(__file__).with_name("settings.json").read_text(encoding="utf-8")
)


def setting_flags(**flags: str) -> Callable[[Command], Command]:
    """Give a command an option for each of these settings: lr="train.lr" makes --lr.

    The command's parameter `given` receives the settings that were given: {"train.lr": 0.1}. In
    --help their options stand where `given` stands among the parameters.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_flags(**values: Any) -> None:
            found = {key: values.pop(name) for name, key in flags.items()}
            given = {
                key: str(value) if isinstance(value, Path) else value
                for key, value in found.items()
                if value is not None
            }
            command(given=given, **values)

        options = [_option(name, key) for name, key in flags.items()]
        parameters = []
        for parameter in inspect.signature(command).parameters.values():
            parameters += options if parameter.name == "given" else [parameter]
        named = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parameters]
        # typer reads both
        vars(with_flags)["__signature__"] = inspect.Signature(named)
        with_flags.__annotations__ = {part.name: part.annotation for part in named}
        return with_flags

    return decorate


def _option(name: str, key: str) -> inspect.Parameter:
    declared = DECLARED[key]
    kind = TYPES[declared["type"]]
    flag = f"--{name.replace('_', '-')}"
    default = f" Default: {declared['default']}." if declared["default"] else ""
    option = typer.Option(
        flag,
        metavar=declared.get("metavar"),
        help=declared["help"] + default,
        rich_help_panel=f"Settings of {key.partition('.')[0]}",
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )
