"""What a comparison found, in sentences for whoever has to decide."""

from collections.abc import Mapping
from typing import Any

from server.report.words import counted, percent, printable
from simulations.compare.parts import ALONE, FEDERATED, POOLED, TUNED

Verdict = Mapping[str, Any]


def points(value: float) -> str:
    """12.3 -> "12 points", 1.04 -> "1 point", 0.52 -> "0.5 points"."""
    rounded = round(abs(value)) if abs(value) >= 1.95 else round(abs(value), 1)
    return f"{rounded:g} {'point' if rounded == 1 else 'points'}"


def is_clear(gain: Mapping[str, float]) -> bool:
    """Whether it is larger than chance alone explains."""
    return abs(gain["points"]) > gain["margin"]


def of_store(name: str, store: Mapping[str, Any]) -> str:
    """What joining would bring this store, with the federated model as it is and with its own fine-tuned one."""
    gain, models = store["gain"][FEDERATED], store["models"]
    if gain is None:
        return f"{printable(name)} has no held-out images, so there is nothing to judge it by."
    told = f"{percent(models[ALONE]['accuracy'])} right alone, {percent(models[FEDERATED]['accuracy'])} federated"
    line = f"{printable(name)} would {_change(gain)} by joining{_chance(gain)}"
    if TUNED in models:
        tuned = store["gain"][TUNED]
        told += f", {percent(models[TUNED]['accuracy'])} fine-tuned"
        link = "and" if (gain["points"] < 0) == (tuned["points"] < 0) else "but"
        line += f", {link} {_change(tuned)} with the model fine-tuned on its own images{_chance(tuned)}"
    return f"{line}: {told}, of {counted(store['held_out'], 'image')}."


def headline(found: Verdict) -> list[str]:
    """The outcome in a few sentences, the answer first; an unexpected order of the models is said plainly."""
    lines = [_joining(found), _stores(found)]
    if TUNED in found["average"]:
        lines.append(_tuning(found))
    if {ALONE, FEDERATED} <= found.get("server", {}).keys():
        lines.append(_all_classes(found))
    return [*lines, _pooling(found)]


def of_contributions(told: Mapping[str, Any]) -> str:
    """How well the estimate agrees with leaving stores out; empty if none was left out."""
    if not told["has_left_out"] or told["agreement"] is None:
        return ""
    stores = counted(len(told["stores"]), "store")
    return (
        f"The estimate and the loss of models trained without a store have a rank correlation of"
        f" {told['agreement']:.2f} over {stores} (1: the same order, 0: no relation)."
    )


def _joining(found: Verdict) -> str:
    gain, tuned = found["gains"][FEDERATED][ALONE], found["gains"].get(TUNED, {}).get(ALONE)
    stores, average = counted(len(found["stores"]), "store"), found["average"]
    told = (
        f"on average over {stores}, the federated model is right on {percent(average[FEDERATED]['accuracy'])} of a"
        f" store's own held-out images, training alone on {percent(average[ALONE]['accuracy'])}: {_difference(gain)}"
    )
    if is_clear(gain) and gain["points"] > 0:
        return f"Joining pays: {told}."
    if gain["points"] > 0:
        return f"Joining makes no clear difference: {told}."
    if tuned and is_clear(tuned) and tuned["points"] > 0:
        return f"Joining pays only with fine-tuning; by itself, federated is not better than alone here: {told}."
    return f"Federated is not better than alone here: {told}."


def _stores(found: Verdict) -> str:
    gains = [store["gain"][FEDERATED] for store in found["stores"].values() if store["gain"][FEDERATED]]
    won = sum(is_clear(gain) and gain["points"] > 0 for gain in gains)
    lost = sum(is_clear(gain) and gain["points"] < 0 for gain in gains)
    return f"With it as it is, {counted(won, 'store')} of {len(gains)} would clearly gain and {lost} clearly lose."


def _tuning(found: Verdict) -> str:
    gain, budget = found["gains"][TUNED], found["budget"]["fine_tuning"]
    return (
        f"Fine-tuned at each store for {counted(budget['epochs'], 'epoch')} with learning rate {budget['lr']:g}, the"
        f" federated model is right on {percent(found['average'][TUNED]['accuracy'])} of a store's own images:"
        f" {_difference(gain[ALONE])} than alone."
    )


def _all_classes(found: Verdict) -> str:
    alone, federated = (percent(found["server"][kind]["accuracy"]) for kind in (ALONE, FEDERATED))
    images = counted(found["judged_on"]["server_images"], "test image")
    return (
        f"Of the server's {images} of all classes, the federated model has {federated} right, a store's own model"
        f" {alone} on average."
    )


def _pooling(found: Verdict) -> str:
    gain = found["gains"][POOLED][FEDERATED]
    told = f"{percent(found['average'][POOLED]['accuracy'])}: {_difference(gain)}"
    if gain["points"] < 0:
        return f"All images pooled in one place are not better than federated here: {told} than federated."
    return (
        f"All images pooled in one place would reach {told} than federated, the price of leaving them where they are."
    )


def _change(gain: Mapping[str, float]) -> str:
    if gain["points"] == 0:
        return "neither gain nor lose"
    return f"{'gain' if gain['points'] > 0 else 'lose'} {points(gain['points'])}"


def _chance(gain: Mapping[str, float]) -> str:
    return "" if is_clear(gain) else " (which may be chance)"


def _difference(gain: Mapping[str, float]) -> str:
    more = "more" if gain["points"] >= 0 else "less"
    return f"{points(gain['points'])} {more} (give or take {points(gain['margin'])})"
