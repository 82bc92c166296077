"""The results of an ensemble, in sentences."""

from collections.abc import Mapping
from typing import Any

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server.formatting import percent
from fedshelf.simulations.compare.wording.gains import points


def headline(results: Mapping[str, Any]) -> list[str]:
    """Return the outcome in sentences, the answer first.

    Args:
        results: the content of `ensemble.json`
    """
    member = results["members"][results["best_member"]]
    alone = percent(member["test"]["accuracy"])
    lines = [
        "On the images that ensembles are fitted on, the best single model is"
        f" {printable(results['best_member'])}. It is right on {alone} of"
        f" {format_count(results['judged_on']['images'], 'test image')}."
    ]
    lines += [
        f"{_METHOD_NAMES[name]}: {_describe(ensemble)}."
        for name, ensemble in results["ensembles"].items()
    ]
    gains = {name: ensemble["gain"] for name, ensemble in results["ensembles"].items()}
    clear = [name for name, gain in gains.items() if _is_clear(gain) and gain["points"] > 0]
    first = (
        f"An ensemble is better: {_list_clear(clear)}."
        if clear
        else "No ensemble is clearly better than its best member."
    )
    fitted = (
        f"Weights and stacking were fitted on {results['fitted_on']['images']:,} images:"
        f" {results['fitted_on']['told']}."
    )
    return [first, *lines, fitted]


_METHOD_NAMES = {
    "mean": "Mean of the probabilities",
    "weighted": "Weighted mean",
    "vote": "Majority vote",
    "stacking": "Stacking",
}


def _is_clear(gain: Mapping[str, float]) -> bool:
    """Return whether a gain exceeds its margin.

    The margin covers the choice of test images only, not training.
    """
    return abs(gain["points"]) > gain["margin"]


def _describe(ensemble: Mapping[str, Any]) -> str:
    gain = ensemble["gain"]
    more = "more" if gain["points"] >= 0 else "less"
    chance = "" if _is_clear(gain) else ", which may be chance"
    return f"{percent(ensemble['test']['accuracy'])}, {points(gain['points'])} {more}{chance}"


def _list_clear(names: list[str]) -> str:
    titles = [_METHOD_NAMES[name].lower() for name in names]
    are = "is" if len(titles) == 1 else "are"
    return f"{', '.join(titles)} {are} clearly better than the best single model"
