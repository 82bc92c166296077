"""The fuzzing of this folder once more, with many times as many examples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow(minutes=1)
def test_fuzzing_at_length() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "800"]
    files = [str(Path(__file__).with_name(name)) for name in ("test_messages.py", "test_files.py")]
    environment = {**os.environ, "FEDSHELF_FUZZ": "5"}
    done = subprocess.run(
        [*command, *files], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
