"""Plots of scenes by numbers that a reader can check."""

from fedshelf.server.report.scenes.plots import alarm_plot, count_plot, precision_plot, recall_at

FIGURES = {
    "photos": 10,
    "products": 4,
    "threshold": 0.5,
    "precision": {"0.5": [1.0, 0.5, 0.0]},
    "false_alarms": [[0.0, 0.25], [0.1, 0.5], [10.0, 1.0]],
    "at_threshold": {"recall": 0.5, "precision": 0.25, "false_alarms": 0.1},
}


def test_precision_goes_down_as_recall_goes_up() -> None:
    plot = precision_plot(FIGURES)
    assert plot is not None
    assert [(curve.name, curve.path) for curve in plot.curves] == [
        ("overlap 50% or more", "M0 0L500 500L1000 1000")
    ]
    assert [spot.path for spot in plot.spots] == ["M500 750h0"]
    assert "recall 50.0%, precision 25.0%, 0.10 wrong boxes" in plot.spots[0].tip


def test_wrong_boxes_stand_on_an_axis_of_powers_of_ten() -> None:
    """From 0.01 to 10 there are three powers: 0.1 is at a third, and none at the left edge."""
    plot = alarm_plot(FIGURES)
    assert plot is not None
    assert [tick.text for tick in plot.x_ticks] == ["0.01", "0.1", "1", "10"]
    assert plot.curves[0].path == "M0 750L333 500L1000 0"
    tips = [spot.tip for spot in plot.spots if spot.kind == "guide-dot"]
    assert tips == [
        "Recall 50.0% at 0.1 wrong boxes a photo",
        "Recall 50.0% at 1 wrong boxes a photo",
    ]


def test_recall_is_the_best_with_so_few_wrong_boxes() -> None:
    points = FIGURES["false_alarms"]
    assert isinstance(points, list)
    assert [recall_at(points, most) for most in (0, 0.09, 0.1, 10)] == [0.25, 0.25, 0.5, 1.0]
    assert recall_at([[2.0, 1.0]], 1) == 0.0


def test_each_pair_of_numbers_is_a_dot() -> None:
    plot = count_plot([[0, 0, 1], [4, 2, 5]])
    assert plot is not None
    assert [(spot.path, spot.kind) for spot in plot.spots[1:]] == [
        ("M0 1000h0", "dot size-1"),
        ("M1000 500h0", "dot size-3"),
    ]
    assert "6 photos: 1 are counted right, and the mean error is 1.7 products" in plot.alt


def test_nothing_known_is_nothing_drawn() -> None:
    assert precision_plot({"photos": 3, "products": 0}) is None
    assert alarm_plot({"photos": 3, "products": 0}) is None
    assert count_plot([]) is None
