"""The server goes on from a sum as from the single updates, but for the rounding of the ring."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import (
    Failure,
    StoreInfo,
    Summand,
    SumTotal,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies.shared.class_skew import images_by_class, keep_absent_rows
from fedshelf.common.strategies.shared.local_training import normalized_steps
from fedshelf.common.strategies.shared.normalized_steps import NORMALIZED_STEPS
from fedshelf.common.training.fit import Network
from fedshelf.common.training.summand import make_summand
from fedshelf.server.updates import secure_sums
from fedshelf.simulations.federation.plain_sums import plain_sum
from tests.helpers.secure_sums import SumChain, play
from tests.helpers.small_plan import CONFIG, CPU, PLAN

CLASSES = PLAN.spec.classes
STORES = {"oslo": (12, 0), "rome": (5, 9), "kyiv": (1, 30), "lima": (8, 8)}
SUMS = [
    name
    for name, strategy in strategies.STRATEGIES.items()
    if not strategies.needs_single_updates(strategy)
]


def network(spec: ModelSpec = PLAN.spec) -> Network:
    return Network(spec, CPU, seed=1)


def config_of(name: str, **settings: object) -> RunConfig:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return resolve(
        flatten(CONFIG),
        {"strategy.name": name, "privacy.secure_sum": True, "cohort.min_stores": 3},
        given,
    )


class Round:
    """One round of four stores whose updates are drawn, not trained.

    Attributes:
        order: with the terms of a secure sum
        updates: by store
    """

    def __init__(self, config: RunConfig, change: float = 0.01) -> None:
        # FedBN keeps norms at the stores, which the small network has not
        spec = replace(PLAN.spec, name="cnn") if config.strategy.name == "fedbn" else PLAN.spec
        net = network(spec)
        self.layout = net.layout
        self.strategy = strategies.build(config.strategy, net.layout)
        self.present = {
            name: StoreInfo(name, dict(zip(CLASSES, counts, strict=True)), 0, 0)
            for name, counts in {**STORES, "cairo": (3, 3)}.items()
        }
        self.cohort = {name: self.present[name] for name in STORES}
        self.params = net.vector.detach().clone()
        self.state = self.strategy.init_server_state(self.params, net.layout.trainable)
        self.order = TrainOrder(
            replace(PLAN, config=config),
            1,
            self.params,
            self.strategy.extras(self.state),
            terms=secure_sums.terms(config, list(STORES), self.present),
        )
        self.updates = {name: self._update(name, config, change) for name in STORES}

    def _update(self, name: str, config: RunConfig, change: float) -> Update:
        draws = torch.Generator().manual_seed(sum(map(ord, name)))
        images = sum(STORES[name])
        steps = -(-images // config.train.batch) * config.train.passes
        reach = normalized_steps(steps, config.train.lr, config.train.momentum)
        expected = self.strategy.expected_extras(self.layout.trainable)
        moved = self.params + change * torch.randn(self.params.shape, generator=draws)
        for own in map(self.layout.slice_of, self.strategy.personal_tensors()):
            moved[own] = self.params[own]  # as `withhold_personal` leaves it
        return Update(
            name,
            1,
            moved,
            images,
            loss=0.5 + images / 100,
            seconds=1.0,
            extras={NORMALIZED_STEPS: torch.tensor([reach])} if expected else {},
            steps=steps,
        )

    def images(self, name: str) -> Images:
        labels = torch.repeat_interleave(torch.arange(2), torch.tensor(STORES[name]))
        return Images.whole(torch.zeros(len(labels), 16, 16, 3, dtype=torch.uint8), labels)

    def summand(self, name: str, unsent: Tensor | None = None) -> tuple[Summand, Tensor | None]:
        made = make_summand(
            self.order, self.updates[name], self.images(name), self.strategy, self.layout, unsent
        )
        assert made is not None
        return made

    def summed(self) -> tuple[Tensor, Tensor]:
        """Return the next model and the mean loss, by the sum."""
        outcome = secure_sums.collect(
            self.order,
            self.cohort,
            self.present,
            plain_sum(1, [self.summand(name)[0] for name in STORES]),
            self.strategy,
            self.layout,
        )
        assert outcome.stores == tuple(sorted(STORES))
        (update,) = outcome.updates
        assert update.num_examples == sum(map(sum, STORES.values()))
        return self._next(outcome.updates), torch.tensor(update.loss)

    def one_by_one(self) -> Tensor:
        """Return the next model, by the single updates."""
        updates = [self.updates[name] for name in sorted(STORES)]
        if self.order.plan.config.strategy.absent != "full":
            updates = [
                replace(
                    update,
                    images_by_class=images_by_class(
                        self.present[update.store], CLASSES, update.num_examples
                    ),
                )
                for update in updates
            ]
        return self._next(updates)

    def _next(self, updates: list[Update]) -> Tensor:
        model, state = self.strategy.update_global_model(
            self.params, updates, self.state, self.layout.trainable, self.present
        )
        by_class = [update.images_by_class for update in updates]
        model = keep_absent_rows(self.params, model, by_class, self.layout)
        return torch.cat([model, *(tensor.flatten().float() for tensor in state.values())])


@pytest.mark.parametrize("weighting", ["images", "uniform"])
@pytest.mark.parametrize("absent", ["full", "weigh"])
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_makes_the_model_of_the_single_updates(
    name: str, absent: str, weighting: str
) -> None:
    config = config_of(name, strategy__absent_classes=absent, strategy__weighting=weighting)
    one = Round(config)
    summed, loss = one.summed()
    # adaptive optimizers divide by small moments, SCAFFOLD by small steps
    torch.testing.assert_close(summed, one.one_by_one(), rtol=1e-4, atol=1e-5)
    images = {name: sum(counts) for name, counts in STORES.items()}
    wanted = sum((0.5 + n / 100) * n for n in images.values()) / sum(images.values())
    assert float(loss) == pytest.approx(wanted, abs=1e-5)


def test_strategies_that_are_sums_are_those_of_the_design() -> None:
    assert SUMS == [
        "fedavg", "fedprox", "fedper", "feddyn", "scaffold", "fednova", "fedbn", "fedavgm",
        "fedadam", "fedyogi", "fedadagrad",
    ]  # fmt: skip


def test_a_store_that_does_not_answer_is_not_in_the_sum() -> None:
    one = Round(config_of("fedavg"))
    failure = Failure("rome", "no-images", "it has no training images")
    answers = plain_sum(1, [one.summand("oslo")[0], failure, one.summand("kyiv")[0]])
    outcome = secure_sums.collect(
        one.order, one.cohort, one.present, answers, one.strategy, one.layout
    )
    assert outcome.stores == ("kyiv", "oslo")
    assert {name: f.code for name, f in outcome.failed.items()} == {
        "lima": "timeout",
        "rome": "no-images",
    }
    (update,) = outcome.updates
    assert update.num_examples == 12 + 31
    assert update.wire_bytes == 2 * one.summand("oslo")[0].vector.nbytes
    nobody = secure_sums.collect(one.order, one.cohort, one.present, [], one.strategy, one.layout)
    assert nobody.stores == ()
    assert nobody.updates == []


def test_a_long_update_is_shortened_and_counted() -> None:
    config = config_of("fedavg", privacy__sum_bound=1.0)
    one = Round(config)  # changes of norm 0.01 sqrt(P), about 1.7
    summands = [one.summand(name)[0] for name in STORES]
    (total,) = plain_sum(1, summands)
    assert isinstance(total, SumTotal)
    update = secure_sums.read(one.order, total, one.strategy, one.layout)
    assert update.shortened == len(STORES)
    wanted = torch.zeros_like(one.params)
    for name, counts in STORES.items():
        change = one.updates[name].params - one.params
        assert float(change.norm()) > 1
        wanted += change / change.norm() * sum(counts)
    wanted /= sum(map(sum, STORES.values()))
    torch.testing.assert_close(update.params - one.params, wanted, rtol=0, atol=1e-7)


def test_an_update_that_is_not_finite_has_no_summand() -> None:
    one = Round(config_of("fedavg"))
    one.updates["rome"].params[5] = torch.nan
    made = make_summand(
        one.order, one.updates["rome"], one.images("rome"), one.strategy, one.layout, None
    )
    assert made is None


def test_a_loss_that_a_store_withholds_leaves_no_mean_loss() -> None:
    one = Round(config_of("fedavg"))
    one.updates["rome"] = replace(one.updates["rome"], loss=None)
    (total,) = plain_sum(1, [one.summand(name)[0] for name in STORES])
    assert isinstance(total, SumTotal)
    assert secure_sums.read(one.order, total, one.strategy, one.layout).loss is None


@pytest.mark.parametrize("compression", ["fp16", "int8"])
@pytest.mark.parametrize("absent", ["full", "weigh"])
def test_two_bytes_a_coordinate_lose_nothing_in_the_long_run(absent: str, compression: str) -> None:
    """The stores move by the same change in each round; what a round rounds off comes later."""
    config = config_of("fedavg", messages__compression=compression, strategy__absent_classes=absent)
    one = Round(config, change=0.001)
    rounds = 30
    moved = torch.zeros_like(one.params)
    unsent: dict[str, Tensor | None] = dict.fromkeys(STORES)
    for turn in range(rounds):
        summands = []
        for name in STORES:
            summand, unsent[name] = one.summand(name, unsent[name])
            assert summand.vector.dtype == torch.int16
            summands.append(summand)
        (total,) = plain_sum(1, summands)
        assert isinstance(total, SumTotal)
        update = secure_sums.read(one.order, total, one.strategy, one.layout)
        moved += update.params - one.params
        if turn == 0:
            first = float((moved - (one.one_by_one()[: len(moved)] - one.params)).norm())
    wanted = one.one_by_one()[: len(moved)] - one.params
    assert update.wire_bytes < 4 * len(one.params) * len(STORES) * 0.51
    assert float((moved / rounds - wanted).norm()) < 0.1 * first


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strategy__name": "median"}, "got 'median'"),
        ({"strategy__name": "trimmed-mean"}, "got 'trimmed-mean'"),
        ({"strategy__name": "krum"}, "got 'krum'"),
        ({"strategy__name": "multi-krum"}, "got 'multi-krum'"),
        ({"strategy__name": "ridge"}, "got 'ridge'"),
        ({"screening__detect": "on"}, "not visible by design"),
        ({"screening__suspects": "exclude"}, "suspects=exclude"),
        ({"screening__suspects": "clip"}, "suspects=clip"),
        ({"messages__compression": "top-k"}, "top-k"),
        ({"messages__compression": "fp16", "strategy__name": "scaffold"}, "scaffold"),
        ({"train__seconds": 5}, "train.seconds"),
        ({"cohort__min_stores": 2}, "min_stores=2"),
    ],
)
def test_settings_that_break_a_sum_are_refused_by_name(
    settings: dict[str, object], words: str
) -> None:
    config = config_of("fedavg", **settings)
    with pytest.raises(ConfigError, match=words):
        secure_sums.check(config, network().layout)
    without = resolve(flatten(config), {"privacy.secure_sum": False})
    secure_sums.check(without, network().layout)


def test_sixteen_bits_are_refused_for_too_many_stores() -> None:
    config = config_of("fedavg", messages__compression="fp16")
    secure_sums.check_stores(config, 2000)
    with pytest.raises(ConfigError, match="16 steps"):
        secure_sums.check_stores(config, 2048)
    secure_sums.check_stores(config_of("fedavg"), 2048)


def test_the_bytes_of_a_sum_are_those_of_plain_updates() -> None:
    """1.02 times with 30 stores of 62,006 parameters, all messages together."""
    chain = SumChain(30)
    size = Round(config_of("fedavg")).summand("oslo")[0].vector.numel() - network().layout.size
    vectors = chain.vectors(62_006 + size)
    sent = [0]

    def count(data: bytes) -> bytes:
        sent[0] += len(data)
        return data

    play(chain, vectors, {}, pass_on=count)
    assert sent[0] / 30 < 1.02 * 4 * 62_006
    # beside 11 million parameters the rest is nothing
    assert sent[0] / 30 - 4 * 62_006 < 0.001 * 4 * 11_173_962
