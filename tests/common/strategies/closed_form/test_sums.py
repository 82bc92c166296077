"""Runs for which a strategy in closed form has no answer, and the sums by class."""

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.strategies.closed_form.sums import FEATURES_AT_ONCE, class_sums, count_fault

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
    ],
)
def test_a_run_that_needs_training_is_refused(name: str, changed: dict, words: str) -> None:
    given = {"strategy.name": name, "model.freeze": "backbone"}
    strategies.check(resolve(given))
    with pytest.raises(ConfigError, match=rf"strategy\.name got '{name}', which .*{words}"):
        strategies.check(resolve(given | changed))


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
