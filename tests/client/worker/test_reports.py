"""Messages about the work on a store's console."""

from pathlib import Path

import pytest

from fedshelf.client.process.console import say
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.worker import StoreWorker, Trainer
from fedshelf.common.config import RunConfig
from fedshelf.common.images.types import StoreData
from fedshelf.common.protocol.messages import EvaluateOrder, Plan, StoreInfo
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
