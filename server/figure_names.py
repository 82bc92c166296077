"""Figures of evaluations: the main one, those that are listed beside it, and their names."""

from collections.abc import Mapping
from typing import Any

# figures of tasks on scenes, whose photos have no class: the one that counts first, then others
SCENE_FIGURES = {
    "ap": {"ap": "AP", "ap_50": "AP50", "ap_75": "AP75"},
    "iou": {"iou": "IoU"},
}

# by train.objective: the share of right photos of scenes, where nothing better is known of them
RIGHT_SCENES = {"boxes": "photos_without_mistake", "masks": "photos_of_iou_75"}

LISTED_OF_SCENES = ("ap_50", "count_error")
# of every evaluation; all others are of further metrics
USUAL_FIGURES = frozenset({
    "accuracy", "macro_f1", "macro_precision", "macro_recall", "loss", "images", "on", "interval",
    "baseline", "per_class", "confusion", "stores", "spread", *RIGHT_SCENES.values(),
})  # fmt: skip

MAIN_TITLES = {
    **{key: figures[key] for key, figures in SCENE_FIGURES.items()},
    "photos_without_mistake": "photos without a mistake",
    "photos_of_iou_75": "photos with a mean IoU of 75% or more",
}
FURTHER_TITLES = {
    **{key: title for figures in SCENE_FIGURES.values() for key, title in figures.items()},
    "ap_recall_1": "Recall at one wrong box a photo",
    "ap_recall_10th": "Recall at one wrong box in ten photos",
    "count_error": "Count off by, in products a photo, with boxes from a score of 0.3 on",
    "count_share": "Count off by, as a share of the products, with boxes from a score of 0.3 on",
}


def main_figure(evaluation: Mapping[str, Any] | None) -> str:
    """Return the key of the figure that says how good a model is.

    It is the accuracy, but on scenes the average precision of boxes or the overlap of masks: the
    share of photos without any mistake says little of them, and stands for them if no more is told.

    Args:
        evaluation: scores by name; None: there are none
    """
    return next((key for key in MAIN_TITLES if key in (evaluation or {})), "accuracy")


def name_share(evaluation: Mapping[str, Any], objective: str) -> dict[str, Any]:
    """Return an evaluation with its share of right photos by its name, if it knows no more.

    It is called accuracy for all tasks, which on scenes is no accuracy of names. No more is known
    from noised counts, and of stores whose policy tells numbers of right photos alone.

    Args:
        evaluation: scores by name
        objective: the run's train.objective
    """
    if objective not in RIGHT_SCENES or main_figure(evaluation) != "accuracy":
        return dict(evaluation)
    return {**evaluation, RIGHT_SCENES[objective]: evaluation["accuracy"]}


def main_title(evaluation: Mapping[str, Any] | None) -> str:
    """Return the name of the main figure in words: "accuracy", "AP"."""
    return figure_title(main_figure(evaluation))


def figure_title(key: str) -> str:
    """Return the name of a main figure in a sentence: "accuracy", "AP"."""
    return MAIN_TITLES.get(key, key)


def figure_heading(key: str) -> str:
    """Return the name of a main figure above a column or picture: "Accuracy", "AP"."""
    title = figure_title(key)
    return f"{title[:1].upper()}{title[1:]}"


def listed_figures(evaluation: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Return the figures that a table lists beside the main one.

    Of scenes these are AP50 and the errors of counts, of other photos those of further metrics.

    Args:
        evaluation: scores by name; None: there are none
    """
    known = evaluation or {}
    if main_figure(known) in SCENE_FIGURES:
        return {key: known[key] for key in LISTED_OF_SCENES if key in known}
    return {
        key: value
        for key, value in known.items()
        if key not in USUAL_FIGURES and (value is None or isinstance(value, int | float))
    }
