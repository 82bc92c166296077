"""The results of an ensemble, in sentences."""

from collections.abc import Mapping
from typing import Any

from fedshelf.common.wording import format_count, printable
from fedshelf.server.formatting import percent
from fedshelf.simulations.compare.wording.gains import points


def headline(found: Mapping[str, Any]) -> list[str]:
    """Return the outcome in sentences, the answer first: does the ensemble pay?

    The ensemble named is the one best on the images of the fit, among those without fitted
    parameters: fitted ones have seen these images.
    """
    member = found["members"][found["best_member"]]
    alone = percent(member["test"]["accuracy"])
    lines = [
        f"The best single model is {printable(found['best_member'])}, by the images that ensembles"
        f" are fitted on: it is right on {alone} of"
        f" {format_count(found['judged_on']['images'], 'test image')}."
    ]
    lines += [f"{_NAMES[name]}: {_told(each)}." for name, each in found["ensembles"].items()]
    gains = {name: each["gain"] for name, each in found["ensembles"].items()}
    clear = [name for name, gain in gains.items() if _is_clear(gain) and gain["points"] > 0]
    first = (
        f"Deciding together pays: {_all(clear)}."
        if clear
        else "No ensemble is clearly better than its best member."
    )
    fitted = (
        f"Weights and stacking were fitted on {found['fitted_on']['images']:,} images:"
        f" {found['fitted_on']['told']}."
    )
    return [first, *lines, fitted]


_NAMES = {
    "mean": "Mean of the probabilities",
    "weighted": "Weighted mean",
    "vote": "Majority vote",
    "stacking": "Stacking",
}


def _is_clear(gain: Mapping[str, float]) -> bool:
    """Return whether a gain exceeds its margin, which is for the choice of test images only, not
    for training.
    """
    return abs(gain["points"]) > gain["margin"]


def _told(each: Mapping[str, Any]) -> str:
    gain = each["gain"]
    more = "more" if gain["points"] >= 0 else "less"
    chance = "" if _is_clear(gain) else ", which may be chance"
    return f"{percent(each['test']['accuracy'])}, {points(gain['points'])} {more}{chance}"


def _all(names: list[str]) -> str:
    told = [_NAMES[name].lower() for name in names]
    are = "is" if len(told) == 1 else "are"
    return f"{', '.join(told)} {are} clearly better than the best single model"
