"""`flower-client serve` as a process."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.helpers.deployed import SCRIPTS


class Serving:
    """A service's process and address."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def classify(self, photo: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/classify", content=photo, trust_env=False, timeout=60)

    def locate(self, photo: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/locate", content=photo, trust_env=False, timeout=60)

    def says(self) -> str:
        """The next line of the process's stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()


@contextmanager
def serving_process(model: Path, *options: str | Path, **environment: str) -> Iterator[Serving]:
    """A service of a model until the context ends."""
    command = [SCRIPTS / "flower-client", "serve", model, *options, "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"{model.stem} answers at http://127.0.0.1:"), process.stderr
        yield Serving(process, line.split()[3].rstrip(";"))
    finally:
        process.kill()
        process.wait()
