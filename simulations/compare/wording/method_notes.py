"""Sentences on the method of a comparison: each model's work, and the sources of its margins."""

from collections.abc import Mapping
from typing import Any

from fedshelf.common.wording import format_count
from fedshelf.simulations.compare.arms.arms import ALONE, FEDERATED, POOLED


def budget(results: Mapping[str, Any]) -> list[str]:
    """Say how much local work each model got.

    Models that are compared with each other got the same.
    """
    work = results["budget"]
    tuning = results["budget"]["fine_tuning"]
    federated = work["federated"]
    others = work["alone_and_pooled"]
    if work.get("is_solved"):  # absent in comparisons of earlier versions
        first = (
            "Federated, alone and pooled: one round, in which the head is solved for in closed"
            " form, so that each model sees each of its images once, and more rounds would change"
            " nothing."
        )
    else:
        first = (
            f"Federated: {_rounds(federated, 'local epoch')}. Alone and pooled:"
            f" {_rounds(others, 'epoch')}, so that each model sees each of its images as often as"
            " the federated model sees each image of a store."
        )
    lines = [first]
    if tuning["epochs"]:
        more = format_count(tuning["epochs"], "epoch")
        lines.append(
            f"Fine-tuned: from the federated model, {more} more on the store's own images with"
            f" learning rate {tuning['lr']:g}. Alone, longer: from the store's model alone,"
            f" {more} more in the same way. The fine-tuned model is compared with this one,"
            " because both got the same work."
        )
    if work["patience"]:
        lines.append(_stopped_early(results))
    return lines


def margins(results: Mapping[str, Any]) -> str:
    """Say which sources of variation the margins include."""
    if len(results["seeds"]["done"]) == 1:
        return (
            "Margins (±) are 95% intervals for the choice of test images alone. They do not"
            " include the result of another training: that takes several seeds."
        )
    split = ", including the split of the images over the stores"
    line = (
        "Margins (±) are 95% intervals for the choice of test images and for all that a seed"
        f" decides{split if results['seeds']['is_dealt'] else ''}."
    )
    if results["seeds"]["is_dealt_anew"]:
        return (
            f"{line} Each seed makes other stores: each store was trained once, and its margin"
            " is for the choice of its images alone."
        )
    return (
        f"{line} Whether a store's gain is clear is corrected for the number of stores by"
        " Holm's method."
    )


def _rounds(training: Mapping[str, int], epoch: str) -> str:
    return (
        f"{format_count(training['rounds'], 'round')} of {format_count(training['epochs'], epoch)}"
    )


def _stopped_early(results: Mapping[str, Any]) -> str:
    """Say how many rounds each kind of model was trained, in a comparison with early stopping."""
    rounds_of_kind: dict[str, list[int]] = {}
    for name, part in results["parts"].items():
        rounds_of_kind.setdefault(name.split("/")[1], []).append(part["rounds"])
    rounds = [
        f"{kind} {min(rounds_of_kind[kind])}"
        + (
            f" to {max(rounds_of_kind[kind])}"
            if max(rounds_of_kind[kind]) > min(rounds_of_kind[kind])
            else ""
        )
        for kind in (FEDERATED, ALONE, POOLED)
    ]
    return (
        f"Each stopped by its own validation images (evaluation.patience): {', '.join(rounds)}"
        " rounds."
    )
