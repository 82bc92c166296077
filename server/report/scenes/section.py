"""All that the page shows of a model for scenes."""

from dataclasses import dataclass

from fedshelf.common.wording import format_count
from fedshelf.server import formatting
from fedshelf.server.figure_names import SCENE_FIGURES
from fedshelf.server.report.scenes.pictures import Pictures, pictures
from fedshelf.server.report.scenes.plots import Plot, alarm_plot, count_plot, precision_plot
from fedshelf.server.report.scenes.scene_run import SceneRun
from fedshelf.server.report.scenes.stores import SceneStores, scene_stores


@dataclass(frozen=True)
class ScenePart:
    """The page's part on scenes; what is not known is None or empty.

    Attributes:
        pictures:  test photos of the server
        plots:     precision, wrong boxes and counts
        sentences: on those plots
        stores:    figures per store
    """

    pictures: Pictures | None
    plots: list[Plot]
    sentences: list[str]
    stores: SceneStores | None


def scene_part(run: SceneRun, figure: str) -> ScenePart | None:
    """Return the part on scenes; None if the model is for photos of single products.

    Args:
        run: its files
        figure: the key of its main figure
    """
    if figure not in SCENE_FIGURES:
        return None
    figures = run.evaluation.get("scenes") or {}
    counts = (run.test_scenes or {}).get("counts") or []
    plots = [precision_plot(figures), alarm_plot(figures), count_plot(counts)]
    return ScenePart(
        pictures(run.test_scenes),
        [plot for plot in plots if plot is not None],
        _sentences(run),
        scene_stores(run, figure),
    )


def _sentences(run: SceneRun) -> list[str]:
    """Say on which photos the plots are, and where the threshold comes from."""
    figures = run.evaluation.get("scenes") or {}
    counting = run.summary.get("counting") or {}
    if overlaps := figures.get("overlaps"):
        known = [
            f"{formatting.percent(value)} of {name}"
            for name, value in overlaps.items()
            if value is not None
        ]
        return [f"IoU over all pixels of the test photos: {', '.join(known)}."] if known else []
    if not figures.get("precision"):
        return []
    whose = "the server's" if counting.get("on") == "server" else "the stores'"
    products = format_count(figures["products"], "product")
    chosen = (
        "the validation photos chose it, as the one with the least error of their counts"
        if counting.get("chosen_on")
        else "no validation photos chose it"
    )
    at = figures["at_threshold"]
    return [
        f"On {whose} {format_count(figures['photos'], 'test photo')} with {products}. Boxes count"
        f" from a score of {figures['threshold']:g} on ({chosen}):"
        f" {formatting.percent(at['recall'])} of the products are found,"
        f" {formatting.percent(at['precision'])} of the boxes are right, and there are"
        f" {formatting.decimal(at['false_alarms'], 2)} wrong ones a photo.",
        f"Counts are off by {formatting.decimal(counting.get('count_error'), 1)} products a photo;"
        f" the mean of counted minus true is {_signed(counting.get('count_bias'))}.",
    ]


def _signed(value: float | None) -> str:
    return formatting.UNKNOWN if value is None else f"{value:+.2f}"
