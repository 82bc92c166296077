"""The parts of a model card that are a locator's or a mask network's own."""

from collections.abc import Mapping
from typing import Any

from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.release.markdown import share, store_table, table
from fedshelf.common.scenes.scene_classes import ANY_PRODUCT
from fedshelf.common.wording import format_count

_DRAWN = "shelf-scenes"  # the data set of shelves that the program draws
_BOX_MEASURES = {"AP50": "ap_50", "AP75": "ap_75", "count error": "count_share"}
_MASK_MEASURES = {"IoU": "iou"}


def located_results(description: ModelDescription, summary: Mapping[str, Any]) -> list[str]:
    """Return how well products are found: in all, of each class, at each store.

    Empty if nobody measured it.
    """
    test = summary.get("test") or {}
    lines = []
    if test.get("ap_50") is not None:
        lines += [
            "",
            f"On {test.get('images')} test photos of scenes: AP50 {share(test['ap_50'])}, AP75"
            f" {share(test.get('ap_75'))}, AP {share(test.get('ap'))}; AP50 takes a box for right"
            " if it overlaps a product by half (intersection over union), AP75 by three quarters.",
        ]
    lines += _class_table(description, test)
    stores = store_table(summary, _BOX_MEASURES)
    if stores:
        stores += ["", "A count error is a share of the products, at the threshold 0.3."]
    return lines + stores


def _class_table(description: ModelDescription, test: Mapping[str, Any]) -> list[str]:
    """Return the results of each class of products; none if a product is a product."""
    per_class = test.get("per_class")
    if not per_class or description.classes == ANY_PRODUCT:
        return []
    shown = dict(zip(description.classes, description.class_names, strict=True))
    rows = (
        (
            shown.get(name, name),
            *(share(row.get(key)) for key in ("ap", "ap_50")),
            row.get("products", "-"),
        )
        for name, row in per_class.items()
    )
    return [
        "",
        "A box counts only for a product of its own class, and AP is the mean over the classes:",
        *table(("class", "AP", "AP50", "products"), rows),
    ]


def counting_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the section on the score from which on boxes count."""
    counting = summary.get("counting") or {}
    lines = ["## Counting", ""]
    if "threshold" not in counting:
        return [*lines, "No score was chosen from which on a box counts; 0.3 is usual."]
    chosen = "chosen on validation photos" if counting.get("chosen_on") else "the usual one"
    lines.append(f"- Score from which on a box counts: {counting['threshold']}, {chosen}")
    if isinstance(counting.get("count_error"), int | float):
        lines.append(
            f"- With it the count of a test photo is off by {counting['count_error']:.2f} products"
            f" ({share(counting.get('count_share'))} of the products), and"
            f" {counting.get('count_bias', 0):+.2f} on the average"
        )
    return lines


def locator_limits(description: ModelDescription) -> list[str]:
    """Return the limits of a locator in plain words."""
    return [
        "## Limits",
        "",
        "- It counts only what is in view. It does not see what stands behind or below something"
        " else.",
        _names(description),
        _shelves(description),
        "- Products that look very small or very large on a photo are missed or divided: their size"
        " on the photo must be about that of the training. Tiles help with small ones.",
    ]


def mask_results(description: ModelDescription, summary: Mapping[str, Any]) -> list[str]:
    """Return how well pixels are told, in all and at each store; empty: nobody measured it."""
    test = summary.get("test") or {}
    over = (
        "the background and the classes" if _names_masks(description) else "product and background"
    )
    lines = []
    if test.get("iou") is not None:
        lines += [
            "",
            f"On {test.get('images')} test photos of scenes: IoU {share(test['iou'])}, the mean"
            f" over {over} of the pixels told rightly, as a share of those that are or are told to"
            " be of it.",
        ]
    return lines + store_table(summary, _MASK_MEASURES)


def mask_limits(description: ModelDescription) -> list[str]:
    """Return the limits of a mask network in plain words."""
    told = "which pixels show a product, not which product,"
    if _names_masks(description):
        known = format_count(len(description.classes) - 1, "class", "classes")
        told = f"which pixels show a product of {known} that it knows,"
    return [
        "## Limits",
        "",
        f"- It tells {told} and not where one ends and the next begins: pixels are no count.",
        "- It sees only what is in view; what stands behind is not seen.",
        _shelves(description),
    ]


def _names_masks(description: ModelDescription) -> bool:
    """Return whether a mask network tells classes of products apart."""
    return description.classes[1:] != ANY_PRODUCT  # the first one is the background


def _names(description: ModelDescription) -> str:
    """Return which names a locator gives."""
    if description.classes == ANY_PRODUCT:
        return "- It finds products and does not name them. A classifier names what it finds."
    count = format_count(len(description.classes), "class", "classes")
    return (
        f"- It knows {count} of products alone. Another product is missed, or gets a name that is"
        " not its own."
    )


def _shelves(description: ModelDescription) -> str:
    """Return what photos of the training mean for real shelves."""
    if (description.provenance or {}).get("dataset") == _DRAWN:
        return (
            "- It was trained and judged on drawn shelves alone, never on a photo of a real one."
            " Expect worse results there, and measure them on photos of your own before you rely on"
            " it."
        )
    return (
        "- It was judged on photos like those of its stores. Other shelves, cameras and lights may"
        " give worse results: measure it on photos of your own before you rely on it. Drawn or"
        " composed scenes are easier than real shelves."
    )
