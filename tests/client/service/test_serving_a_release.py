"""A release behind HTTP: used as it was signed, and replaced by a newer one while clients ask."""

import threading
from pathlib import Path

import pytest

from fedshelf.common.inference.release.folder import write_release
from fedshelf.common.names import ONNX_FILE
from fedshelf.common.release.keys import RELEASE_KEY_VARIABLE, read_private_key
from tests.helpers.exported_models import save_exported
from tests.helpers.released_models import save_release
from tests.helpers.services import coloured
from tests.helpers.serving_process import Serving, serving_process

PHOTO = coloured(200, 90, 20, "JPEG")
CLIENTS = 3


def put_in_place(release: Path, newer: Path) -> None:
    """As a store does with a release that is delivered."""
    release.rename(release.with_name("old"))
    newer.rename(release)


class Asking:
    """Clients that ask until they are stopped.

    answers: status and model version of each answer
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._stop = threading.Event()
        self.answers: list[tuple[int, str]] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            answer = self._serving.classify(PHOTO)
            self.answers.append((answer.status_code, answer.json()["model"]["version"]))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_newer_release_is_taken_up_and_no_request_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, public = save_release(tmp_path)
    monkeypatch.setenv(RELEASE_KEY_VARIABLE, public)
    other = tmp_path / "other"
    onnx = save_exported(other, temperature=1.5)[1].read_bytes()
    key = read_private_key(tmp_path / "release.key")
    write_release(tmp_path / "newer", other, "# A newer card\n", onnx, key)
    write_release(tmp_path / "forged", other, "# A forged card\n", onnx, key)
    (tmp_path / "forged" / ONNX_FILE).write_bytes(onnx[:-1])
    with serving_process(release) as serving:
        first = serving.classify(PHOTO).json()["model"]["version"]
        asking = Asking(serving)
        put_in_place(release, tmp_path / "newer")
        told = serving.says()
        while not told.startswith("Now version"):  # it looked between the two renames
            assert told.startswith("The model stays the one before.")
            told = serving.says()
        second = serving.classify(PHOTO).json()["model"]["version"]
        (release.with_name("old")).rename(tmp_path / "older")
        put_in_place(release, tmp_path / "forged")
        while "model.onnx was changed" not in told:
            told = serving.says()
            assert told.startswith("The model stays the one before.")
        assert serving.classify(PHOTO).json()["model"]["version"] == second
        asking.stop()
    assert second != first
    assert set(asking.answers) == {(200, first), (200, second)}
