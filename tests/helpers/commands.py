"""Our command lines, called in this process: a process of its own would load torch for seconds,
each time.
"""

import io
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer

from fedshelf.common import command_line


class Output(io.StringIO):
    """Collect printed lines, and act as soon as some words have been printed: words -> action,
    each once.
    """

    def __init__(self, then: Mapping[str, Callable[[], object]]) -> None:
        super().__init__()
        self._then = dict(then)

    def write(self, text: str) -> int:
        written = super().write(text)
        for words in [words for words in self._then if words in self.getvalue()]:
            # what was done for the words before may have printed others
            if act := self._then.pop(words, None):
                act()
        return written


def call(
    app: typer.Typer,
    *arguments: str | Path,
    then: Mapping[str, Callable[[], object]] | None = None,
    **environment: str | Path,
) -> subprocess.CompletedProcess[str]:
    """Its exit code and output, as its whole process would have them, with more `environment` as
    long as it runs.
    """
    words = [str(argument) for argument in arguments]
    out = Output(then or {})
    err = io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment.items():
            patch.setenv(name, str(value))
        with pytest.raises(SystemExit) as ended:
            command_line.run(app, words)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
