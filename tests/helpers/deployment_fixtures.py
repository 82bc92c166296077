"""Fixtures of tests that start servers and stores: conftests import those that they need."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.deployed import Command, LocalGrid, draw_photos, summary

QUICK = ["--set", "train.lr=0.02", "--set", "data.image_size=32", "--model", "niid-cnn"]


@pytest.fixture
def grid() -> LocalGrid:
    return LocalGrid()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """For our commands: an empty home, which must stay empty, a cache of its own, one thread
    each.
    """
    home = tmp_path_factory.mktemp("home")
    cache = tmp_path_factory.mktemp("cache")
    own = {"HOME": str(home), "FEDSHELF_CACHE": str(cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    yield {
        key: value for key, value in os.environ.items() if not key.startswith(("FLWR", "XDG"))
    } | own
    assert list(home.iterdir()) == [], (
        "something was written outside the run directory and the cache"
    )


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three stores' photos; none has all three classes."""
    place = tmp_path_factory.mktemp("stores")
    classes = {"mitte": ["boot", "hat"], "ost": ["boot", "shirt"], "süd 2": ["hat", "shirt"]}
    return {
        name: draw_photos(place / name, held, seed=seed)
        for seed, (name, held) in enumerate(classes.items())
    }


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Iterator["Starter"]:
    """Starts commands, on machines where no store belongs to a chain yet; what is left of them is
    killed at the end.
    """
    starter = Starter(environment | {"FEDSHELF_HOME": str(tmp_path / "state")})
    yield starter
    for started in reversed(starter.started):
        started.kill()


class Starter:
    """Starts our commands."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.started = list[Command]()

    def __call__(self, *arguments: str | Path) -> Command:
        self.started.append(Command(self.environment, *arguments))
        return self.started[-1]

    def store(self, folder: Path, port: int, name: str = "", *more: str) -> Command:
        address = ["--server", f"127.0.0.1:{port}", "--insecure"]
        return self(
            "flower-client",
            "join",
            "--data",
            folder,
            "--name",
            name or folder.name,
            *address,
            *more,
        )

    def server(self, out: Path, port: int, *more: str | Path) -> Command:
        settled = "--classes" in more or "--resume-from" in more
        # not every store of a test has them
        confirmed = [] if settled else ["--confirm-classes", "boot,hat,shirt"]
        return self(
            "flower-server",
            "start",
            "--out",
            out,
            "--port",
            str(port),
            "--insecure",
            *QUICK,
            *confirmed,
            *more,
        )

    def simulated(self, out: Path, folders: Path, *more: str) -> dict[str, Any]:
        """The summary of what `server` would do with all stores of a folder, whatever does not
        happen to them.
        """
        stores = [
            "--dataset",
            folders,
            "--partition",
            "folder",
            "--set",
            f"cohort.min_stores={len(list(folders.iterdir()))}",
        ]
        done = self("flower-simulation", "run", "--out", out, *stores, *QUICK, *more)
        assert done.ends() == 0, done.text
        return summary(out)
