"""Stocks by hand, as JSON and compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.counting.stock import (
    ClassStock,
    Stock,
    changes,
    parse_stock,
    surely_fewer,
    take_stock,
)

SHARES = np.array([[1, 0], [1, 0], [0.5, 0.5], [0, 1], [0.9, 0.1]], np.float32)
STOCK = take_stock(SHARES, ["sure", "sure", "unsure", "sure", "unknown"], ["Boots", "Hats"])
FILE = Path("earlier.json")


def stock_of(*numbers: tuple[int, float, int]) -> Stock:
    """A stock with these least, expected and largest numbers."""
    rows = [
        ClassStock(f"class {index}", round(expected), expected, low, high)
        for index, (low, expected, high) in enumerate(numbers)
    ]
    return Stock(tuple(rows), 0, 0)


def test_an_unsure_photo_counts_in_part_and_an_unknown_one_not_at_all() -> None:
    boots, hats = STOCK.classes
    assert (boots.name, boots.counted, boots.low, boots.high) == ("Boots", 2, 2, 3)
    assert (hats.name, hats.counted, hats.low, hats.high) == ("Hats", 1, 1, 2)
    assert boots.expected + hats.expected == pytest.approx(4)
    assert (STOCK.unsure, STOCK.unknown, STOCK.pieces) == (1, 1, 5)


def test_a_stock_without_known_photos_is_empty() -> None:
    stock = take_stock(SHARES[:1], ["unknown"], ["Boots", "Hats"])
    assert [(one.counted, one.low, one.high) for one in stock.classes] == [(0, 0, 0)] * 2


def test_json_reads_back() -> None:
    assert parse_stock(json.loads(json.dumps(STOCK.to_json())), FILE) == STOCK


@pytest.mark.parametrize("value", [[], {}, {"classes": [{}]}, STOCK.to_json() | {"unsure": "many"}])
def test_another_file_is_no_count(value: Any) -> None:
    with pytest.raises(DataError, match=r"earlier\.json is no count"):
        parse_stock(value, FILE)


def test_not_a_number_is_no_count() -> None:
    value = STOCK.to_json()
    value["classes"][0]["expected"] = float("nan")
    with pytest.raises(DataError, match="is no count"):
        parse_stock(value, FILE)


def test_a_change_without_doubt_is_exact() -> None:
    earlier = stock_of((5, 5.02, 5), (2, 2, 2))
    fewer, same = changes(earlier, stock_of((3, 2.98, 3), (2, 2, 2)), FILE)
    assert (fewer.low, fewer.high) == (-2, -2)
    assert (same.low, same.high) == (0, 0)
    assert surely_fewer([fewer, same]) == [fewer]


def test_doubt_widens_a_change() -> None:
    (change,) = changes(stock_of((5, 8, 9)), stock_of((2, 6, 10)), FILE)
    # -2 - sqrt(4^2 + 1^2) and -2 + sqrt(4^2 + 3^2)
    assert (change.low, change.high) == (-6, 3)
    assert surely_fewer([change]) == []


def test_counts_of_other_classes_are_not_compared() -> None:
    with pytest.raises(DataError, match="counts other classes"):
        changes(stock_of((1, 1, 1), (2, 2, 2)), stock_of((1, 1, 1)), FILE)
