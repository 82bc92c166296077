"""The model that a service answers with, and its replacement while requests are under way."""

import asyncio
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import FedshelfError
from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.inference.predictors.predictor import Pixels, Predictor
from fedshelf.common.inference.predictors.verdicts import Verdict, verdicts
from fedshelf.common.inference.search.index_file import SearchIndex
from fedshelf.common.names import DESCRIPTION_FILE

CHECK_SECONDS = 1.0  # between two looks at the model's files, and only when somebody asks something
_MODEL_SUFFIXES = (".safetensors", ".onnx")


@dataclass(frozen=True)
class PhotoAnswer:
    """A model's answer for one photo.

    Attributes:
        probabilities: float32 [C]
        order: int64 [C], the classes, the most probable first
        embedding: float32 [D]
        verdict: on it
    """

    probabilities: NDArray[np.float32]
    order: NDArray[np.int64]
    embedding: NDArray[np.float32]
    verdict: Verdict


@dataclass(frozen=True)
class ServedModel:
    """A model with the version that clients see.

    Attributes:
        predictor: the model
        index: of the photos among which similar ones are searched; None: there is none
        version: the first 16 hex digits of the SHA-256 of its files
        locator: finds the products of scenes, and the model names them if the locator does not;
            None: there is none
    """

    predictor: Predictor
    index: SearchIndex | None
    version: str
    locator: BoxPredictor | None = None

    def answers(self, pixels: Pixels) -> list[PhotoAnswer]:
        """Return the answers for photos, uint8 [N, H, W, C]."""
        found = self.predictor.predict(pixels)
        orders = np.argsort(-found.probabilities, axis=1, kind="stable")
        return [
            PhotoAnswer(*each)
            for each in zip(
                found.probabilities,
                orders,
                found.embeddings,
                verdicts(found, pixels),
                strict=True,
            )
        ]


class ModelFiles:
    """The model on the disk, and the one that was loaded from it last.

    Args:
        paths: files and directories of the model, or of several that answer together, and of the
            index if there is one
        load: loads model and index; raises FedshelfError
        locator: file or directory of the locator; None: there is none
        load_locator: loads it; raises FedshelfError

    Attributes:
        name: the model's name in addresses: that of its directory or file
        locator_name: that of the locator's directory or file; empty: there is none
        current: the model that answers now
        reloads: number of models that were taken up later
        failed_reloads: number of those that could not be used

    Raises:
        FedshelfError: it cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        load: Callable[[], tuple[Predictor, SearchIndex | None]],
        locator: Path | None = None,
        load_locator: Callable[[Path], BoxPredictor] | None = None,
    ) -> None:
        self._paths = (*paths, *([] if locator is None else [locator]))
        self.name = _name_of(self._paths[0])
        self.locator_name = "" if locator is None else _name_of(locator)
        self._load = load
        self._locator = locator
        self._load_locator = load_locator
        self._tried = self._fingerprint()
        self._looked_at = time.monotonic()
        self._reload: asyncio.Task[None] | None = None
        self.current = self._loaded()
        self.reloads = 0
        self.failed_reloads = 0

    def look(self) -> None:
        """Begin to load the model anew if its files have changed.

        Requests call it, and it looks at the disk once a second at most, so an idle service does
        nothing.
        """
        if time.monotonic() - self._looked_at >= CHECK_SECONDS:
            self._looked_at = time.monotonic()
            if self._fingerprint() != self._tried:
                self.reload()

    def reload(self) -> None:
        """Begin to load the model anew; the one that is there answers until the new one can.

        A model that cannot be used is told on stderr, and the old one stays.
        """
        if self._reload is None or self._reload.done():
            self._reload = asyncio.get_running_loop().create_task(self._load_anew())

    async def _load_anew(self) -> None:
        self._tried = self._fingerprint()
        try:
            self.current = await asyncio.to_thread(self._loaded)
        except (FedshelfError, OSError) as error:  # OSError: it is being replaced
            self.failed_reloads += 1
            print(f"The model stays the one before. {error}", file=sys.stderr, flush=True)
        else:
            self.reloads += 1
            print(f"Now version {self.current.version} answers.", file=sys.stderr, flush=True)

    def _loaded(self) -> ServedModel:
        model, index = self._load()  # first: it says best what cannot be used
        locator = None
        if self._locator is not None:
            assert self._load_locator is not None
            locator = self._load_locator(self._locator)
        digest = hashlib.sha256()
        for path in self._model_files():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return ServedModel(model, index, digest.hexdigest()[:16], locator)

    def _model_files(self) -> list[Path]:
        found: list[Path] = []
        for path in self._paths:
            inside = sorted(path.iterdir()) if path.is_dir() else []
            found += [file for file in inside if file.suffix in _MODEL_SUFFIXES]
            found += [] if path.is_dir() else [path]
        return found

    def _fingerprint(self) -> list[tuple[str, int, int, int]]:
        """Return what changes with the files: name, size, modification time and inode of each."""
        try:
            files = self._model_files()
            files += [path / DESCRIPTION_FILE for path in self._paths if path.is_dir()]
            states = [(str(file), file.stat()) for file in files if file.exists()]
        except OSError:
            return []  # it is being replaced
        return [(name, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states]


def _name_of(path: Path) -> str:
    """Return the name of a model: that of its directory or file."""
    found = path.resolve()
    return found.name if found.is_dir() else found.stem
