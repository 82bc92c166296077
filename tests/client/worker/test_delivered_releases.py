"""A release that a run delivers: kept whole where a pinned key signed it, else refused."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.worker import delivered_models
from fedshelf.client.worker.delivered_models import DeliveredModels
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.errors import DataError, MessageError
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.onnx_predictor import OnnxPredictor
from fedshelf.common.names import (
    CARD_FILE,
    DESCRIPTION_FILE,
    ENVELOPE_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
)
from fedshelf.common.protocol.model_delivery import RELEASE_FILES, DeliverOrder
from fedshelf.common.protocol.serialization import decode_order, encode_order
from fedshelf.common.release.keys import RELEASE_KEY_VARIABLE, pin
from tests.helpers.released_models import save_release

RUN_ID = "a" * 32


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A release with its public key."""
    provenance = {"run_id": RUN_ID, "round": 1, "personal": []}
    return save_release(tmp_path_factory.mktemp("chain"), provenance=provenance)


@pytest.fixture
def order(released: tuple[Path, str]) -> DeliverOrder:
    files = {file.name: file.read_bytes() for file in released[0].iterdir()}
    content = files[WEIGHTS_FILE]
    told = files[DESCRIPTION_FILE]
    return DeliverOrder(
        RUN_ID,
        "shops",
        json.loads(told)["name"],
        told,
        hashlib.sha256(content).hexdigest(),
        len(content),
        content,
        release={name: files[name] for name in RELEASE_FILES},
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> DeliveredModels:
    """Those of a store that has pinned no key."""
    monkeypatch.delenv(RELEASE_KEY_VARIABLE, raising=False)
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    home = tmp_path / "state" / "stores" / "oslo"
    home.mkdir(parents=True)
    return DeliveredModels("oslo", home / "models", 0, lambda _: None, said.append)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "stores" / "oslo" / "models" / "shops"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_release_is_kept_as_it_was_signed_and_used_from_there(
    models: DeliveredModels,
    folder: Path,
    order: DeliverOrder,
    released: tuple[Path, str],
    said: list[str],
) -> None:
    pin(released[1])
    assert not models.receive(order.offer()).is_kept
    assert models.receive(order).is_kept
    assert contents(folder) == contents(released[0])
    assert said[0] == f"The release of run shops has arrived: {folder}"
    assert models.receive(order.offer()).is_kept
    assert isinstance(load(folder), OnnxPredictor)
    (folder / CARD_FILE).write_text("# Another card\n")
    with pytest.raises(DataError, match=r"card\.md was changed"):
        load(folder)
    assert not models.receive(order.offer()).is_kept  # so it is wanted again
    assert models.receive(order).is_kept
    assert contents(folder) == contents(released[0])


def test_without_the_pinned_key_it_is_refused_before_it_is_sent(
    models: DeliveredModels, folder: Path, order: DeliverOrder, released: tuple[Path, str]
) -> None:
    for given in (order.offer(), order):
        with pytest.raises(StoreError, match=r"none is pinned here.*pin-release-key") as refusal:
            models.receive(given)
    told = failure_of("oslo", refusal.value)
    assert (told.code, told.detail, told.retry_after) == ("refused", "release-key", 0)
    assert not folder.exists()
    pin(released[1])
    assert models.receive(order).is_kept


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda files: {**files, CARD_FILE: b"# Better\n"}, MessageError),
        (lambda files: {**files, ONNX_FILE: files[ONNX_FILE][:-1] + b"?"}, MessageError),
        (lambda files: {name: files[name] for name in (ENVELOPE_FILE, CARD_FILE)}, MessageError),
        (lambda files: {**files, ENVELOPE_FILE: files[ENVELOPE_FILE][:-2] + b"\n"}, StoreError),
        (lambda files: {**files, ENVELOPE_FILE: b""}, StoreError),
    ],
)
def test_what_was_not_signed_is_refused_and_the_model_before_stays(
    models: DeliveredModels,
    folder: Path,
    order: DeliverOrder,
    released: tuple[Path, str],
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    error: type[Exception],
) -> None:
    pin(released[1])
    models.receive(replace(order, release={}))
    before = contents(folder)
    with pytest.raises(error):
        models.receive(replace(order, release=change(dict(order.release))))
    assert contents(folder) == before
    assert models.receive(order).is_kept  # a release may replace a model without one
    assert contents(folder).keys() == contents(released[0]).keys()


def test_a_model_without_a_release_does_not_replace_one(
    models: DeliveredModels, folder: Path, order: DeliverOrder, released: tuple[Path, str]
) -> None:
    pin(released[1])
    models.receive(order)
    plain = replace(order, release={})
    assert models.receive(plain).is_kept  # the same model
    other = replace(plain, sha256="0" * 64)
    for given in (other.offer(), other):
        with pytest.raises(StoreError, match="does not replace the release in") as refusal:
            models.receive(given)
    assert failure_of("oslo", refusal.value).detail == "no-release"
    assert contents(folder) == contents(released[0])


@pytest.mark.usefixtures("models")
def test_all_files_of_a_release_need_room(
    tmp_path: Path,
    order: DeliverOrder,
    released: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivered_models, "MIN_COUNTED_BYTES", 1)
    pin(released[1])
    size = sum(map(len, contents(released[0]).values())) - len(order.release[ENVELOPE_FILE])
    tight = DeliveredModels("oslo", tmp_path / "tight", size - 1, lambda _: None, lambda _: None)
    with pytest.raises(StoreError, match="megabytes_of_models"):
        tight.receive(order.offer())
    fitting = DeliveredModels("oslo", tmp_path / "fits", size, lambda _: None, lambda _: None)
    assert fitting.receive(order).is_kept


def test_releases_travel_as_they_are(order: DeliverOrder, tmp_path: Path) -> None:
    frozen = FrozenCache(tmp_path)
    changes: tuple[dict[str, Any], ...] = ({}, {"release": {}})
    for given in (replace(order, **change) for change in changes):
        for sent in (given, given.offer()):
            assert decode_order(encode_order(sent), frozen) == sent
    without = replace(order, release={CARD_FILE: b"# A card\n"})
    with pytest.raises(MessageError, match=r"without its release\.json"):
        decode_order(encode_order(without), frozen)
