"""Each task of scenes on each runtime ends as the reference does, to the bit but for the engine
batched; what does not go with it is refused in a sentence.
"""

from pathlib import Path

import pytest

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.server.training.setup import settle
from tests.helpers.runtimes import OPENERS, REFERENCE, Run, play
from tests.helpers.sameness import is_same_run
from tests.helpers.simulated_stores import settings, start
from tests.helpers.small_scenes import SIDE, stores_of_scenes

NETWORKS = {"boxes": "locator", "masks": "unet"}
OBJECTIVES = pytest.mark.parametrize("objective", NETWORKS)


def config_of(objective: str, **changed: object) -> RunConfig:
    usual = {
        "train__objective": objective, "model__name": NETWORKS[objective], "run__rounds": 3,
        "train__epochs": 1, "train__batch_size": 4, "train__lr": 0.005, "data__image_size": SIDE,
        "evaluation__batch_size": 4,
    }  # fmt: skip
    return settle(settings(**usual | changed), SIDE, 3)


def played(runtime: str, config: RunConfig, place: Path, cut_in: int = 0) -> Run:
    dealt = stores_of_scenes(config.train.objective)
    return play(OPENERS[runtime], dealt, config, place, cut_in)


def assert_runtimes_agree(config: RunConfig, place: Path, cut_in: int) -> None:
    """Assert that each runtime, cut off in a round, ends as the reference does, which is not.

    The engine batched cannot begin with layers of each store's own, and says so. It is left out
    with adamw, which makes a whole step of a gradient near 0, in the direction of its rounding.
    """
    expected = played(REFERENCE, config, place / REFERENCE)
    has_own_layers = bool(
        strategies.build(config.strategy, start(config).layout).personal_tensors()
    )
    assert (expected.scores.test is None) == has_own_layers
    if expected.scores.test is not None:
        assert expected.scores.test.num_examples == 7
        assert expected.scores.test.metrics.keys() == set(config.evaluation.metrics)
    assert not any(expected.failures())
    left_out = {REFERENCE, *(["batched"] if config.train.optimizer == "adamw" else [])}
    for runtime in [name for name in OPENERS if name not in left_out]:
        if runtime == "batched" and has_own_layers:
            with pytest.raises(ConfigError, match="keeps parts of the model at the stores"):
                played(runtime, config, place / runtime)
            continue
        found = played(runtime, config, place / runtime, cut_in)
        assert is_same_run(runtime, found, expected)


@OBJECTIVES
@pytest.mark.parametrize(
    "changed",
    [
        {"strategy__name": "scaffold", "data__flip": True, "data__crop": 2},
        {"strategy__name": "fedadam", "messages__compression": "int8", "train__optimizer": "adamw"},
    ],
    ids=["scaffold, moved", "fedadam, int8"],
)
def test_every_runtime_ends_as_the_reference_does(
    objective: str, changed: dict[str, object], tmp_path: Path
) -> None:
    """With the same bits, but for the engine batched, whose sums run in another order."""
    assert_runtimes_agree(config_of(objective, run__rounds=2, **changed), tmp_path, cut_in=2)


@pytest.mark.slow(minutes=0.05)
@pytest.mark.parametrize(
    ("objective", "strategy"),
    [
        (list(NETWORKS)[number % len(NETWORKS)], name)
        for number, name in enumerate(strategies.STRATEGIES)
        if not strategies.find(name).closed_form
    ],
)
def test_every_strategy_goes_with_scenes(objective: str, strategy: str, tmp_path: Path) -> None:
    """Boxes and masks in turn: a strategy acts on vectors, and knows nothing of tasks."""
    config = config_of(objective, strategy__name=strategy, run__rounds=2)
    assert_runtimes_agree(config, tmp_path, cut_in=2)


@pytest.mark.slow(minutes=1)
def test_a_detector_that_draws_proposals_ends_as_the_reference_does(tmp_path: Path) -> None:
    """With the same bits: draws have the address of a store and a round, on every runtime."""
    config = config_of(
        "boxes",
        model__name="fasterrcnn_mobilenet_v3_large_320_fpn",
        model__norm="group",
        run__rounds=2,
        train__batch_size=2,
        data__image_size=320,
    )
    dealt = stores_of_scenes("boxes", (2, 1), factor=320 // SIDE)
    expected = play(OPENERS[REFERENCE], dealt, config, tmp_path / REFERENCE)
    assert not any(expected.failures())
    losses = [record["train"]["loss"] for record in expected.records]
    assert losses[1] < losses[0]
    for runtime, cut_in in (("sequential-2", 0), ("grid", 2)):
        found = play(OPENERS[runtime], dealt, config, tmp_path / runtime, cut_in)
        assert is_same_run(runtime, found, expected)
    with pytest.raises(ConfigError, match="or draws proposals at random, with which the engine"):
        play(OPENERS["batched"], dealt, config, tmp_path / "batched")


@OBJECTIVES
def test_masked_updates_and_judgements_give_the_run_of_the_simulation(
    objective: str, tmp_path: Path
) -> None:
    """A server that starts again in round 2 asks for the sum of that round again; figures of the
    validation photos come from the sum of all stores' counts.
    """
    summed = {"privacy__secure_sum": True, "cohort__min_stores": 3, "run__rounds": 2}
    config = config_of(objective, **summed)
    expected = played(REFERENCE, config, tmp_path / REFERENCE)
    found = played("grid", config, tmp_path / "grid", cut_in=2)
    assert is_same_run("grid", found, expected)
    open_run = played(REFERENCE, config_of(objective, run__rounds=2), tmp_path / "open")
    metric = config.evaluation.metric
    for record, told in zip(found.records, open_run.records, strict=True):
        assert record["validation"][metric] == pytest.approx(told["validation"][metric], abs=0.02)


@OBJECTIVES
def test_a_run_learns(objective: str, tmp_path: Path) -> None:
    run = played(REFERENCE, config_of(objective, run__rounds=4), tmp_path)
    losses = [record["test"]["loss"] for record in run.records]
    assert losses[-1] < losses[0]


@OBJECTIVES
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data__mixup": 0.2}, "does not go with data.mixup"),
        ({"data__rotation": 10}, "does not go with data.rotation"),
        ({"train__label_smoothing": 0.1}, "does not go with train.label_smoothing"),
        ({"strategy__absent_classes": "mask"}, "does not go with strategy.absent_classes"),
        ({"screening__detect": "on"}, "does not go with screening.detect"),
        ({"model__name": "cnn"}, "model cnn, which tells classes"),
        ({"evaluation__metrics": ["auroc"]}, "'auroc', which measures class scores"),
    ],
)
def test_refusals_are_one_sentence(objective: str, changed: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        start(config_of(objective, **changed))
    assert str(refused.value).count("\n") == 0


def test_the_task_decides_what_is_measured() -> None:
    assert config_of("boxes").evaluation.metrics == ("ap", "count")
    assert config_of("boxes").evaluation.metric == "ap"
    assert config_of("masks").evaluation.metric == "iou"
    assert config_of("boxes", evaluation__metric="loss").evaluation.metric == "loss"
