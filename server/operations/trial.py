"""`flower-server try`: a whole federation on this machine, for a first look.

    run_trial --+-- flower-simulation split     assigns photos to stores
                +-- Chain.make                  a chain, and its office, for this trial only
                +-- flower-client join  (each)  the stores, as child processes
                `-- launch                      the server, in this process

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
from fedshelf.common.scenes.formats.read import has_boxes, is_scene_folder
from fedshelf.server.addresses import LOOPBACK, Address, free_port
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.office import Office
from fedshelf.server.launcher.child_processes import (
    ChildProcesses,
    die_with_parent,
    installed_command,
)
from fedshelf.server.launcher.launcher import LaunchRequest, launch
from fedshelf.server.results.run_directory import RunDirectory, free_name

DEFAULT_STORES = 3
# of the photos over the stores: they differ in what they sell, as real ones do
TRIAL_PARTITION = "dirichlet:1"
TEST_FOLDER = "test"
JOIN_POLL_SECONDS = 0.5  # seconds between two checks of the stores' processes


@dataclass(frozen=True)
class Trial:
    """The command line's request.

    Attributes:
        stores:     number of stores; None: as many as `photos` has folders of stores, else
            `DEFAULT_STORES`
        photos:     a folder of stores' folders, or of photos to be assigned to stores; None: the
            embedded data set `shelf`
        out:        run directory; None: a new one below runs/
        settings:   flat settings of the run, beside those that follow from the others
        started_at: Unix time (s) at which the process started
    """

    stores: int | None
    photos: Path | None
    out: Path | None
    settings: dict[str, Any]
    started_at: float


@dataclass(frozen=True)
class TrialPhotos:
    """The photos of a trial.

    Attributes:
        stores: folder of each store, by name
        test:   folder of the server's test photos, if there is one
    """

    stores: Mapping[str, Path]
    test: Path | None


def run_trial(trial: Trial) -> int:
    """Train over stores that all run here, and end all of them.

    Returns:
        The exit code, as `launch` returns it.

    Raises:
        FedshelfError: the trial cannot start or go on, or a store has ended.
        KeyboardInterrupt: a person insists on its end.
    """
    out = trial.out or free_name(Path("runs") / "try")
    RunDirectory.check_new(out)
    given_folders = _store_folders(trial.photos) if trial.photos else {}
    if given_folders and trial.stores not in (None, count := len(_without_test(given_folders))):
        raise ConfigError(
            f"{trial.photos} has the folders of {count} stores; --stores got {trial.stores}."
        )
    with tempfile.TemporaryDirectory(prefix="fedshelf-try-") as folder_name:
        folder = Path(folder_name)
        if not (folders := given_folders):
            _assign_photos(trial.photos, trial.stores or DEFAULT_STORES, folder / "photos")
            folders = _store_folders(folder / "photos")
        photos = TrialPhotos(_without_test(folders), folders.get(TEST_FOLDER))
        address = Address(LOOPBACK, free_port())
        chain = Chain.make(folder / "chain" / "server", address.host, address.port)
        office = chain.make_office(chain.office_directory)  # its stores may be asked to sum
        print(
            f"The stores' kits and logs (NAME.log) are in {folder} until the end.",
            flush=True,
        )
        with _running_stores(photos, chain, office, folder) as watch:
            try:
                settings = _settings(trial, photos, out)
                exit_code = launch(
                    LaunchRequest(settings, address, chain, False, trial.started_at, False, None)
                )
            except (KeyboardInterrupt, FedshelfError):
                if not watch.ended:
                    raise
        for name, exit_code in watch.ended.items():
            raise RunError(
                f"Store {name} has ended with exit code {exit_code}:"
                f" {_last_line(folder / f'{name}.log')}"
            )
    print(f"All stores have ended. The run: {out}")
    return exit_code


def _settings(trial: Trial, photos: TrialPhotos, out: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {"cohort.min_stores": len(photos.stores), "run.out": str(out)}
    if all(map(is_scene_folder, photos.stores.values())):
        some_boxes = any(map(has_boxes, photos.stores.values()))
        settings["train.objective"] = "boxes" if some_boxes else "masks"
    if ({**settings, **trial.settings}).get("train.objective") not in ("boxes", "masks"):
        settings["model.name"] = "cnn"
    if photos.test:
        settings["evaluation.test_data"] = str(photos.test)
    class_names = {
        class_folder.name
        for path in photos.stores.values()
        for class_folder in path.iterdir()
        if class_folder.is_dir()
    }
    # the giver of all photos confirms classes of one store
    settings["data.confirmed_classes"] = sorted(class_names)
    return settings | trial.settings


def _store_folders(photos: Path) -> dict[str, Path]:
    """Return the stores' folders in `photos` by name, `test` among them.

    An empty result means a folder of photos that are to be assigned to stores.

    Raises:
        DataError: it is unclear which of the two it is.
    """
    if not photos.is_dir():
        raise DataError(
            f"--photos got {photos}, which is not a folder; expected a folder of photos, or a"
            " folder that holds a folder of photos for each store."
        )
    folders = [
        folder.resolve()
        for folder in sorted(photos.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    if is_scene_folder(photos):
        raise DataError(
            f"--photos got {photos}, which is one folder of scenes; expected a folder that holds a"
            " folder of scenes for each store."
        )
    nested = {
        folder.name: folder
        for folder in folders
        if any(child.is_dir() for child in folder.iterdir()) or is_scene_folder(folder)
    }
    if not nested or all(split_named(name) for name in nested):
        return {}
    if flat := [folder.name for folder in folders if folder.name not in nested]:
        raise DataError(
            f"{photos} can be read in two ways: {sorted(nested)[0]!r} holds folders, as the folder"
            f" of a store does, and {flat[0]!r} holds none, as the folder of a product. Give"
            " --photos a folder that has only stores' folders, or only products' folders."
        )
    return {
        name if name == TEST_FOLDER else check_store_name(name): path
        for name, path in nested.items()
    }


def _without_test(folders: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in folders.items() if name != TEST_FOLDER}


def _assign_photos(photos: Path | None, stores: int, out: Path) -> None:
    """Assign photos, or the embedded data set, to folders of stores in `out`.

    Raises:
        DataError: with the output of the command that does it.
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
    command += ["--partition", TRIAL_PARTITION, "--test", "--out", str(out)]
    print(
        f"Distributing the photos of {photos or 'the embedded data set'} among {stores} stores.",
        flush=True,
    )
    completed = subprocess.run(
        die_with_parent(command), env=_environment(), capture_output=True, text=True, check=False
    )
    if completed.returncode != 0:
        raise DataError(
            completed.stderr.strip().removeprefix("Error: ")
            or f"{command[0]} ended with {completed.returncode}."
        )


@contextmanager
def _running_stores(
    photos: TrialPhotos, chain: Chain, office: Office, folder: Path
) -> Iterator["StoreWatch"]:
    """Run the stores while the context lasts: each joins as soon as the server is up."""
    threads = max(1, (os.cpu_count() or 1) // len(photos.stores))
    folders = {"FEDSHELF_HOME": str(folder / "homes"), "FEDSHELF_CACHE": str(folder / "cache")}
    children = ChildProcesses(
        folder, {**_environment(), **folders, "OMP_NUM_THREADS": str(threads)}
    )
    try:
        for name, path in photos.stores.items():
            kit = chain.write_kit(name, office=office)
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
    """Ends the trial, as one Ctrl-C would, when a store has ended.

    The server would wait for that store in vain.

    Attributes:
        ended: exit codes of stores that have ended, by name; empty as long as all run
    """

    def __init__(self, children: ChildProcesses, names: list[str]) -> None:
        self.ended: dict[str, int] = {}
        self._children = children
        self._names = names
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "StoreWatch":
        # A shell starts what it runs in the background with SIGINT ignored: the watch's own would
        # be lost.
        self._previous_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        signal.signal(signal.SIGINT, self._previous_handler)

    def _watch(self) -> None:
        while not self._is_over.wait(JOIN_POLL_SECONDS):
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
