"""`flower-server try`: a whole federation on this machine, for a first look: its chain, its stores
and a server.

The server may not import the code of stores or simulations: it starts their commands, as a person
would.
"""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.command_line import ENVIRONMENT
from fedshelf.common.errors import ConfigError, DataError, FedshelfError, RunError
from fedshelf.common.images.listing.split_names import split_named
from fedshelf.common.names import check_store_name
from fedshelf.server.addresses import LOOPBACK, Address, free_port
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.launcher.child_processes import (
    ChildProcesses,
    die_with_parent,
    installed_command,
)
from fedshelf.server.launcher.launcher import LaunchRequest, launch
from fedshelf.server.results.run_directory import RunDirectory, free_name

DEFAULT_STORES = 3
_PARTITION = "dirichlet:1"  # how photos are dealt: stores differ in what they sell, as real ones do
_TEST = "test"
_LOOK = 0.5  # seconds between two checks of the stores' processes


@dataclass(frozen=True)
class Trial:
    """The command line's request.

    stores:   number of stores; None: as many as `photos` has folders of stores, else
              `DEFAULT_STORES`
    photos:   a folder of stores' folders, or of photos to be dealt; None: the embedded data set
              `shelf`, dealt
    out:      run directory; None: a new one below runs/
    settings: flat settings of the run, beside those that follow from the others
    began:    Unix time (s) at which the process started
    """

    stores: int | None
    photos: Path | None
    out: Path | None
    settings: dict[str, Any]
    began: float


@dataclass(frozen=True)
class TrialPhotos:
    """The folders of the stores by their names, and the folder of the server's test photos."""

    stores: Mapping[str, Path]
    test: Path | None


def run_trial(trial: Trial) -> int:
    """Train over stores that all run here, and end all of them; return the exit code, as `conduct`
    does.

    Raises FedshelfError, KeyboardInterrupt.
    """
    out = trial.out or free_name(Path("runs") / "try")
    RunDirectory.check_new(out)
    given = _stores_in(trial.photos) if trial.photos else {}
    if given and trial.stores not in (None, count := len(_without_test(given))):
        raise ConfigError(
            f"{trial.photos} has the folders of {count} stores; --stores got {trial.stores}."
        )
    with tempfile.TemporaryDirectory(prefix="fedshelf-try-") as place:
        folder = Path(place)
        if not (folders := given):
            _deal(trial.photos, trial.stores or DEFAULT_STORES, folder / "photos")
            folders = _stores_in(folder / "photos")
        photos = TrialPhotos(_without_test(folders), folders.get(_TEST))
        address = Address(LOOPBACK, free_port())
        chain = Chain.make(folder / "chain" / "server", address.host, address.port)
        print(
            f"Kits, and what each store prints (NAME.log), are in {folder} until the end.",
            flush=True,
        )
        with _joined(photos, chain, folder) as watch:
            try:
                settings = _settings(trial, photos, out)
                code = launch(
                    LaunchRequest(settings, address, chain, False, trial.began, False, None)
                )
            except (KeyboardInterrupt, FedshelfError):
                if not watch.ended:
                    raise
        for name, code in watch.ended.items():
            raise RunError(
                f"Store {name} has ended with exit code {code}:"
                f" {_last_line(folder / f'{name}.log')}"
            )
    print(f"All stores have ended. The run: {out}")
    return code


def _settings(trial: Trial, photos: TrialPhotos, out: Path) -> dict[str, Any]:
    own: dict[str, Any] = {"cohort.min_stores": len(photos.stores), "run.out": str(out)}
    if photos.test:
        own["evaluation.test_data"] = str(photos.test)
    folders = {
        each.name for path in photos.stores.values() for each in path.iterdir() if each.is_dir()
    }
    # the giver of all photos confirms classes of one store
    own["data.confirmed_classes"] = sorted(folders)
    return own | trial.settings


def _stores_in(photos: Path) -> dict[str, Path]:
    """Return the stores' folders in `photos` by name, `test` among them; empty if it is a folder of
    photos to deal.

    Raises DataError if it is unclear which of the two it is.
    """
    if not photos.is_dir():
        raise DataError(
            f"--photos got {photos}, which is no folder; expected a folder of photos, or of stores'"
            " folders."
        )
    inside = [
        each.resolve()
        for each in sorted(photos.iterdir())
        if each.is_dir() and not each.name.startswith(".")
    ]
    deep = {each.name: each for each in inside if any(child.is_dir() for child in each.iterdir())}
    if not deep or all(split_named(name) for name in deep):
        return {}
    if shallow := [each.name for each in inside if each.name not in deep]:
        raise DataError(
            f"{photos} can be read in two ways: {sorted(deep)[0]!r} holds folders, as a store does,"
            f" and {shallow[0]!r} does not, as a product's folder. Give every store, or every"
            " product, a folder alone."
        )
    return {name if name == _TEST else check_store_name(name): path for name, path in deep.items()}


def _without_test(folders: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in folders.items() if name != _TEST}


def _deal(photos: Path | None, stores: int, out: Path) -> None:
    """Deal photos, or the embedded data set, to folders of stores in `out`.

    Raises DataError with the output of the command that does it.
    """
    dataset = str(photos.resolve()) if photos else "shelf"
    command = [
        installed_command("flower-simulation"),
        "split",
        "--dataset",
        dataset,
        "--stores",
        str(stores),
    ]
    command += ["--partition", _PARTITION, "--test", "--out", str(out)]
    print(
        f"Dealing the photos of {photos or 'the embedded data set'} to {stores} stores.", flush=True
    )
    done = subprocess.run(
        die_with_parent(command), env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DataError(
            done.stderr.strip().removeprefix("Error: ")
            or f"{command[0]} ended with {done.returncode}."
        )


@contextmanager
def _joined(photos: TrialPhotos, chain: Chain, folder: Path) -> Iterator["StoreWatch"]:
    """Run the stores while the context lasts: each makes its own key and joins as soon as the
    server is up.
    """
    threads = max(1, (os.cpu_count() or 1) // len(photos.stores))
    own = {"FEDSHELF_HOME": str(folder / "homes"), "FEDSHELF_CACHE": str(folder / "cache")}
    children = ChildProcesses(folder, {**_environment(), **own, "OMP_NUM_THREADS": str(threads)})
    try:
        for name, path in photos.stores.items():
            kit = chain.write_kit(name)
            children.spawn(
                name,
                [
                    installed_command("flower-client"),
                    "join",
                    "--kit",
                    str(kit),
                    "--data",
                    str(path),
                ],
            )
        with StoreWatch(children, list(photos.stores)) as watch:
            yield watch
    finally:
        children.stop()


class StoreWatch:
    """Ends the trial, as one Ctrl-C would, when a store has ended before: the server would wait for
    it in vain.

    ended: the store's exit code by its name; empty as long as all run
    """

    def __init__(self, children: ChildProcesses, names: list[str]) -> None:
        self.ended: dict[str, int] = {}
        self._children = children
        self._names = names
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "StoreWatch":
        # A shell starts what it runs in the background with SIGINT ignored: the watch's own would
        # be lost.
        self._handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        signal.signal(signal.SIGINT, self._handler)

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK):
            for name in self._names:
                if (code := self._children.exit_status(name)) is not None:
                    self.ended[name] = code
                    os.kill(os.getpid(), signal.SIGINT)
                    return


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line), "")


def _environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
