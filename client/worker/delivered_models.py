"""Models that runs delivered to the store: `models/RUN/model.safetensors` and `model.json` in its
home, or all files of the release that the model is of.

A model is there as a whole or not at all, and stays until a later one of its own run replaces it
or a person removes it: no other model can displace it. The policy limits the space of all of them;
a model that does not fit is refused. So is a release that no key signed which is pinned here, and a
model without a release in place of one with it.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedshelf.client.failures import StoreError
from fedshelf.common.errors import DataError, FedshelfError, MessageError
from fedshelf.common.models import saved
from fedshelf.common.models.model_file import is_described_by
from fedshelf.common.names import (
    DESCRIPTION_FILE,
    ENVELOPE_FILE,
    OWN_MODEL_FOLDER,
    WEIGHTS_FILE,
)
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS
from fedshelf.common.protocol.model_delivery import DeliverOrder, ModelReceipt
from fedshelf.common.release.envelope import ListedFile, open_envelope
from fedshelf.common.release.keys import pinned_keys
from fedshelf.common.release.verify import is_release, verify_release_of
from fedshelf.common.system.files import sync_directory, write_bytes
from fedshelf.common.text import sanitize

MAX_MODEL_BYTES = 2**30  # limit of one model, with all files of its release
# least bytes that a model counts for, so that the number of tiny ones is limited, too
MIN_COUNTED_BYTES = 10**6
# prefixes of folders that an interrupted process may leave behind
_NEW_PREFIX = ".new-"
_OLD_PREFIX = ".old-"


class DeliveredModels:
    """The delivered models of the store `name`, in `directory`; a
    `client.worker.protocol.ModelKeeper`.

    Args:
        max_bytes: Bytes that all of them may take; 0: no limit.
        check_allowed: Raises StoreError for a model that the store's policy does not allow.
        report: Shows a line to the person at the store.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        max_bytes: float,
        check_allowed: Callable[[DeliverOrder], None],
        report: Callable[[str], None],
    ) -> None:
        self._name = name
        self._directory = directory
        self._max_bytes = max_bytes
        self._check_allowed = check_allowed
        self._report = report
        self._reported_recalls = set[str]()

    def receive(self, order: DeliverOrder) -> ModelReceipt:
        """Keep a model, or answer whether an offered one has to be sent.

        Raises StoreError for a model that is refused, MessageError for one that is not as
        described, OSError.
        """
        self._check_allowed(order)
        listed = _trusted_release(order)
        size = sum(file.size for file in listed.values()) or order.size + len(order.description)
        if size > MAX_MODEL_BYTES:
            message = (
                f"The model of run {order.run} has {size:,} bytes; at most"
                f" {MAX_MODEL_BYTES:,} are taken."
            )
            raise StoreError("refused", message, "model-too-large")
        # first: a process that was killed may have left the wanted model half renamed
        self._repair()
        self._report_recall(order)
        is_kept = self._is_kept(order)
        if not is_kept:
            self._check_signed(order)
            self._check_room(order, size)
        if not is_kept and order.content is not None:
            self._write(order, order.content)
            is_kept = True
        return ModelReceipt(self._name, order.run_id, order.sha256, is_kept)

    def _report_recall(self, order: DeliverOrder) -> None:
        """Report once if the kept model was called back; another one replaces it."""
        folder = self._folder(order)
        with suppress(OSError, DataError):
            sha256 = _read_description((folder / DESCRIPTION_FILE).read_bytes()).get("sha256")
            if sha256 in order.recalled and sha256 not in self._reported_recalls:
                self._reported_recalls.add(sha256)
                self._report(
                    f"The server took back the model of run {order.run} in {folder}, because it"
                    " comes from a spoilt round. Do not use it; another model will replace it."
                )

    def _is_kept(self, order: DeliverOrder) -> bool:
        """Return whether exactly this model is here, read again from the disk."""
        folder = self._folder(order)
        try:
            description = _read_description((folder / DESCRIPTION_FILE).read_bytes())
            with (folder / WEIGHTS_FILE).open("rb") as file:
                is_same = (
                    description.get("sha256")
                    == hashlib.file_digest(file, "sha256").hexdigest()
                    == order.sha256
                )
            if is_same and order.release:
                verify_release_of(folder / WEIGHTS_FILE)
                envelope = (folder / ENVELOPE_FILE).read_bytes()
                is_same = envelope == order.release[ENVELOPE_FILE]
            return is_same
        except (OSError, DataError):
            return False

    def _write(self, order: DeliverOrder, content: bytes) -> None:
        """Write a model beside the others, then rename it into place."""
        if len(content) != order.size or hashlib.sha256(content).hexdigest() != order.sha256:
            raise MessageError(
                f"The model of run {order.run} is not the one that its SHA-256 names"
                f" ({order.sha256[:12]}); not kept."
            )
        self._directory.mkdir(mode=0o700, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=self._directory))
        try:
            files = {WEIGHTS_FILE: content, DESCRIPTION_FILE: order.description, **order.release}
            for name, data in files.items():
                write_bytes(new / name, data, private=True)
            # before the rename: a model that nobody can use never replaces a good one
            _check_files(new, order, content)
            own = self._make_own(new)
            folder = self._folder(order)
            old = self._directory / f"{_OLD_PREFIX}{folder.name}"
            if folder.exists():
                # kept until the new one is in place: at any moment one of the two is whole
                folder.rename(old)
            new.rename(folder)
            sync_directory(self._directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)
        if order.release:
            self._report(f"The release of run {order.run} has arrived: {folder}")
        else:
            self._report(f"The model of run {order.run} has arrived: {folder / WEIGHTS_FILE}")
        # it was made in the temporary folder, and names it
        self._report(own.replace(str(new), str(folder)))

    def _make_own(self, folder: Path) -> str:
        """Make the store's own model of the chain's, if the store has parts of its own; return what
        to report.
        """
        from fedshelf.client.worker.export import export_own

        try:
            exported = export_own(folder, self._name, folder / OWN_MODEL_FOLDER)
        # the chain's model is kept, whatever the fault of the store's own parts
        except FedshelfError as error:
            return f"No model of its own was made for this store: {sanitize(str(error))}"
        return " ".join(
            [
                f"The model for this store's own photos, made from it: {exported.path}.",
                *exported.differences,
            ]
        )

    def _folder(self, order: DeliverOrder) -> Path:
        """Return the folder for the model of this run: the run's name, with its identity if that
        name is taken.
        """
        names = (order.run, f"{order.run}-{order.run_id[:8]}", f"{order.run}-{order.run_id}")
        folders = [self._directory / name for name in names]
        return next((folder for folder in folders if _is_for(folder, order.run_id)), folders[-1])

    def _repair(self) -> None:
        """Repair what a killed process left: remove half-written models, restore one whose
        successor is missing.
        """
        for left in self._directory.glob(f"{_NEW_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        for old in self._directory.glob(f"{_OLD_PREFIX}*"):
            folder = self._directory / old.name.removeprefix(_OLD_PREFIX)
            with suppress(OSError):
                shutil.rmtree(old) if folder.exists() else old.rename(folder)

    def _check_signed(self, order: DeliverOrder) -> None:
        """Check that no model without a release replaces one with it; raise StoreError if so."""
        folder = self._folder(order)
        if not order.release and is_release(folder):
            message = (
                f"The model of run {order.run} comes without a release, and does not replace the"
                f" release in {folder}; remove that folder if you want it."
            )
            raise StoreError("refused", message, "no-release")

    def _check_room(self, order: DeliverOrder, size: int) -> None:
        """Check that there is room for a model beside those of other runs; raise StoreError if
        not.
        """
        if not self._max_bytes:
            return
        replaced = self._folder(order)
        others = [path for path in self._directory.glob("*") if path.is_dir() and path != replaced]
        used_bytes = sum(max(_folder_bytes(path), MIN_COUNTED_BYTES) for path in others)
        needed_bytes = max(size, MIN_COUNTED_BYTES)
        if used_bytes + needed_bytes > self._max_bytes:
            message = (
                f"The model of run {order.run} has {needed_bytes / 1e6:.1f} MB; those of other runs"
                f" in {self._directory} take {used_bytes / 1e6:.1f} of"
                f" {self._max_bytes / 1e6:g} MB: remove some that nobody needs, or allow more"
                " (megabytes_of_models in the policy)."
            )
            raise StoreError("policy", message, "megabytes-of-models", MAX_RETRY_AFTER_SECONDS)


def _trusted_release(order: DeliverOrder) -> Mapping[str, ListedFile]:
    """Return the files of the release that a model is of, by their names; none: it is of none.

    Raises StoreError if no pinned key signed it, ConfigError.
    """
    if not order.release:
        return {}
    try:
        source = f"The release of run {order.run}"
        return open_envelope(order.release[ENVELOPE_FILE], pinned_keys(), source)
    except DataError as error:
        raise StoreError("refused", str(error), "release-key") from error


def _is_for(folder: Path, run_id: str) -> bool:
    """Return whether a folder may hold the model of this run: it does already, or does not
    exist.
    """
    if not folder.exists():
        return True
    try:
        return bool(
            _read_description((folder / DESCRIPTION_FILE).read_bytes())["provenance"]["run_id"]
            == run_id
        )
    except (OSError, DataError, KeyError, TypeError):
        return False


def _folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_files(folder: Path, order: DeliverOrder, content: bytes) -> None:
    """Check that the files are a model of that run and its description; raise MessageError if
    not.
    """
    try:
        model = saved.read(folder)
        description = _read_description(order.description)
        is_consistent = (
            description["provenance"]["run_id"] == order.run_id
            and description["sha256"] == order.sha256
        )
        is_consistent &= (
            description["classes"] == list(model.spec.classes)
            and description["name"] == model.spec.name == order.network
        )
        is_consistent &= is_described_by(content, description)
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        is_consistent = False
    if not is_consistent:
        raise MessageError(
            f"The model of run {order.run} and its {DESCRIPTION_FILE} do not fit together; it is"
            " refused."
        )


def _read_description(content: bytes) -> dict[str, Any]:
    """Parse a `model.json`. Raises DataError if it is invalid."""
    try:
        description = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"A {DESCRIPTION_FILE} cannot be read: {sanitize(str(error))}.") from error
    if not isinstance(description, dict):
        raise DataError(
            f"A {DESCRIPTION_FILE} holds {type(description).__name__}; expected an object."
        )
    return description
