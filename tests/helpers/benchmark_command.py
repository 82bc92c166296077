"""`python -m benchmarks.NAME`, called in this process."""

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

import pytest


def play(module: str, *arguments: str) -> tuple[str, str]:
    """`python -m benchmarks.MODULE ARGUMENTS` in this process; what it prints, and what it says on
    standard error.
    """
    out = io.StringIO()
    err = io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [module, *arguments])
        # which the benchmarks of synthetic images change
        patch.setattr(os, "environ", dict(os.environ))
        import_module(f"benchmarks.{module}").main()
    signal.signal(signal.SIGTERM, handler)
    return out.getvalue(), err.getvalue()
