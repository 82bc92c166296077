"""Checks of the training itself: the server's test photos, and Flower's processes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedshelf.server.addresses import LOOPBACK, Address, free_port
from fedshelf.server.check.finding import CheckFinding, CheckSubject


def test_photos(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Read the test photos, if there are to be any, as a run reads them.

    Raises:
        DataError: they cannot be read.
    """
    if not subject.config.evaluation.test_data:
        yield CheckFinding(
            "ok",
            "test data",
            "No test photos are configured: the model is evaluated on images that the stores hold"
            " out.",
        )
        return
    from fedshelf.common.images.folder.left_out import format_left_out

    # loads torch
    from fedshelf.common.images.folder.photo_folder import FolderOptions, open_folder, relabel
    from fedshelf.common.models.spec import STORE_CHANNELS
    from fedshelf.server.training.setup import settle

    config = settle(subject.config, None, STORE_CHANNELS)
    folder = open_folder(
        Path(config.evaluation.test_data),
        image_size=config.data.image_size,
        channels=STORE_CHANNELS,
        denoise=config.data.denoise,
        options=FolderOptions(classes=config.data.classes),
    )
    count = sum(len(images) for images in folder.splits.values())
    message = (
        f"{count:,} usable photos of {len(folder.classes)} classes in"
        f" {config.evaluation.test_data}."
    )
    if config.data.classes:
        relabel(folder, config.data.classes, merge=config.data.merge_spellings)
    if folder.left_out:
        yield CheckFinding(
            "warn", "test data", f"{message} Left out {format_left_out(folder.left_out)}."
        )
    else:
        yield CheckFinding("ok", "test data", message)


def flower(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Start Flower's processes with these credentials, and ask them through the gateway.

    They listen on another port of this machine only, so that no store takes them for the server.

    Raises:
        NetworkError: they do not answer.
    """
    from fedshelf.server.launcher.flower_server import FlowerServer

    with (
        tempfile.TemporaryDirectory(prefix="fedshelf-check-") as folder,
        FlowerServer(Path(folder) / "flower", Address(LOOPBACK, free_port()), subject.chain),
    ):
        pass
    yield CheckFinding("ok", "flower", "The SuperLink starts, and answers through the gateway.")
