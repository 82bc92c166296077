"""Each task of scenes on each runtime, with strategies that keep or send something of their own,
ends with the same bits; what does not go with it is refused in a sentence.
"""

from pathlib import Path

import pytest

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


@OBJECTIVES
@pytest.mark.parametrize(
    "changed",
    [
        {"strategy__name": "scaffold"},
        {"strategy__name": "fedadam", "messages__compression": "int8", "train__optimizer": "adamw"},
    ],
    ids=["scaffold", "fedadam, int8"],
)
def test_every_runtime_ends_with_the_same_bits(
    objective: str, changed: dict[str, object], tmp_path: Path
) -> None:
    """Each but the reference is cut off in its second round, and goes on."""
    config = config_of(objective, **changed)
    expected = played(REFERENCE, config, tmp_path / REFERENCE)
    assert expected.scores.test is not None
    assert expected.scores.test.num_examples == 7
    assert expected.scores.test.metrics.keys() == set(config.evaluation.metrics)
    assert not any(expected.failures())
    for runtime in ("sequential-2", "grid"):
        found = played(runtime, config, tmp_path / runtime, cut_in=2)
        assert is_same_run(runtime, found, expected)


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
def test_the_batched_engine_says_what_to_use(objective: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"objective={objective}; use --engine sequential"):
        played("batched", config_of(objective), tmp_path)


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
