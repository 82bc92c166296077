"""A simulated secure sum is that of the real protocol, in one process and in several."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    SumTerms,
    SumTotal,
    TrainOrder,
)
from fedshelf.common.protocol.secure_sum import ring_elements
from fedshelf.server.updates import secure_sums
from fedshelf.simulations import engines
from fedshelf.simulations.engines.sequential import SequentialEngine
from tests.helpers.secure_sums import SumChain, play
from tests.helpers.simulated_stores import federation, order, settings, start

SIZES = (13, 8, 30)
NAMES = [f"store-{number}" for number in range(len(SIZES))]
HIDDEN = {"privacy__secure_sum": True, "cohort__min_stores": 3, "model__name": "niid-cnn"}


def config_of(workers: int, **given: object) -> RunConfig:
    return settings(**HIDDEN, run__workers=workers, **given)


def asked(config: RunConfig) -> TrainOrder:
    return replace(order(start(config)), terms=SumTerms(len(SIZES), max(SIZES)))


def engine_of(config: RunConfig, path: Path) -> SequentialEngine:
    return SequentialEngine(federation(SIZES), start(config), path)


@pytest.mark.parametrize("compression", ["none", "fp16"])
def test_the_engines_sum_is_that_of_masked_vectors(tmp_path: Path, compression: str) -> None:
    config = config_of(1, messages__compression=compression)
    trainer = Trainer(torch.device("cpu"), StateStore(tmp_path / "alone"))
    stores = federation(SIZES).stores
    vectors = [
        ring_elements(trainer.train_summand(asked(config), name, stores[name].train).vector)
        for name in NAMES
    ]
    chain = SumChain(len(SIZES))
    masked, _ = play(chain, dict(zip(chain.names, vectors, strict=True)), {})
    for workers in (1, 2):
        several = config_of(workers, messages__compression=compression)
        with closing(engine_of(several, tmp_path / str(workers))) as engine:
            engine.prefetch_training(asked(several), NAMES)
            (total,) = engine.train(asked(several), NAMES)
        assert isinstance(total, SumTotal)
        assert total.stores == tuple(NAMES)
        assert (ring_elements(total.vector) == masked).all()


def test_the_sum_of_judgements_has_the_counts_of_all_stores(tmp_path: Path) -> None:
    config = config_of(1)
    plain = EvaluateOrder(start(config).plan, 1, start(config).params, "test")
    with closing(engine_of(config, tmp_path)) as engine:
        single = [a for a in engine.evaluate(plain, NAMES) if isinstance(a, Evaluation)]
        held_out = {answer.store: answer.counts.num_examples for answer in single}
        order = replace(plain, terms=secure_sums.judgement_terms(config, held_out))
        (found,) = secure_sums.judgements(order, engine.evaluate(order, NAMES)).values()
    assert (found.counts.confusion == sum(answer.counts.confusion for answer in single)).all()
    losses = [answer.counts.loss_sum for answer in single]
    assert found.counts.loss_sum == pytest.approx(sum(filter(None, losses)), rel=1e-6)
    assert found.adjusted is None


def test_other_engines_refuse_secure_sums() -> None:
    for given in ({"run__engine": "batched"}, {"run__engine": "ray"}, {"run__ray_address": "auto"}):
        with pytest.raises(ConfigError, match="single updates only"):
            engines.choose(start(config_of(1, **given)))
    assert engines.choose(start(config_of(1))) == "sequential"
