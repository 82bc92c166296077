"""Every answer is checked before it counts; a bad one becomes a failure with its reason in plain words."""

from collections.abc import Iterable, Mapping
from math import isfinite

import torch

from common.orders import EvaluateOrder, Evaluation, Failure, TrainOrder, Update

DIVERGED = "has weights that are not finite: its training diverged; lower train.lr or set train.clip_norm"


def screen_updates(
    answers: Iterable[Update | Failure], order: TrainOrder, asked: Iterable[str]
) -> tuple[list[Update], dict[str, Failure]]:
    """The good updates in store order, and the failures by store: told, bad, repeated or missing."""
    updates: dict[str, Update] = {}
    failed: dict[str, Failure] = {}
    expected = set(asked)
    for answer in answers:
        if answer.store not in expected or answer.store in updates:
            continue  # nobody is counted twice, and nobody who was not asked
        if isinstance(answer, Failure):
            failed[answer.store] = answer
        elif (fault := _fault(answer, order)) is not None:
            failed[answer.store] = Failure(answer.store, "invalid", fault)
        else:
            updates[answer.store] = answer
    for store in _diverged(updates):
        del updates[store]
        failed[store] = Failure(store, "invalid", DIVERGED)
    for store in expected - updates.keys() - failed.keys():
        failed[store] = Failure(store, "timeout", "no answer in time")
    return [updates[store] for store in sorted(updates)], dict(sorted(failed.items()))


def screen_evaluations(
    answers: Iterable[Evaluation | Failure], order: EvaluateOrder, asked: Iterable[str]
) -> dict[str, Evaluation]:
    """The evaluations that can be counted, by store in store order."""
    classes, expected = len(order.plan.spec.classes), set(asked)
    good = {
        answer.store: answer
        for answer in answers
        if isinstance(answer, Evaluation)
        and answer.store in expected
        and answer.round == order.round
        and answer.counts.confusion.shape == (classes, classes)
        and (answer.counts.confusion >= 0).all()
        and answer.counts.num_examples > 0
    }
    return dict(sorted(good.items()))


def _fault(update: Update, order: TrainOrder) -> str | None:
    """What is wrong with an update, or None."""
    if update.round != order.round:
        return f"answers round {update.round}, not round {order.round}"
    if update.params.dtype != torch.float32 or update.params.shape != order.params.shape:
        return (
            f"has {update.params.dtype} weights of shape {tuple(update.params.shape)},"
            f" not float32 of shape {tuple(order.params.shape)}"
        )
    if update.num_examples < 1:
        return f"claims {update.num_examples} images"
    return None


def _diverged(updates: Mapping[str, Update]) -> list[str]:
    """Stores with values that are not finite. Sums tell for a hundredth of the time, and all of them with one wait
    for the device that trained; only where a sum overflows it does not tell.
    """
    tensors = {store: (update.params, *update.extras.values()) for store, update in updates.items()}
    sums = [torch.stack([tensor.sum(dtype=torch.float32) for tensor in own]).sum() for own in tensors.values()]
    totals = torch.stack(sums).tolist() if sums else []
    doubtful = [store for store, total in zip(tensors, totals, strict=True) if not isfinite(total)]
    return [store for store in doubtful if not all(torch.isfinite(tensor).all() for tensor in tensors[store])]
