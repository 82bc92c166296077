"""The results of a comparison in sentences for decision makers, made of `compare.json`, for
terminal and page.

With several seeds a difference can be called clear; with one it is reported as the result of this
run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fedshelf.common.wording import format_count, format_list, printable
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
    """Describe a store's gain by joining, with the federated model as it is and with its own
    fine-tuned one.
    """
    gain = store["gain"][FEDERATED]
    models = store["models"]
    if gain is None:
        return f"{printable(label)} has no held-out images, so there is nothing to judge it by."
    name = printable(store["store"])
    past = gain["clear"] is None
    when = f"in seed {store['seeds'][0]}, " if is_dealt_anew else "in this run, "
    line = f"{when if past else ''}{name} {change(gain)} by joining{chance(gain)}"
    told = (
        f"{percent(models[ALONE]['accuracy'])} right alone,"
        f" {percent(models[FEDERATED]['accuracy'])} federated"
    )
    if TUNED in models:
        tuned = store["gain"][TUNED]
        told += (
            f"; {percent(models[LONGER]['accuracy'])} alone for longer,"
            f" {percent(models[TUNED]['accuracy'])} fine-tuned"
        )
        link = "and" if (gain["points"] < 0) == (tuned["points"] < 0) else "but"
        line += (
            f", {link} {change(tuned)} with the model fine-tuned on its own images{chance(tuned)}"
        )
    return (
        f"{line[:1].upper() if past else line[:1]}{line[1:]}: {told}, of"
        f" {format_count(store['held_out'], 'image')}."
    )


def headline(found: Verdict) -> list[str]:
    """Return the outcome in a few sentences, the answer first; an unexpected order of the models is
    said plainly.
    """
    lines = [
        *_joining(found),
        _stores(found),
        _all_classes(found),
        _pooling(found),
        _scores(found),
        _spread(found),
        _rise(found),
        _unfinished(found),
    ]
    return [line for line in lines if line]


def of_contributions(told: Mapping[str, Any]) -> str:
    """Say how well the estimate agrees with leaving stores out; empty if none was left out."""
    if not told["has_left_out"] or told["agreement"] is None:
        return ""
    stores = format_count(len(told["stores"]), "store")
    return (
        "The estimate and the loss of models trained without a store have a rank correlation of"
        f" {told['agreement']:.2f} over {stores} (1: the same order, 0: no relation)."
    )


def _joining(found: Verdict) -> list[str]:
    """Return the answer, and the result of the other way to join."""
    federated = found["gains"][FEDERATED][ALONE]
    tuned = found["gains"].get(TUNED, {}).get(LONGER)
    by_itself = _federated(found)
    fine_tuned = _tuning(found) if tuned else ""
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


def _federated(found: Verdict) -> str:
    average = found["average"]
    return (
        f"on average over {_over(found)}, the federated model is right on"
        f" {percent(average[FEDERATED]['accuracy'])} of a store's own held-out images, training"
        f" alone on {percent(average[ALONE]['accuracy'])}:"
        f" {difference(found['gains'][FEDERATED][ALONE])}"
    )


def _tuning(found: Verdict) -> str:
    budget = found["budget"]["fine_tuning"]
    average = found["average"]
    epochs = format_count(budget["epochs"], "epoch")
    return (
        f"fine-tuned at each store for {epochs} with learning rate {budget['lr']:g}, the federated"
        f" model is right on {percent(average[TUNED]['accuracy'])} of a store's own images, a model"
        f" trained alone that gets as many epochs more on {percent(average[LONGER]['accuracy'])}:"
        f" {difference(found['gains'][TUNED][LONGER])}"
    )


def _stores(found: Verdict) -> str:
    """Say how many stores gain and lose, and how many clearly, if that is known."""
    rows = found["stores"].values()
    seeds = len(found["seeds"]["done"])
    kinds = [kind for kind in (FEDERATED, TUNED) if kind in found["average"]]
    gains = {kind: [row["gain"][kind] for row in rows if row["gain"][kind]] for kind in kinds}
    known = len(gains[FEDERATED])
    if seeds == 1:
        told = [f"{_won(gains[kind])} {_MODEL[kind]} and {_lost(gains[kind])}" for kind in kinds]
        return f"In this run, of {format_count(known, 'store')}, {'; '.join(told)}."
    if found["seeds"]["is_dealt_anew"]:
        told = [f"{_won(gains[kind])} {_MODEL[kind]} and {_lost(gains[kind])}" for kind in kinds]
        return (
            f"Of the {format_count(known, 'store')} made in {format_count(seeds, 'seed')},"
            f" {'; '.join(told)}. Each was made and trained once, so the gain of a single one"
            " may be chance."
        )
    told = [
        f"{_sure(gains[kind], 1)} clearly gain {_MODEL[kind]} and {_sure(gains[kind], -1)} clearly"
        " lose"
        for kind in kinds
    ]
    return (
        f"Of {format_count(known, 'store')}, {'; '.join(told)} (corrected for their number by"
        " Holm's method)."
    )


def _all_classes(found: Verdict) -> str:
    if not {ALONE, FEDERATED} <= found.get("server", {}).keys():
        return ""
    alone, federated = (percent(found["server"][kind]["accuracy"]) for kind in (ALONE, FEDERATED))
    images = format_count(found["judged_on"]["server_images"], "test image")
    return (
        f"Of the server's {images} of all classes, the federated model has {federated} right, a"
        f" store's own model {alone} on average."
    )


def _pooling(found: Verdict) -> str:
    gain = found["gains"][POOLED][FEDERATED]
    told = f"{percent(found['average'][POOLED]['accuracy'])}: {difference(gain)}"
    if gain["points"] < 0:
        return (
            f"All images pooled in one place are not better than federated here: {told} than"
            " federated."
        )
    return (
        f"All images pooled in one place would reach {told} than federated, the price of leaving"
        " them where they are."
    )


def _scores(found: Verdict) -> str:
    """State the accuracies by raw scores, if stores' class shares were added."""
    average = found["average"]
    if not any("adjusted" in each["scores"] for each in average.values()):
        return ""
    raw = ", ".join(
        f"{TITLES[kind].lower()} {percent(each['raw_accuracy'])}" for kind, each in average.items()
    )
    return (
        "Every model is used as a store uses it, which knows how often it sells each class:"
        " the logarithm of the store's own shares of the classes is added to the scores,"
        " unless the model does better without it on validation images. By the raw scores:"
        f" {raw}."
    )


def _spread(found: Verdict) -> str:
    """List the gain of each seed; with one seed, say that there is only one."""
    if len(found["seeds"]["done"]) == 1:
        other = (
            "another split of the images and another training"
            if found["seeds"]["is_dealt"]
            else "another training"
        )
        return (
            f"This is one seed: the result of {other} is not known, and no margin includes it;"
            " --seeds 0,1,2 shows it."
        )
    told = [f"federated over alone {each_seed(found['gains'][FEDERATED][ALONE]['seeds'])}"]
    if TUNED in found["average"]:
        told.append(
            f"fine-tuned over alone for longer {each_seed(found['gains'][TUNED][LONGER]['seeds'])}"
        )
    return f"Gains in points, seed by seed: {'; '.join(told)}."


def _rise(found: Verdict) -> str:
    """Return a warning if more rounds might change the answer."""
    curve = found["curves"]["models"].get(FEDERATED)
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


def _unfinished(found: Verdict) -> str:
    asked, done = (found["seeds"][key] for key in ("asked", "done"))
    if len(asked) == len(done):
        return ""
    return (
        f"Not finished: this is of {len(done)} of {format_count(len(asked), 'seed')}"
        f" ({format_list(done)} of {format_list(asked)})."
    )


_MODEL = {FEDERATED: "with the federated model", TUNED: "with the fine-tuned one"}


def _over(found: Verdict) -> str:
    seeds = len(found["seeds"]["done"])
    stores = len({row["store"] for row in found["stores"].values()})
    return format_count(stores, "store") + (
        f" in each of {format_count(seeds, 'seed')}" if seeds > 1 else ""
    )


def _won(gains: Sequence[NamedGain]) -> str:
    return f"{sum(gain['points'] > 0 for gain in gains)} gained"


def _lost(gains: Sequence[NamedGain]) -> str:
    return f"{sum(gain['points'] < 0 for gain in gains)} lost"


def _sure(gains: Sequence[NamedGain], sign: int) -> int:
    return sum(bool(gain["clear"]) and sign * gain["points"] > 0 for gain in gains)
