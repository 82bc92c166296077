"""A release behind HTTP: used as it was signed, and replaced by a newer one while clients ask."""

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fedshelf.common.inference.release.folder import write_release
from fedshelf.common.names import ONNX_FILE
from fedshelf.common.release.keys import RELEASE_KEY_VARIABLE, read_private_key
from tests.helpers.exported_models import save_exported
from tests.helpers.hand_made_models import write_colour_classifier
from tests.helpers.released_models import save_locator_release, save_release
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

    ask: asks once
    answers: status and model version of each answer
    """

    def __init__(self, ask: Callable[[], httpx.Response]) -> None:
        self._ask_once = ask
        self._stop = threading.Event()
        self.answers: list[tuple[int, str]] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            answer = self._ask_once()
            self.answers.append((answer.status_code, answer.json()["model"]["version"]))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def taken_up(serving: Serving) -> None:
    """Wait until the service has a newer model; it may have looked between the two renames."""
    while not (told := serving.says()).startswith("Now version"):
        assert told.startswith("The model stays the one before.")


def refused(serving: Serving) -> None:
    """Wait until the service has refused a changed file; the same holds here."""
    while "model.onnx was changed" not in (told := serving.says()):
        assert told.startswith("The model stays the one before.")


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
        asking = Asking(lambda: serving.classify(PHOTO))
        put_in_place(release, tmp_path / "newer")
        taken_up(serving)
        second = serving.classify(PHOTO).json()["model"]["version"]
        (release.with_name("old")).rename(tmp_path / "older")
        put_in_place(release, tmp_path / "forged")
        refused(serving)
        assert serving.classify(PHOTO).json()["model"]["version"] == second
        asking.stop()
    assert second != first
    assert set(asking.answers) == {(200, first), (200, second)}


def test_a_newer_release_of_the_locator_is_taken_up_and_no_request_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locator, public = save_locator_release(tmp_path)
    monkeypatch.setenv(RELEASE_KEY_VARIABLE, public)
    counting = {"counting": {"threshold": 0.4}}
    newer, _ = save_locator_release(tmp_path, "newer", provenance=counting)
    forged, _ = save_locator_release(tmp_path, "forged")
    (forged / ONNX_FILE).write_bytes((forged / ONNX_FILE).read_bytes()[:-1])
    classifier = write_colour_classifier(tmp_path / "colours.onnx")
    with serving_process(classifier, "--locator", locator) as serving:
        first = serving.locate(PHOTO).json()
        asking = Asking(lambda: serving.locate(PHOTO))
        put_in_place(locator, newer)
        taken_up(serving)
        second = serving.locate(PHOTO).json()
        locator.with_name("old").rename(tmp_path / "older")
        put_in_place(locator, forged)
        refused(serving)
        assert serving.locate(PHOTO).json() == second
        asking.stop()
    assert (first["score"], second["score"]) == (0.3, 0.4)
    versions = {answer["model"]["version"] for answer in (first, second)}
    assert set(asking.answers) == {(200, version) for version in versions}
