"""The rows of the benchmark of learning on scenes: each has the scenes that its name says."""

from benchmarks.scene_learning import STORES, contestants, interval, positions
from fedshelf.simulations.datasets.scenes.shelf_scenes import PER_STYLE, STYLES


def test_the_stores_have_every_scene_once_and_no_style_in_common() -> None:
    assert sorted(style for styles in STORES.values() for style in styles) == sorted(STYLES)
    places = [place for styles in STORES.values() for place in positions(styles)]
    assert sorted(places) == list(range(PER_STYLE["train"] * len(STYLES)))


def test_every_row_takes_as_many_steps_as_the_pooled_one() -> None:
    rows = contestants("boxes", 0, [])
    work = {
        name: sum(map(len, stores)) * epochs
        for name, (_, _, stores, epochs, _) in ((name, row.args) for name, row in rows.items())
    }
    assert len(work) == 2 + len(STORES)
    assert set(work.values()) == {work["pooled"]}


def test_an_interval_is_student_s() -> None:
    # mean 2, standard deviation 1, and t with two degrees of freedom is 4.303 at 95%
    assert interval([1.0, 2.0, 3.0]) == "2.0 ± 2.5"
    assert interval([97.53]) == "97.5"
    assert interval([]) == "-"
    assert interval([5.0, 5.0]) == "5.0 ± 0.0"
