"""Our command lines, called in this process: a process of its own would load torch for seconds, each time."""

import io
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer

from common import cli


def call(app: typer.Typer, *arguments: str | Path, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    """Its exit code and output, as its whole process would have them, with more `environment` as long as it runs."""
    words, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment.items():
            patch.setenv(name, str(value))
        with pytest.raises(SystemExit) as ended:
            cli.run(app, words)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
