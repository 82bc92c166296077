"""Sentences on the method of a comparison: the work of each model, and the sources of variation in
its margins.
"""

from collections.abc import Mapping
from typing import Any

from fedshelf.common.wording import format_count
from fedshelf.simulations.compare.arms.arms import ALONE, FEDERATED, POOLED


def budget(found: Mapping[str, Any]) -> list[str]:
    """Say how much local work each model got, and that models compared with each other got the
    same.
    """
    told = found["budget"]
    tuning = found["budget"]["fine_tuning"]
    federated = told["federated"]
    others = told["alone_and_pooled"]
    lines = [
        f"Federated: {_rounds(federated, 'local epoch')}. Alone and pooled:"
        f" {_rounds(others, 'epoch')}, so that each model sees each of its images as often as"
        " the federated model sees each image of a store."
    ]
    if tuning["epochs"]:
        more = format_count(tuning["epochs"], "epoch")
        lines.append(
            f"Fine-tuned: from the federated model, {more} more on the store's own images with"
            f" learning rate {tuning['lr']:g}. Alone, longer: from the store's model alone,"
            f" {more} more in the same way. The fine-tuned model is compared with this one,"
            " because both got the same work."
        )
    if told["patience"]:
        lines.append(_stopped_early(found))
    return lines


def margins(found: Mapping[str, Any]) -> str:
    """Say which sources of variation the margins include."""
    if len(found["seeds"]["done"]) == 1:
        return (
            "Margins (±) are 95% intervals for the choice of test images alone. They do not"
            " include the result of another training: that takes several seeds."
        )
    split = ", including the split of the images over the stores"
    line = (
        "Margins (±) are 95% intervals for the choice of test images and for all that a seed"
        f" decides{split if found['seeds']['is_dealt'] else ''}."
    )
    if found["seeds"]["is_dealt_anew"]:
        return (
            f"{line} Each seed makes other stores: each store was trained once, and its margin"
            " is for the choice of its images alone."
        )
    return (
        f"{line} Whether a store's gain is clear is corrected for the number of stores by"
        " Holm's method."
    )


def _rounds(told: Mapping[str, int], epoch: str) -> str:
    return f"{format_count(told['rounds'], 'round')} of {format_count(told['epochs'], epoch)}"


def _stopped_early(found: Mapping[str, Any]) -> str:
    """Say how many rounds each kind of model was trained, in a comparison with early stopping."""
    played: dict[str, list[int]] = {}
    for name, part in found["parts"].items():
        played.setdefault(name.split("/")[1], []).append(part["rounds"])
    told = [
        f"{kind} {min(played[kind])}"
        + (f" to {max(played[kind])}" if max(played[kind]) > min(played[kind]) else "")
        for kind in (FEDERATED, ALONE, POOLED)
    ]
    return (
        f"Each stopped by its own validation images (evaluation.patience): {', '.join(told)}"
        " rounds."
    )
