"""Write docs/reference/commands.md from the help of all commands. With --check, only compare."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import typer

from fedshelf.client.main import app as client
from fedshelf.server.main import app as server
from fedshelf.simulations.main import app as simulation

PAGE = Path(__file__).parents[1] / "docs/reference/commands.md"
PROGRAMS = {"flower-simulation": simulation, "flower-server": server, "flower-client": client}
HEAD = """# All commands

Written by `make settings` from the commands themselves; `COMMAND --help` shows the same. An error
is one sentence on stderr and an [exit code](exit-codes.md). `--version` shows the version,
`--install-completion` makes the shell complete commands. Any of [all settings](settings.md) can be
given with `--set KEY=VALUE`, also where no option has its name.
"""


def page() -> str:
    """Return the page: each program's commands with their arguments and options."""
    parts = [HEAD]
    for name, app in PROGRAMS.items():
        program = typer.main.get_command(app)
        parts.append(f"\n## {name}\n\n{_text(program.help)}\n")
        parts += [_section(path, command) for path, command in _commands(name, program)]
    return "".join(parts)


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    assert isinstance(command, click.Group)
    for name, child in command.commands.items():
        if isinstance(child, click.Group):
            yield from _commands(f"{path} {name}", child)
        else:
            yield f"{path} {name}", child


def _section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    shown = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    text = f"\n### {path}\n\n{_text(command.help)}\n\n```\n{usage}\n```\n"
    rows = [_row(one, context) for one in shown if one.name != "help"]
    return text + ("\n| | | default |\n|---|---|---|\n" + "".join(rows) if rows else "")


def _row(one: click.Parameter, context: click.Context) -> str:
    takes = "" if getattr(one, "is_flag", False) else f" {one.make_metavar(context)}"
    if isinstance(one, click.Argument):
        names = f"`{one.make_metavar(context)}`"
    else:
        names = ", ".join(f"`{name}{takes}`" for name in [*one.opts, *one.secondary_opts])
    meaning, _, told = _text(getattr(one, "help", "")).partition(" Default: ")
    own = one.default if isinstance(one.default, str | int | float) else ""
    value = told.removesuffix(".") or ("" if own is False else str(own))
    default = "required" if one.required else f"`{value}`" if value else ""
    return f"| {names.replace('|', chr(92) + '|')} | {meaning} | {default} |\n"


def _text(help_text: str | None) -> str:
    """Return help on one line of Markdown, in which a word in angle brackets is no tag."""
    words = " ".join((help_text or "").replace("\b", "").split())
    return words.replace("|", "\\|").replace("<", "&lt;")


text = page()
if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
    if "--check" in sys.argv:
        sys.exit(f"{PAGE.name} is not what the commands say; run make settings.")
    PAGE.write_text(text, encoding="utf-8")
