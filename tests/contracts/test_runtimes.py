"""The contract of every runtime: the same stores and settings give the same run, whatever carries
orders to stores.

The engine `sequential` in one process is the reference. All others equal it to the bit, but for
`batched`, whose sums run in another order. What a runtime cannot do it refuses in one sentence
before round 1.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.state_store import StateStore
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import (
    DetachedOrder,
    EvaluateOrder,
    SumPart,
    SumTerms,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.serialization import decode_order, encode_order
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.equality import same
from tests.helpers.frozen_backbone import closed_form
from tests.helpers.ray_nodes import ray_cluster
from tests.helpers.runtimes import (
    EMPTY,
    HELD_OUT,
    OPENERS,
    REFERENCE,
    SIZES,
    TESTED,
    Opener,
    Run,
    at,
    codes,
    engine,
    kept,
    play,
    stores,
)  # fmt: skip
from tests.helpers.sameness import (
    ROUNDED_TOLERANCE,
    is_judged_as_in_its_round,
    is_same_judgement,
    is_same_run,
    is_same_state,
)
from tests.helpers.simulated_stores import TOLERANCE, settings, start

RUNTIMES = [*OPENERS, pytest.param("ray", marks=pytest.mark.slow(minutes=0.1))]
EVERY_RUNTIME = pytest.mark.parametrize("runtime", RUNTIMES)
# each costs little; with Ray, each starts processes
OF_ONE_PROCESS = pytest.mark.parametrize("runtime", OPENERS)
EVERY_OTHER = pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != REFERENCE])
WITH_OWN_LAYERS = pytest.mark.parametrize(
    "runtime", [name for name in RUNTIMES if name != "batched"]
)
# five stores with few images: at the default their models blow up
GENTLE = {"strategy__server_lr": 0.01}
OWN_SETTINGS = {
    "fedadam": GENTLE,
    "fedyogi": GENTLE,
    "fedadagrad": GENTLE,
    "ridge": {"strategy__absent_classes": "weigh"},  # stores add their shares to the scores
    "trimmed-mean": {"strategy__trim": 0.3},  # at the default nothing is trimmed of four updates
}
# differential privacy of a store, all of which take part
NOISED = {
    "privacy__store_noise": 0.5, "strategy__weighting": "uniform", "screening__norm_factor": 0,
    "cohort__fraction": 1.0, "evaluation__patience": 0,
}  # fmt: skip
FIXED_CLIP = NOISED | {
    "privacy__store_noise": 0.05, "privacy__store_clip": 0.5, "strategy__name": "fedprox",
}  # fmt: skip


def config_of(strategy: str = "fedavg", **changed: object) -> RunConfig:
    """Five of six stores a round, two epochs; the best round comes early, and two rounds that are
    no better follow.
    """
    usual = {
        "model__name": "cnn", "train__epochs": 2, "run__rounds": 8, "strategy__name": strategy,
        "train__lr": 0.02, "cohort__fraction": 0.8, "evaluation__patience": 2,
        "evaluation__metrics": "top3,balanced_accuracy",
    }  # fmt: skip
    own = closed_form(strategy) if strategies.find(strategy).closed_form else {}
    own |= {"run__rounds": usual["run__rounds"]}
    return settings(**usual | own | OWN_SETTINGS.get(strategy, {}) | changed)


@pytest.fixture(scope="module")
def dealt() -> Federation:
    return stores()


@pytest.fixture(scope="module")
def reference(
    dealt: Federation, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[RunConfig], tuple[Run, Path]]:
    """The run that all others must equal, in one process that nothing interrupts, and where it is;
    played once.
    """
    played: dict[str, tuple[Run, Path]] = {}

    def reference(config: RunConfig) -> tuple[Run, Path]:
        key = config.model_dump_json()
        if key not in played:
            place = tmp_path_factory.mktemp("reference")
            played[key] = play(OPENERS[REFERENCE], dealt, config, place), place
        return played[key]

    return reference


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """One cluster for all tests; its first worker alone takes longer than most of them."""
    with ray_cluster(cpus=1) as cluster:
        yield cluster.address


@pytest.fixture
def opener(runtime: str, request: pytest.FixtureRequest) -> Opener:
    """Return the function that opens the runtime."""
    if runtime == "ray":
        return engine("ray", ray_address=request.getfixturevalue("ray_address"))
    return OPENERS[runtime]


def play_or_refuse(
    opener: Opener, dealt: Federation, config: RunConfig, place: Path, cut_in: int
) -> Run | str:
    """The run, or the sentence in which a runtime says why it cannot play with these settings, and
    what to do.
    """
    try:
        return play(opener, dealt, config, place, cut_in)
    except ConfigError as error:
        return str(error)


def is_one_sentence_with(words: str, sentence: str) -> bool:
    return (
        words in sentence
        and "use --engine sequential" in sentence
        and ". " not in sentence
        and sentence[-1] == "."
    )


# --- whole runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "runtime"),
    [(strategy, runtime) for strategy in strategies.STRATEGIES for runtime in OPENERS]
    + [
        pytest.param(strategy, "ray", marks=pytest.mark.slow(minutes=0.1))
        for strategy in ("fedavg", "scaffold", "fedper", "ridge", "prototypes")
    ],
)
def test_a_run_ends_as_the_reference_does(
    runtime: str,
    opener: Opener,
    strategy: str,
    dealt: Federation,
    reference: Callable[..., tuple[Run, Path]],
    tmp_path: Path,
) -> None:
    """Partial cohorts, a store that fails, a process that ends in round 3 and another one that goes
    on, early stopping, and the best round's model at the end, with the parts of it that stores have
    for themselves.

    With Ray, whose processes take seconds to start: strategies whose stores keep nothing, a tensor,
    and layers, and those whose stores do not train.
    """
    config = config_of(strategy)
    found = play_or_refuse(opener, dealt, config, tmp_path, cut_in=3)
    if isinstance(found, str):
        built = strategies.build(config.strategy, start(config).layout)
        assert (runtime, built.closed_form or bool(built.personal_tensors())) == ("batched", True)
        reason = "does not train its stores" if built.closed_form else "keeps parts of the model"
        assert is_one_sentence_with(f"Strategy {strategy} {reason}", found)
        return
    expected, place = reference(config)
    assert is_same_run(runtime, found, expected)
    assert is_judged_as_in_its_round(found)
    assert len(found.records) == found.delivered.round + config.evaluation.patience
    assert {EMPTY: "no-images"} in [
        {name: row[name] for name in row if name == EMPTY} for row in found.failures()
    ]
    kept = [StateStore(at / "states") for at in (tmp_path, place)]
    for store in SIZES:
        mine, others = (each.load("run", store, found.delivered.round + 1) for each in kept)
        assert is_same_state(runtime, mine, others), store


@pytest.mark.parametrize("runtime", [name for name in OPENERS if name != REFERENCE])
@pytest.mark.parametrize(
    "changed",
    [
        {"messages__compression": "fp16"},
        {"messages__compression": "int8"},
        {"messages__compression": "top-k", "strategy__name": "scaffold"},
        {"strategy__absent_classes": "mask"},
        {"strategy__absent_classes": "weigh", "strategy__name": "scaffold"},
        {"strategy__average": "ema", "train__schedule": "cosine"},
        {"model__dropout": 0.3, "data__mixup": 0.4, "train__momentum": 0.5},
        {"train__optimizer": "adam", "train__lr": 0.002, "train__backbone_lr": 0.5},
        {"evaluation__every": 2, "evaluation__metric": "loss"},
        NOISED,
        NOISED
        | {"privacy__store_noise": 0.05, "privacy__store_clip": 0.5, "strategy__name": "fedprox"},
    ],
    ids=lambda changed: "-".join(str(value) for value in changed.values()),
)
def test_settings_reach_every_store(
    runtime: str,
    opener: Opener,
    changed: dict,
    dealt: Federation,
    reference: Callable[..., tuple[Run, Path]],
    tmp_path: Path,
) -> None:
    config = config_of(**{"run__rounds": 3, **changed})
    found = play(opener, dealt, config, tmp_path, cut_in=2)
    tolerance = ROUNDED_TOLERANCE if config.messages.compression == "int8" else TOLERANCE
    assert is_same_run(runtime, found, reference(config)[0], tolerance)


PRIVATE = {
    "train__epochs": 0, "train__batch_size": 0, "privacy__clip": 1.0, "privacy__noise": 0.5,
    "privacy__rate": 0.5, "privacy__steps": 4, "privacy__copies": 2,
}  # fmt: skip


@OF_ONE_PROCESS
@pytest.mark.parametrize(
    "changed",
    [{"strategy__name": "scaffold"}, {"strategy__name": "fedper"}, {"model__dropout": 0.3}],
    ids=lambda changed: "-".join(str(value) for value in changed.values()),
)
def test_private_training_is_the_same_everywhere(
    runtime: str,
    opener: Opener,
    changed: dict,
    dealt: Federation,
    reference: Callable[..., tuple[Run, Path]],
    tmp_path: Path,
) -> None:
    """Samples and noise are of the store, the round and the order, not of the process."""
    config = config_of(**{"run__rounds": 3, **PRIVATE, **changed})
    found = play_or_refuse(opener, dealt, config, tmp_path, cut_in=2)
    if isinstance(found, str):
        assert runtime == "batched"
        assert is_one_sentence_with("privacy.clip got 1 with the engine batched", found)
    else:
        assert is_same_run(runtime, found, reference(config)[0])


# --- single orders --------------------------------------------------------------------------------


@EVERY_RUNTIME
def test_stores_and_what_they_hold(opener: Opener, dealt: Federation, tmp_path: Path) -> None:
    with at(opener, dealt, config_of(), tmp_path) as asked:
        assert list(asked.runtime.stores()) == list(SIZES)
        assert {name: info.num_examples for name, info in asked.runtime.stores().items()} == SIZES
        assert {(info.validation, info.test) for info in asked.runtime.stores().values()} == {
            (HELD_OUT, TESTED)
        }
        assert asked.runtime.retry_after() == 0
        asked.runtime.exclude("store-4", "tried enough")
        assert list(asked.runtime.stores()) == [name for name in SIZES if name != "store-4"]


@EVERY_RUNTIME
def test_one_answer_from_each_store_that_is_asked_and_from_no_other(
    opener: Opener, dealt: Federation, tmp_path: Path
) -> None:
    with at(opener, dealt, config_of(), tmp_path) as asked:
        answers = asked.train(3, ["store-1", EMPTY, "store-5"])
        assert sorted(answers) == ["store-1", EMPTY, "store-5"]
        assert codes(answers) == {EMPTY: "no-images"}
        for name in ("store-1", "store-5"):
            update = answers[name]
            assert isinstance(update, Update)
            assert (update.round, update.num_examples, update.packed) == (3, SIZES[name], None)
            assert update.steps == 2 * math.ceil(SIZES[name] / 8)
        counted = asked.evaluate(3, ["store-0", EMPTY])
        assert {name: counts.num_examples for name, counts in counted.items()} == {
            "store-0": HELD_OUT,
            EMPTY: HELD_OUT,
        }


@EVERY_OTHER
def test_an_evaluation_is_of_the_split_and_at_the_temperatures_asked_for(
    runtime: str, opener: Opener, dealt: Federation, tmp_path: Path
) -> None:
    found = []
    for place, each in (("a", OPENERS[REFERENCE]), ("b", opener)):
        with at(each, dealt, config_of(), tmp_path / place) as asked:
            parts = [{"split": "test"}, {"split": "validation", "temperatures": (1.0, 3.0)}]
            found.append([asked.evaluate(1, list(SIZES), **part) for part in parts])
    for expected, mine in zip(*found, strict=True):
        assert all(
            is_same_judgement(runtime, counts, expected[name]) for name, counts in mine.items()
        )
    for counts in found[1][0].values():
        assert (counts.num_examples, counts.reliability) == (TESTED, None)
    for name, counts in found[1][1].items():
        assert counts.reliability.temperatures == (1.0, 3.0)
        np.testing.assert_allclose(
            counts.reliability.nll, found[0][1][name].reliability.nll, rtol=TOLERANCE
        )
        expected = found[0][1][name].reliability.energies
        assert expected.sum() == HELD_OUT
        # by rounding, an image between two bins may change sides
        moved = abs(np.cumsum(counts.reliability.energies - expected)).sum()
        assert moved <= (runtime == "batched")


@EVERY_RUNTIME
@pytest.mark.parametrize("names", [["store-0", "store-3", "store-5"], ["store-1", "store-3"]])
def test_what_was_expected_changes_nothing(
    opener: Opener, names: list[str], dealt: Federation, tmp_path: Path
) -> None:
    """The stores that were to train next are asked, or others; between the two the runtime judges a
    model.
    """
    expected = ["store-0", "store-3", "store-5"]
    with at(opener, dealt, config_of("scaffold"), tmp_path / "a") as asked:
        plain = asked.train(1, names)
    with at(opener, dealt, config_of("scaffold"), tmp_path / "b") as asked:
        order = asked.order(1)
        asked.runtime.prefetch_training(order, expected)
        assert asked.evaluate(0, expected).keys() == set(expected)
        found = {answer.store: kept(answer) for answer in asked.runtime.train(order, names)}
    assert sorted(found) == names
    for name, update in plain.items():
        assert torch.equal(found[name].params, update.params)


# --- stores that fail -----------------------------------------------------------------------------


@EVERY_RUNTIME
def test_a_store_whose_memory_is_damaged_fails_alone(
    opener: Opener, dealt: Federation, tmp_path: Path
) -> None:
    with at(opener, dealt, config_of("scaffold"), tmp_path / "states") as asked:
        names = ["store-0", "store-1", "store-3"]
        assert codes(asked.train(1, names)) == {}
        (file,) = (asked.states / "run" / "store-1").iterdir()
        file.write_bytes(b"no tensors")
        assert codes(asked.train(2, names)) == {"store-1": "error"}


@EVERY_RUNTIME
def test_a_store_that_cannot_remember_fails_alone(
    opener: Opener, dealt: Federation, tmp_path: Path
) -> None:
    """A file lies where its folder should be."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "store-1").touch()
    with at(opener, dealt, config_of("scaffold"), tmp_path) as asked:
        assert codes(asked.train(1, ["store-0", "store-1"])) == {"store-1": "error"}


@WITH_OWN_LAYERS
def test_a_store_whose_own_layers_are_damaged_cannot_judge_and_all_others_can(
    opener: Opener, dealt: Federation, tmp_path: Path
) -> None:
    with at(opener, dealt, config_of("fedper"), tmp_path) as asked:
        names = ["store-0", "store-1", "store-3"]
        assert codes(asked.train(1, names)) == {}
        (file,) = (asked.states / "run" / "store-1").iterdir()
        file.write_bytes(b"no tensors")
        judged = asked.evaluate(1, names)
        assert judged["store-1"] == "error"
        assert {name for name, counts in judged.items() if isinstance(counts, Counts)} == {
            "store-0",
            "store-3",
        }


@WITH_OWN_LAYERS
def test_stores_judge_the_best_round_with_what_they_had_then(
    opener: Opener, dealt: Federation, tmp_path: Path
) -> None:
    """Rounds 2 and 3 are committed, and round 1 stays the best; its model was sent in all three."""
    names = ["store-0", "store-3"]
    with at(opener, dealt, config_of("fedper"), tmp_path) as asked:
        asked.train(1, names)
        then = asked.evaluate(1, names)
        for number in (2, 3):
            asked.train(number, names, committed=number - 1, best=1)
        now = asked.evaluate(1, names)
        latest = asked.evaluate(3, names)
    for name in names:
        assert now[name].loss_sum == then[name].loss_sum != latest[name].loss_sum


# --- what a runtime cannot do ---------------------------------------------------------------------


@OF_ONE_PROCESS
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"train__seconds": 1e-9, "strategy__name": "fednova"},
            "train.seconds got 1e-09 with the engine batched",
        ),
        ({"model__norm": "batch"}, "layers of kind BatchNorm2d"),
        ({"model__norm": "batch", "train__batch_size": 1}, "layers of kind BatchNorm2d"),
        ({"strategy__name": "fedbn"}, "fedbn keeps parts of the model at the stores"),
    ],
)
def test_what_a_runtime_cannot_do_it_refuses_before_the_first_round(
    runtime: str,
    opener: Opener,
    changed: dict,
    words: str,
    dealt: Federation,
    reference: Callable[..., tuple[Run, Path]],
    tmp_path: Path,
) -> None:
    """Only `batched` cannot do all; the others then end as the reference does."""
    config = config_of(**{"run__rounds": 2, "train__epochs": 1, **changed})
    found = play_or_refuse(opener, dealt, config, tmp_path, cut_in=2)
    if isinstance(found, str):
        assert runtime == "batched"
        assert is_one_sentence_with(words, found)
    else:
        assert is_same_run(runtime, found, reference(config)[0])


# --- on the way -----------------------------------------------------------------------------------


def filled(kind: type, **known: Any) -> Any:
    """An order whose every field has a value of its own that is not the default."""
    values = {"round": 7, "extras": {"drift": torch.ones(2)}, "committed": 5, "best": 3}
    values |= {"split": "test", "temperatures": (1.5, 2.0)}
    values |= {"terms": SumTerms(4, 90), "secure_sum": SumPart(2, b"boxes")} | known
    return kind(**{each.name: values[each.name] for each in fields(kind)})


@pytest.mark.parametrize("kind", [TrainOrder, EvaluateOrder])
def test_every_field_of_an_order_arrives(kind: type) -> None:
    """A field that is added to an order has to be added here, too, and shows whether it gets lost
    anywhere.
    """
    begun = start(config_of())
    order = filled(kind, plan=begun.plan, params=torch.arange(3.0))
    for each in fields(kind):
        assert each.default is MISSING or getattr(order, each.name) != each.default
    assert same(
        DetachedOrder.detach(order, "plan", "params").attach(plan=order.plan, params=order.params),
        order,
    )
    assert same(decode_order(encode_order(order), FrozenCache(Path("unused"))), order)
