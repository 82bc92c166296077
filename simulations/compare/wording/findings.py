"""The results of a comparison in sentences for decision makers, for terminal and page.

All sentences are made of `compare.json`. With several seeds a difference can be called clear; with
one it is reported as the result of this run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list
from fedshelf.server.formatting import percent
from fedshelf.simulations.compare.arms.arms import ALONE, FEDERATED, LONGER, POOLED, TUNED
from fedshelf.simulations.compare.wording.gains import (
    NamedGain,
    chance,
    change,
    difference,
    each_seed,
    is_sure,
    points,
)

Verdict = Mapping[str, Any]
TITLES = {
    ALONE: "Alone",
    FEDERATED: "Federated",
    LONGER: "Alone, longer",
    TUNED: "Fine-tuned",
    POOLED: "Pooled",
}


def of_store(label: str, store: Mapping[str, Any], *, is_dealt_anew: bool) -> str:
    """Describe a store's gain by joining, with the federated model and with its fine-tuned one.

    Args:
        label: the name of the store's row
        store: its entry in `compare.json`
        is_dealt_anew: whether each seed deals other stores
    """
    gain = store["gain"][FEDERATED]
    models = store["models"]
    if gain is None:
        return f"{printable(label)} has no held-out images, so there is nothing to judge it by."
    name = printable(store["store"])
    past = gain["clear"] is None
    when = f"in seed {store['seeds'][0]}, " if is_dealt_anew else "in this run, "
    line = f"{when if past else ''}{name} {change(gain)} by joining{chance(gain)}"
    accuracies = (
        f"{percent(models[ALONE]['accuracy'])} right alone,"
        f" {percent(models[FEDERATED]['accuracy'])} federated"
    )
    if TUNED in models:
        tuned = store["gain"][TUNED]
        accuracies += (
            f"; {percent(models[LONGER]['accuracy'])} alone for longer,"
            f" {percent(models[TUNED]['accuracy'])} fine-tuned"
        )
        link = "and" if (gain["points"] < 0) == (tuned["points"] < 0) else "but"
        line += (
            f", {link} {change(tuned)} with the model fine-tuned on its own images{chance(tuned)}"
        )
    return (
        f"{line[:1].upper() if past else line[:1]}{line[1:]}: {accuracies}, of"
        f" {format_count(store['held_out'], 'image')}."
    )


def headline(results: Verdict) -> list[str]:
    """Return the outcome in a few sentences, the answer first.

    An unexpected order of the models is stated plainly.
    """
    lines = [
        *_joining(results),
        _stores(results),
        _all_classes(results),
        _pooling(results),
        _scores(results),
        _spread(results),
        _rise(results),
        _unfinished(results),
    ]
    return [line for line in lines if line]


def of_contributions(contributions: Mapping[str, Any]) -> str:
    """Say how well the estimate agrees with leaving stores out; empty if none was left out."""
    if not contributions["has_left_out"] or contributions["agreement"] is None:
        return ""
    stores = format_count(len(contributions["stores"]), "store")
    return (
        "The estimate and the loss of models trained without a store have a rank correlation of"
        f" {contributions['agreement']:.2f} over {stores} (1: the same order, 0: no relation)."
    )


def _joining(results: Verdict) -> list[str]:
    """Return the answer, and the result of the other way to join."""
    federated = results["gains"][FEDERATED][ALONE]
    tuned = results["gains"].get(TUNED, {}).get(LONGER)
    by_itself = _federated(results)
    fine_tuned = _tuning(results) if tuned else ""
    several = federated["clear"] is not None
    if is_sure(federated) and federated["points"] > 0:
        first = "Joining pays" if several else "In this run, joining helped"
    elif tuned and is_sure(tuned) and tuned["points"] > 0:
        first = (
            "Joining pays with fine-tuning"
            if several
            else "In this run, joining helped with fine-tuning"
        )
        return [f"{first}: {fine_tuned}.", f"By itself, {by_itself}."]
    elif federated["points"] <= 0:
        first = (
            "Federated is not better than alone here"
            if several
            else "In this run, federated was not better than alone"
        )
    elif several:
        first = "Joining makes no clear difference"
    else:
        first = "In this run, joining made no difference beyond what its test images leave open"
    return [
        f"{first}: {by_itself}.",
        *([f"{fine_tuned[:1].upper()}{fine_tuned[1:]}."] if fine_tuned else []),
    ]


def _federated(results: Verdict) -> str:
    average = results["average"]
    return (
        f"on average over {_over(results)}, the federated model is right on"
        f" {percent(average[FEDERATED]['accuracy'])} of a store's own held-out images, training"
        f" alone on {percent(average[ALONE]['accuracy'])}:"
        f" {difference(results['gains'][FEDERATED][ALONE])}"
    )


def _tuning(results: Verdict) -> str:
    budget = results["budget"]["fine_tuning"]
    average = results["average"]
    epochs = format_count(budget["epochs"], "epoch")
    return (
        f"fine-tuned at each store for {epochs} with learning rate {budget['lr']:g}, the federated"
        f" model is right on {percent(average[TUNED]['accuracy'])} of a store's own images, a model"
        f" trained alone that gets as many epochs more on {percent(average[LONGER]['accuracy'])}:"
        f" {difference(results['gains'][TUNED][LONGER])}"
    )


def _stores(results: Verdict) -> str:
    """Say how many stores gain and lose, and how many clearly, if that is known."""
    rows = results["stores"].values()
    seeds = len(results["seeds"]["done"])
    kinds = [kind for kind in (FEDERATED, TUNED) if kind in results["average"]]
    gains = {kind: [row["gain"][kind] for row in rows if row["gain"][kind]] for kind in kinds}
    known = len(gains[FEDERATED])
    if seeds == 1:
        clauses = [f"{_won(gains[kind])} {_MODEL[kind]} and {_lost(gains[kind])}" for kind in kinds]
        return f"In this run, of {format_count(known, 'store')}, {'; '.join(clauses)}."
    if results["seeds"]["is_dealt_anew"]:
        clauses = [f"{_won(gains[kind])} {_MODEL[kind]} and {_lost(gains[kind])}" for kind in kinds]
        return (
            f"Of the {format_count(known, 'store')} made in {format_count(seeds, 'seed')},"
            f" {'; '.join(clauses)}. Each was made and trained once, so the gain of a single one"
            " may be chance."
        )
    clauses = [
        f"{_sure(gains[kind], 1)} clearly gain {_MODEL[kind]} and {_sure(gains[kind], -1)} clearly"
        " lose"
        for kind in kinds
    ]
    return (
        f"Of {format_count(known, 'store')}, {'; '.join(clauses)} (corrected for their number by"
        " Holm's method)."
    )


def _all_classes(results: Verdict) -> str:
    if not {ALONE, FEDERATED} <= results.get("server", {}).keys():
        return ""
    alone, federated = (percent(results["server"][kind]["accuracy"]) for kind in (ALONE, FEDERATED))
    images = format_count(results["judged_on"]["server_images"], "test image")
    return (
        f"Of the server's {images} of all classes, the federated model has {federated} right, a"
        f" store's own model {alone} on average."
    )


def _pooling(results: Verdict) -> str:
    gain = results["gains"][POOLED][FEDERATED]
    outcome = f"{percent(results['average'][POOLED]['accuracy'])}: {difference(gain)}"
    if gain["points"] < 0:
        return (
            f"All images pooled in one place are not better than federated here: {outcome} than"
            " federated."
        )
    return (
        f"All images pooled in one place would reach {outcome} than federated, the price of leaving"
        " them where they are."
    )


def _scores(results: Verdict) -> str:
    """State the accuracies by raw scores, if stores' class shares were added."""
    average = results["average"]
    if not any("adjusted" in arm["scores"] for arm in average.values()):
        return ""
    raw = ", ".join(
        f"{TITLES[kind].lower()} {percent(arm['raw_accuracy'])}" for kind, arm in average.items()
    )
    return (
        "Every model is used as a store uses it, which knows how often it sells each class:"
        " the logarithm of the store's own shares of the classes is added to the scores,"
        " unless the model does better without it on validation images. By the raw scores:"
        f" {raw}."
    )


def _spread(results: Verdict) -> str:
    """List the gain of each seed; with one seed, state that there is only one."""
    if len(results["seeds"]["done"]) == 1:
        other = (
            "another split of the images and another training"
            if results["seeds"]["is_dealt"]
            else "another training"
        )
        return (
            f"This is one seed: the result of {other} is not known, and no margin includes it;"
            " --seeds 0,1,2 shows it."
        )
    gains = results["gains"]
    clauses = [f"federated over alone {each_seed(gains[FEDERATED][ALONE]['seeds'])}"]
    if TUNED in results["average"]:
        tuned = each_seed(gains[TUNED][LONGER]["seeds"])
        clauses.append(f"fine-tuned over alone for longer {tuned}")
    return f"Gains in points, seed by seed: {'; '.join(clauses)}."


def _rise(results: Verdict) -> str:
    """Return a warning if more rounds might change the answer."""
    if results["budget"].get("is_solved"):
        return ""
    curve = results["curves"]["models"].get(FEDERATED)
    if curve is None:
        return (
            "No round was judged, so it is not known whether the federated model was still getting"
            " better at the end."
        )
    if curve["rise"] is None:
        return (
            "Too few rounds were judged to see whether the federated model was still getting better"
            " at the end."
        )
    if not curve["still_rises"]:
        return ""
    return (
        f"The federated model was still getting better at the end, by {points(curve['rise'])} over"
        " the last third of its rounds: with more --rounds this comparison may end differently."
    )


def _unfinished(results: Verdict) -> str:
    asked, done = (results["seeds"][key] for key in ("asked", "done"))
    if len(asked) == len(done):
        return ""
    return (
        f"Not finished: this is of {len(done)} of {format_count(len(asked), 'seed')}"
        f" ({format_list(done)} of {format_list(asked)})."
    )


_MODEL = {FEDERATED: "with the federated model", TUNED: "with the fine-tuned one"}


def _over(results: Verdict) -> str:
    seeds = len(results["seeds"]["done"])
    stores = len({row["store"] for row in results["stores"].values()})
    return format_count(stores, "store") + (
        f" in each of {format_count(seeds, 'seed')}" if seeds > 1 else ""
    )


def _won(gains: Sequence[NamedGain]) -> str:
    return f"{sum(gain['points'] > 0 for gain in gains)} gained"


def _lost(gains: Sequence[NamedGain]) -> str:
    return f"{sum(gain['points'] < 0 for gain in gains)} lost"


def _sure(gains: Sequence[NamedGain], sign: int) -> int:
    return sum(bool(gain["clear"]) and sign * gain["points"] > 0 for gain in gains)
