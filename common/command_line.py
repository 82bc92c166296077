"""Code that the three command lines share: settings, and errors as one sentence with an exit code.

Only modules that load quickly are imported at the top, so that `--help` answers at once.
"""

import atexit
import errno
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn

import click
import typer

from fedshelf.common.errors import FedshelfError

# No library that we use may report home, update itself or install at run time. And threads that
# wait must sleep: OpenMP's default is to spin, which on a shared core made training ten times
# slower (docs/log.md).
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
}


def command_line(help: str) -> typer.Typer:
    """Return a typer application in the common style: plain errors, -h, --version, completion."""
    app = typer.Typer(
        help=help,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_version_option)  # so that a single command is still a sub-command
    return app


def _version_option(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda is_given: _print_versions() if is_given else None,
            help="Show the version, and those of the libraries it stands on, and exit.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _print_versions() -> NoReturn:
    """Print the versions that belong into a report of a fault, and exit."""
    parts = [f"{name} {metadata.version(name)}" for name in ("fedshelf", "flwr", "torch")]
    typer.echo(f"{', '.join(parts)}, Python {platform.python_version()}")
    raise typer.Exit


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 on success, else one sentence on stderr and an error's code.

    Args:
        app: the command line
        arguments: None: those of this process
    """
    os.environ.update(ENVIRONMENT)
    try:
        code = typer.main.get_command(app).main(args=arguments, standalone_mode=False)
    except FedshelfError as error:
        _fail(str(error), error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else ""
        _fail(f"{_suggested_once(error.format_message())} See {command} --help.", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        _fail("Stopped.", 130)
    except BrokenPipeError:
        os._exit(1)  # the reader of our output went away; there is nobody left to tell
    except OSError as error:
        _fail(_disk_sentence(error, _called(app, arguments)), FedshelfError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def run_and_exit(app: typer.Typer) -> NoReturn:
    """Call `run` as a whole process, and exit without unloading its libraries.

    With torch that takes a second. It is for commands that have closed all they opened when they
    return.
    """
    try:
        run(app)
    except SystemExit as end:
        atexit._run_exitfuncs()
        with suppress(OSError):  # the reader of our output may be gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def merge_settings(
    config: Path | None, flags: Mapping[str, Any], assignments: Sequence[str]
) -> dict[str, Any]:
    """Return flat settings from a TOML file, then flags that were given, then `--set`.

    Later ones win. The settings in a run's `config.toml` that belong to that run alone are left
    out: its name, its directory, and derived values.

    Args:
        config: the file, if one was given
        flags: setting -> value; None: not given
        assignments: KEY=VALUE each

    Raises:
        ConfigError: a file that cannot be read, or an assignment that is none
    """
    from fedshelf.common.config import for_another_run, from_assignments

    settings = for_another_run(config) if config else {}
    settings |= {key: value for key, value in flags.items() if value is not None}
    return settings | from_assignments(assignments)


def _suggested_once(sentence: str) -> str:
    """Return the sentence with a single "Did you mean": click and typer add one each."""
    return re.sub(r"( \(?Did you mean [^?]*\?\)?)(?:\1)+", r"\1", sentence)


def _called(app: typer.Typer, arguments: Sequence[str] | None) -> click.Command:
    """Return the command that the arguments name."""
    command: click.Command = typer.main.get_command(app)
    for name in sys.argv[1:] if arguments is None else arguments:
        if not (isinstance(command, click.Group) and name in command.commands):
            break
        command = command.commands[name]
    return command


def _disk_sentence(error: OSError, command: click.Command) -> str:
    """Return a sentence for a file that the command cannot read or write."""
    path = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        resumes = any("--resume" in option.opts for option in command.params)
        then = "go on with --resume" if resumes else "then repeat the command"
        return (
            f"The disk is full: cannot write{path} ({error.strerror}). What was saved before is"
            f" intact; make room and {then}."
        )
    return f"Cannot use{path}: {error.strerror or error}. What was saved before is intact."


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"Error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(code)
