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
    """What joining would bring this store."""
    gain, models = store["gain"][FEDERATED], store["models"]
    if gain is None:
        return f"{printable(name)} has no held-out images, so there is nothing to judge it by."
    told = f"{percent(models[ALONE]['accuracy'])} right alone, {percent(models[FEDERATED]['accuracy'])} federated"
    if TUNED in models:
        told += f", {percent(models[TUNED]['accuracy'])} fine-tuned"
    by = f"{'gain' if gain['points'] >= 0 else 'lose'} {points(gain['points'])}"
    if is_clear(gain):
        return f"{printable(name)} would {by} by joining ({told})."
    chance = f"which may be chance: give or take {points(gain['margin'])} on {counted(store['held_out'], 'image')}"
    return f"{printable(name)} would {by} by joining, {chance} ({told})."


def headline(found: Verdict) -> list[str]:
    """The outcome in a few sentences, the answer first; an unexpected order of the models is said plainly."""
    lines = [_joining(found), _stores(found)]
    if TUNED in found["average"]:
        lines.append(_tuning(found))
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
    gain = found["gains"][FEDERATED][ALONE]
    stores, average = counted(len(found["stores"]), "store"), found["average"]
    told = (
        f"on average over {stores}, the federated model is right on {percent(average[FEDERATED]['accuracy'])} of a"
        f" store's own held-out images, training alone on {percent(average[ALONE]['accuracy'])}: {_difference(gain)}"
    )
    if not is_clear(gain):
        return f"Joining makes no clear difference: {told}."
    return f"Joining pays: {told}." if gain["points"] > 0 else f"Federated is not better than alone here: {told}."


def _stores(found: Verdict) -> str:
    gains = [store["gain"][FEDERATED] for store in found["stores"].values() if store["gain"][FEDERATED]]
    won = sum(is_clear(gain) and gain["points"] > 0 for gain in gains)
    lost = sum(is_clear(gain) and gain["points"] < 0 for gain in gains)
    return f"{counted(won, 'store')} of {len(gains)} would clearly gain, {lost} clearly lose."


def _tuning(found: Verdict) -> str:
    gain, budget = found["gains"][TUNED][FEDERATED], found["budget"]["fine_tuning"]
    epochs = counted(budget["epochs"], "epoch")
    return (
        f"Fine-tuned at each store for {epochs} with learning rate {budget['lr']:g}, it is right on"
        f" {percent(found['average'][TUNED]['accuracy'])}: {_difference(gain)}."
    )


def _pooling(found: Verdict) -> str:
    gain = found["gains"][POOLED][FEDERATED]
    told = f"{percent(found['average'][POOLED]['accuracy'])}: {_difference(gain)}"
    if gain["points"] < 0:
        return f"All images pooled in one place are not better than federated here: {told}."
    return f"All images pooled in one place would reach {told}, the price of leaving them where they are."


def _difference(gain: Mapping[str, float]) -> str:
    more = "more" if gain["points"] >= 0 else "less"
    return f"{points(gain['points'])} {more} (give or take {points(gain['margin'])})"
