"""Runs for which a strategy in closed form has no answer, and the sums by class."""

from pathlib import Path

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import STORES_OWN, from_toml, resolve, to_toml
from fedshelf.common.errors import ConfigError
from fedshelf.common.strategies.closed_form.sums import FEATURES_AT_ONCE, class_sums, count_fault
from fedshelf.server.training.setup import settle

CLOSED_FORM = [name for name, strategy in strategies.STRATEGIES.items() if strategy.closed_form]


@pytest.mark.parametrize("name", CLOSED_FORM)
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model.freeze": "none"}, "frozen network, and model.freeze is none, not backbone"),
        ({"model.freeze": "last:1"}, "model.freeze is last:1, not backbone"),
        ({"train.objective": "turns"}, "product classes, and train.objective is turns"),
        ({"messages.compression": "int8"}, "exact sums .* messages.compression is int8"),
        ({"strategy.average": "ema"}, "one exact model, and strategy.average is ema"),
        ({"train.lr": 0.1}, r"no use for train\.lr, which is 0\.1"),
        ({"train.epochs": 5}, r"no use for train\.epochs, which is 5"),
        ({"train.precision": "mixed"}, r"no use for train\.precision, which is mixed"),
        ({"data.rotation": 10}, r"no use for data\.rotation, which is 10"),
        ({"model.dropout": 0.3}, r"no use for model\.dropout, which is 0\.3"),
        ({"run.rounds": 2}, r"one round of all stores of a simulation, and run\.rounds is 2"),
    ],
)
def test_a_run_that_needs_training_is_refused(name: str, changed: dict, words: str) -> None:
    given = {"strategy.name": name, "model.freeze": "backbone", "run.rounds": 1}
    strategies.check(resolve(given))
    with pytest.raises(ConfigError, match=rf"strategy\.name got '{name}', which .*{words}"):
        strategies.check(resolve(given | changed))


@pytest.mark.parametrize("name", CLOSED_FORM)
@pytest.mark.parametrize("changed", [{"cohort.fraction": 0.5}, {"data.dataset": STORES_OWN}])
def test_rounds_that_may_bring_other_stores_have_a_meaning(name: str, changed: dict) -> None:
    given = {"strategy.name": name, "model.freeze": "backbone", "run.rounds": 3}
    strategies.check(resolve(given | changed))


@pytest.mark.parametrize("name", CLOSED_FORM)
@pytest.mark.parametrize("native_size", [None, 32])
def test_settings_from_the_data_and_a_runs_own_file_can_begin(
    name: str, native_size: int | None, tmp_path: Path
) -> None:
    given = {"strategy.name": name, "model.freeze": "backbone", "run.rounds": 1}
    settled = settle(resolve(given), native_size, 3)
    strategies.check(settled)
    (tmp_path / "config.toml").write_text(to_toml(settled), encoding="utf-8")
    strategies.check(settle(resolve(from_toml(tmp_path / "config.toml")), native_size, 3))


def test_sums_by_class_are_the_same_in_pieces() -> None:
    count = FEATURES_AT_ONCE + 3
    values = torch.arange(2.0 * count).view(count, 2)
    targets = torch.arange(count) % 3
    found = class_sums(values, targets, 3)
    for label in range(3):
        rows = values[targets == label].double()
        assert found[label].tolist() == [*rows.sum(dim=0).tolist(), len(rows)]


@pytest.mark.parametrize(
    ("counts", "images", "words"),
    [
        ([2.0, 3.0], 5, None),
        ([2.0, 3.0], 6, "has classes of 5 images together, where it claims 6 images"),
        ([-1.0, 6.0], 5, "negative"),
        ([2.5, 2.5], 5, "no whole numbers"),
    ],
)
def test_counts_that_cannot_be_are_named(
    counts: list[float], images: int, words: str | None
) -> None:
    fault = count_fault(torch.tensor(counts), images)
    assert fault is None if words is None else words in str(fault)
