"""Messages about the work on a store's console."""

from pathlib import Path

import pytest

from fedshelf.client.process.console import say
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.config import RunConfig
from fedshelf.common.images.types import StoreData
from fedshelf.common.protocol.messages import EvaluateOrder, Plan, StoreInfo
from tests.helpers.frozen_backbone import frozen_backbone
from tests.helpers.simulated_stores import CLASSES, CPU, photos, settings, start


class Held:
    """12 photos to train on, 5 for validation and 4 for testing."""

    def describe(self, config: RunConfig) -> StoreInfo:
        return StoreInfo("store-1", dict.fromkeys(CLASSES, 4), 5, 4)

    def open(self, plan: Plan) -> StoreData:
        return StoreData(photos(12, 16), photos(5, 16, seed=1), photos(4, 16, seed=2))

    def check_changes(self) -> bool:
        return False


def test_a_judgement_names_the_photos_that_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = start(settings(model__name="niid-cnn"))
    worker = StoreWorker("store-1", Held(), Trainer(CPU, StateStore(tmp_path)), report=say)
    worker.evaluate(EvaluateOrder(begun.plan, 3, begun.params, "validation"))
    worker.evaluate(EvaluateOrder(begun.plan, 3, begun.params, "test"))
    validation, test = (
        line[len("2026-11-29 01:02:03 ") :] for line in capsys.readouterr().out.splitlines()
    )
    assert validation.startswith("Round 3: the global model is right on ")
    assert validation.endswith("% of 5 validation photos.")
    assert test.endswith("% of 4 test photos.")


def test_photos_that_pass_through_the_frozen_part_are_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    begun = start(settings(**frozen_backbone(), data__crop=0))
    worker = StoreWorker("store-1", Held(), Trainer(CPU, StateStore(tmp_path)), report=say)
    worker.evaluate(EvaluateOrder(begun.plan, 3, begun.params, "test"))
    once = capsys.readouterr().out
    assert "Photos through the frozen part of the model, once: 1 of 12." in once
    assert "Photos through the frozen part of the model, once: 12 of 12." in once
    assert "This takes" not in once  # too few photos to tell the time from
    worker.evaluate(EvaluateOrder(begun.plan, 4, begun.params, "test"))
    again = capsys.readouterr().out
    assert "Round 4" in again
    assert "frozen part" not in again
