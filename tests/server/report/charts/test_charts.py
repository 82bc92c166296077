from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.server.report.charts.calibration_chart import calibration_charts
from fedshelf.server.report.charts.colours import class_colours
from fedshelf.server.report.charts.confusion_chart import heat_map
from fedshelf.server.report.charts.line_chart import (
    LABEL_HEIGHT_PERCENT,
    line_chart,
    nice_ticks,
    round_ticks,
    thin_points,
)
from fedshelf.server.report.charts.partition_chart import partition_chart
from fedshelf.server.report.charts.shown_classes import shown_classes
from fedshelf.server.report.weak_spots import weak_spots

finite = st.floats(-1e9, 1e9, allow_nan=False)


def test_ticks_are_round_numbers() -> None:
    assert nice_ticks(0.0, 1.9) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert nice_ticks(0.33, 0.86) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert round_ticks(1, 20) == [1, 5, 10, 15, 20]
    assert round_ticks(1, 5) == [1, 2, 3, 4, 5]
    assert round_ticks(1, 1500) == [1, 500, 1000, 1500]


@given(finite, finite)
def test_ticks_enclose_the_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


@given(st.lists(finite, min_size=1, max_size=2000))
def test_thinning_keeps_ends_and_extremes(values: list[float]) -> None:
    points = list(enumerate(values))
    kept = thin_points(points, max_points=100)
    assert len(kept) <= max(100, 2)
    assert kept == sorted(set(kept) & set(points))
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert min(value for _, value in kept) == min(values)
    assert max(value for _, value in kept) == max(values)


def test_a_line_from_corner_to_corner() -> None:
    chart = line_chart(
        "Accuracy",
        {"test": [(1, 0.0), (3, 1.0)], "validation": []},
        lambda value: f"{value:.1f}",
        mark=(2, "best"),
    )
    assert chart is not None
    assert [(line.name, line.path, line.label.text) for line in chart.lines] == [
        ("test", "M0 1000L1000 0", "1.0")
    ]
    assert [tick.text for tick in chart.x_ticks] == ["1", "2", "3"]
    assert [hover.text for hover in chart.hovers] == ["Round 1 · test 0.0", "Round 3 · test 1.0"]
    assert chart.mark is not None
    assert chart.mark.at == 50


def test_no_points_no_chart() -> None:
    assert line_chart("Accuracy", {"test": []}, str) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_end_labels_keep_apart(ends: list[float]) -> None:
    chart = line_chart(
        "Loss", {f"curve{index}": [(1, 0.5), (2, end)] for index, end in enumerate(ends)}, str
    )
    assert chart is not None
    places = sorted(line.label.at for line in chart.lines)
    assert all(below - above >= LABEL_HEIGHT_PERCENT - 1e-6 for above, below in pairwise(places))
    assert places[-1] <= 100


def test_a_cell_says_what_was_taken_for_what() -> None:
    picture = heat_map(["cup", "lamp", "bag"], [[8, 2, 0], [0, 10, 0], [1, 0, 3]])
    tips = {(cell.row, cell.column): (cell.tip, cell.number) for cell in picture.cells}
    assert tips[0, 1] == ("cup taken for lamp: 2 of 10 (20.0%)", "20")
    assert tips[1, 1] == ("lamp recognised: 10 of 10 (100.0%)", "100")
    assert len(tips) == 5
    assert {(shade.kind, shade.strength) for shade in picture.shades} == {
        ("right", 0.9), ("right", 1.0), ("wrong", 0.5),
    }  # fmt: skip


def test_partition_columns_stack_to_what_a_store_holds() -> None:
    picture = partition_chart({"classes": ["cup", "lamp"], "stores": {"a": [30, 10], "b": [0, 20]}})
    assert picture is not None
    assert [tick.text for tick in picture.y_ticks] == ["0", "10", "20", "30", "40"]
    cup, lamp = picture.layers
    assert (cup.images, lamp.images) == (30, 30)
    assert cup.path == "M1 250h8V1000h-8z"  # 30 of 40
    assert lamp.path == "M1 0h8V250h-8zM11 500h8V1000h-8z"  # 10 on top of 30; 20 of 40
    assert picture.columns == [
        ("a", "a: 40 images (cup 30, lamp 10)"),
        ("b", "b: 20 images (lamp 20)"),
    ]


def test_of_very_many_stores_some_are_drawn() -> None:
    picture = partition_chart(
        {"classes": ["cup"], "stores": {f"store-{index}": [5] for index in range(1000)}}
    )
    assert picture is not None
    assert (len(picture.columns), picture.total_stores) == (300, 1000)
    assert picture.layers[0].images == 5000


def test_of_many_classes_those_that_stores_have_most_of_are_shown_and_the_rest_is_one() -> None:
    """25 classes: store a has most of c24, then c3; store b most of c0, then c24; of ten others
    each has one image.
    """
    a = [0] * 25
    b = [0] * 25
    a[24] = 50
    a[3] = 20
    b[0] = 40
    b[24] = 30
    a[5:15] = [1] * 10
    partition = {"classes": [f"c{number}" for number in range(25)], "stores": {"a": a, "b": b}}
    shown = shown_classes(partition)
    assert shown.names == [
        "c0",
        "c3",
        "c5",
        "c6",
        "c7",
        "c8",
        "c9",
        "c10",
        "c11",
        "c24",
        "15 other classes",
    ]
    assert shown.stores == [
        ("a", [0, 20, 1, 1, 1, 1, 1, 1, 1, 50, 3]),
        ("b", [40, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0]),
    ]
    assert len(set(shown.colours)) == 11
    picture = partition_chart(partition)
    assert picture is not None
    assert (picture.hidden, [layer.images for layer in picture.layers][-2:]) == (15, [80, 3])
    assert picture.columns[0][1].startswith("a: 80 images (c24 50, c3 20, ")
    assert picture.columns[0][1].endswith("and 6 more classes)")
    few = shown_classes(
        {"classes": [f"c{number}" for number in range(20)], "stores": {"a": [1] * 20}}
    )
    assert (len(few.names), few.hidden) == (20, 0)
    none = shown_classes({"classes": [f"c{number}" for number in range(21)], "stores": {}})
    assert (none.names, none.stores) == (["21 other classes"], [])


def test_a_partition_without_images_is_no_picture() -> None:
    assert partition_chart({"classes": [], "stores": {}}) is None
    assert partition_chart({"classes": ["cup"], "stores": {"a": [0]}}) is None


@pytest.mark.parametrize("number", [0, 1, 10, 11, 80])
def test_every_class_has_its_own_colour(number: int) -> None:
    assert len(set(class_colours(number))) == number


def test_reliability_pictures_show_confidence_over_and_under_accuracy() -> None:
    bins = [
        {"from": 0.4, "to": 0.6, "images": 10, "right": 8, "confidence": 0.5},
        {"from": 0.6, "to": 0.8, "images": 0, "right": 0, "confidence": None},
        {"from": 0.8, "to": 1.0, "images": 40, "right": 20, "confidence": 0.9},
    ]
    plain = {"ece": 0.38, "confidence": 0.82, "accuracy": 0.56, "loss": 1.0}
    told = {
        "temperature": None,
        "fitted_on": 0,
        "images": 50,
        "on": "server",
        "unscaled": plain,
        "scaled": None,
    }
    found = calibration_charts(told | {"bins": bins})
    assert found is not None
    under, over = found.charts[0].steps
    assert (under.kind, under.height, under.gap_top, under.gap, under.share) == (
        "under",
        500,
        200,
        300,
        0.25,
    )
    assert (over.kind, over.height, over.gap_top, over.gap, over.share) == (
        "over",
        500,
        100,
        400,
        1.0,
    )
    assert over.tip == "40 images of which it was 90.0% sure: right on 50.0% (20)"
    assert (
        "82.0% sure in the mean and right on 56.0%: overconfident by 26.0 points"
        in found.sentences[0]
    )
    assert "off by 38.0 points" in found.sentences[0]
    assert found.sentences[1].startswith("No temperature was fitted")
    worse = {
        "temperature": 0.5,
        "fitted_on": 9,
        "scaled": plain | {"ece": 0.4},
        "bins_scaled": bins,
    }
    scaled = calibration_charts(told | {"bins": bins} | worse)
    assert scaled is not None
    assert scaled.sentences[1].endswith(
        "off by 40.0 points: no better than without, on these images."
    )
    assert [chart.title for chart in scaled.charts] == ["As trained", "Temperature 0.50"]
    assert len(scaled.sentences) == 2
    unknown = {"energy_threshold": 3.21, "unknown": 0.041, "fitted_on": 1200}
    told_unknown = calibration_charts(told | {"bins": bins} | worse | unknown)
    assert told_unknown is not None
    assert told_unknown.sentences[2] == (
        "4.1% of the test photos would be called unknown: the energy of their scores (the logarithm"
        " of the sum of the scores' exponentials) is below 3.21, as it is for 5.0% of the 1,200"
        " validation images."
    )
    assert calibration_charts(None) is None


def test_weak_spots_are_classes_that_a_store_has_and_mistakes() -> None:
    def store(accuracy: float, **recalls: tuple[int, float]) -> dict[str, object]:
        return {
            "accuracy": accuracy,
            "per_class": {
                name: {"images": images, "recall": recall}
                for name, (images, recall) in recalls.items()
            },
        }

    stores = {
        "a": store(0.9, cup=(10, 0.75), lamp=(0, 0.0)),
        "b": store(0.5, cup=(4, 1.0), lamp=(2, 0.0)),
    }
    picture = weak_spots(["cup", "lamp"], stores)
    assert picture is not None
    assert picture.rows == ["b", "a"]  # the weakest first
    assert [(spot.row, spot.column, spot.strength) for spot in picture.spots] == [
        (0, 0, 0.0),
        (0, 1, 1.0),
        (1, 0, 0.5),
    ]
    assert picture.spots[2].tip == "cup at a: 75.0% of 10 recognised"
    assert weak_spots(["cup", "lamp"], {"a": stores["a"]}) is None  # nobody to compare with
