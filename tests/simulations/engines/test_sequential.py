"""The engine `sequential` with worker processes: what it begins ahead of time changes nothing."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, Update
from fedshelf.simulations.engines.sequential import SequentialEngine, num_workers
from tests.helpers.simulated_stores import alone, federation, order, settings, start, trained

SIZES = (13, 1, 30, 8, 17)
NAMES = [f"store-{number}" for number in range(len(SIZES))]
CONFIG = settings(model__name="niid-cnn", run__workers=2, train__epochs=1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SequentialEngine]:
    with closing(SequentialEngine(federation(SIZES), start(CONFIG), tmp_path)) as engine:
        yield engine


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, Update]:
    return alone(federation(SIZES), CONFIG, tmp_path / "alone")


def equal(
    engine: SequentialEngine, asked: object, stores: list[str], expected: dict[str, Update]
) -> bool:
    found = trained(engine, asked, stores)
    assert sorted(found) == sorted(stores)
    return all(torch.equal(update.params, expected[name].params) for name, update in found.items())


def test_what_was_expected_and_is_asked(
    engine: SequentialEngine, expected: dict[str, Update]
) -> None:
    asked = order(start(CONFIG))
    engine.prefetch_training(asked, NAMES)
    judged = engine.evaluate_test_set(asked.params)  # meanwhile
    assert judged.num_examples == 50
    assert equal(engine, asked, NAMES, expected)


@pytest.mark.parametrize("judging", [True, False])
def test_what_was_expected_and_is_not_asked(
    engine: SequentialEngine, expected: dict[str, Update], judging: bool
) -> None:
    """Another cohort of the same model, then another model in the same places of memory."""
    begun = start(CONFIG)
    asked = order(begun)
    other = torch.zeros_like(begun.params)
    engine.prefetch_training(order(begun, committed=1), NAMES[1:])
    if judging:
        engine.evaluate_test_set(other)
    assert equal(engine, asked, NAMES, expected)
    engine.prefetch_training(order(begun), NAMES)
    if judging:
        engine.evaluate_test_set(other)
    zeros = trained(engine, order(type(begun)(begun.plan, other, begun.layout)), NAMES)
    assert not any(torch.equal(zeros[name].params, expected[name].params) for name in NAMES)
    assert equal(engine, asked, NAMES, expected)


def test_stores_with_few_images_are_judged_together(engine: SequentialEngine) -> None:
    """Store k holds k images out; the first none."""
    asked = EvaluateOrder(start(CONFIG).plan, 1, start(CONFIG).params)
    answers = list(engine.evaluate(asked, NAMES[1:]))
    assert all(isinstance(answer, Evaluation) for answer in answers)
    assert {a.store: a.counts.num_examples for a in answers} == {
        name: n for n, name in enumerate(NAMES) if n
    }


def test_processes_count_how_sure_the_model_is_as_one_does(
    engine: SequentialEngine, tmp_path: Path
) -> None:
    begun = start(CONFIG)
    dealt = federation(SIZES)
    trainer = Trainer(torch.device("cpu"), StateStore(tmp_path))
    asked = EvaluateOrder(begun.plan, 1, begun.params, "test", (1.0, 3.0))
    assert dealt.test is not None
    own = trainer.evaluate(asked, {name: dealt.stores[name].test for name in NAMES[1:]})
    whole = trainer.evaluate(asked, {"": dealt.test})[0].counts
    answers = {
        a.store: a.counts for a in engine.evaluate(asked, NAMES[1:]) if isinstance(a, Evaluation)
    }
    for found, expected in [(answers[e.store], e.counts) for e in own] + [
        (engine.evaluate_test_set(begun.params, (1, 3)), whole)
    ]:
        assert found.reliability is not None
        assert expected.reliability is not None
        assert (found.reliability.images == expected.reliability.images).all()
        assert (found.reliability.energies == expected.reliability.energies).all()
        assert found.reliability.nll.tolist() == expected.reliability.nll.tolist()


def test_several_processes_are_for_a_cpu_only() -> None:
    assert num_workers(settings(run__workers=3)) == 3
    assert (
        num_workers(settings(run__device="cuda"))
        == num_workers(settings(run__device="cuda", run__workers=1))
        == 1
    )
    with pytest.raises(
        ConfigError, match=r"run\.workers got 2 with device cuda:1.*--engine batched"
    ):
        num_workers(settings(run__device="cuda:1", run__workers=2))
