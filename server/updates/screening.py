"""Screening of every answer before it counts.

A bad one becomes a failure with its reason in plain words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import torch
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.metric import Metric
from fedshelf.common.protocol.failures import DIVERGED
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies.shared.class_skew import images_by_class, max_loss_change
from fedshelf.common.strategies.shared.sum_layout import SummedUpdate
from fedshelf.common.text import sanitize
from fedshelf.server.updates.buffer import UpdateBuffer
from fedshelf.server.updates.image_cap import capped
from fedshelf.server.updates.norm_bound import NormBound, UsualNorms

# relative excess that a confidence, or a sum of losses, may have over its range
REPORT_TOLERANCE = 1e-4
MAX_GROWTH_FACTOR = 2  # factor by which a store's images may exceed its last declaration
# seconds, and loss per image: no honest store reports more, and no chart shows it
MAX_REPORTED = 1e12
LONGEST_REASON = 300  # characters, which go into the history
COORDINATES_AT_ONCE = 2**18  # coordinates whose difference is taken at a time

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class RoundOutcome:
    """An order, and the answers to it.

    Attributes:
        asked: the cohort, in store order
        updates: the good ones, in store order
        present: all stores that could have been asked, with the number of images that they count
            for
        norms: norm of the change by training as it arrived, by store that has a good update
        clipped: factor by which an update was made smaller, by store
    """

    order: TrainOrder
    asked: Mapping[str, StoreInfo]
    updates: Sequence[Update]
    failed: Mapping[str, Failure]
    present: Mapping[str, StoreInfo]
    norms: Mapping[str, float]
    clipped: Mapping[str, float] = field(default_factory=dict)

    @property
    def stores(self) -> tuple[str, ...]:
        """The stores whose updates count, alone or in a sum."""
        return tuple(
            store
            for update in self.updates
            for store in (update.stores if isinstance(update, SummedUpdate) else (update.store,))
        )

    def without(self, store: str, why: str, updates: Sequence[Update]) -> "RoundOutcome":
        """Return the outcome without the update of one store.

        Args:
            updates: those of the other stores
        """
        failed = {**self.failed, store: Failure(store, "invalid", why)}
        norms = {name: norm for name, norm in self.norms.items() if name != store}
        return replace(self, updates=updates, failed=dict(sorted(failed.items())), norms=norms)


@dataclass(frozen=True)
class Screened:
    """The result of an order after screening.

    Attributes:
        updates: the good ones, in store order
        failed: by store: reported, bad or missing
        ignored: sentences on answers that do not count
        norms: of the change by training, of the good updates
    """

    updates: Sequence[Update]
    failed: Mapping[str, Failure]
    ignored: Sequence[str]
    norms: Mapping[str, float]


@dataclass
class Screening:
    """Takes the answers to an order, one by one.

    Attributes:
        asked: the stores that got the order, and the images that they have declared
        extras: shapes of the tensors that an update of the run's strategy has beside its
            parameters, all float32
        buffer: takes the updates; nothing else here keeps one
        fault: returns the strategy's objection to an update in words, or None
        earlier: the usual norms of the rounds before
        most_images: the most that an update counts for, see `server.updates.image_cap`; None: as
            many as its store declared
        norm: returns the norm by which the strategy compares updates, or None for that of the
            change by training
    """

    order: TrainOrder
    asked: Mapping[str, StoreInfo]
    extras: Shapes
    buffer: UpdateBuffer
    fault: Callable[[Update], str | None] = lambda _: None
    earlier: UsualNorms = field(default_factory=UsualNorms)
    most_images: int | None = None
    norm: Callable[[Update], Tensor | None] = lambda _: None
    _failed: dict[str, Failure] = field(default_factory=dict)
    _ignored: list[str] = field(default_factory=list)
    _norms_and_loss: dict[str, Tensor] = field(default_factory=dict)
    _images: dict[str, int] = field(default_factory=dict)

    def take(self, answer: Update | Failure) -> None:
        """Check one answer, and hold it if it is good. Raises OSError."""
        store = answer.store
        if store not in self.asked:
            self._ignored.append(f"{store} answered without being asked.")
        elif store in self._failed or store in self._images:
            self._ignored.append(f"{store} answered twice; its first answer counts.")
        elif isinstance(answer, Failure):
            self._failed[store] = answer
        elif (fault := self._fault(answer)) is not None:
            self._refuse(store, fault)
        else:
            # nobody can check how many images a store has: it gets no weight beyond what it
            # declared
            most = capped(self.asked[store], self.most_images).num_examples
            counted = replace(answer, num_examples=min(answer.num_examples, most))
            own_norm = self.norm(counted)
            # measured while other stores still train, and read from the device once, at the end
            self._norms_and_loss[store] = self._measure(counted, own_norm)
            # a change by training grows with the images; a strategy's own norm does not
            self._images[store] = counted.num_examples if own_norm is None else 1
            self.buffer.put(self._with_images_by_class(counted))

    def result(self) -> Screened:
        """Return the answers that count, once there are no more."""
        norms, extras = self._finite_norms()
        # only now: the bound is a median over the updates of the round
        for store, reason in self._bound().faults(norms, extras, self._images).items():
            self._drop(store, reason)
        for store in self.asked.keys() - norms.keys() - self._failed.keys():
            self._failed[store] = Failure(store, "timeout", "no answer in time")
        norms = {store: norm for store, norm in sorted(norms.items()) if store not in self._failed}
        return Screened(
            self.buffer.updates(), dict(sorted(self._failed.items())), self._ignored, norms
        )

    def _bound(self) -> NormBound:
        params = self.order.params
        start = float(torch.linalg.vector_norm(params))
        return NormBound.of_round(
            self.order.plan.config, self.order.round, self.earlier, params.numel(), start
        )

    def _fault(self, update: Update) -> str | None:
        """Return the fault of an update, or None; its values are checked later."""
        if update.round != self.order.round:
            return f"answers round {update.round}, not round {self.order.round}"
        declared = self.asked[update.store].num_examples
        config = self.order.plan.config
        return (
            self._find_mismatch(update)
            or _find_false_claim(update, declared, config)
            or self.fault(update)
        )

    def _find_mismatch(self, update: Update) -> str | None:
        """Return a sentence on the first tensor that is not as ordered, or None."""
        if update.params.dtype != torch.float32 or update.params.shape != self.order.params.shape:
            return _mismatch("weights", update.params, tuple(self.order.params.shape))
        if update.extras.keys() != self.extras.keys():
            got, expected = (
                ", ".join(sorted(names)) or "none" for names in (update.extras, self.extras)
            )
            return f"has the extras {got}, where its strategy has {expected}"
        for name, shape in self.extras.items():
            if (
                update.extras[name].dtype != torch.float32
                or tuple(update.extras[name].shape) != shape
            ):
                return _mismatch(f"extras {name}", update.extras[name], shape)
        return None

    def _with_images_by_class(self, update: Update) -> Update:
        """Return the update with its store's images by class, if head rows are averaged by them."""
        if self.order.plan.config.strategy.absent == "full":
            return update
        classes = self.order.plan.spec.classes
        info = self.asked[update.store]
        return replace(update, images_by_class=images_by_class(info, classes, update.num_examples))

    def _measure(self, update: Update, own_norm: Tensor | None) -> Tensor:
        """Return [norm of the change by training, norms of the extras, loss].

        With a norm of the strategy's own, that one comes first, and the norm of the change takes
        the place of the extras'. This does not wait for the device.
        """
        change = distance(update.params, self.order.params)
        loss = torch.full_like(change, update.loss or 0.0)
        if own_norm is not None:
            return torch.stack([own_norm.to(change.device), change, loss])
        extras = [
            torch.linalg.vector_norm(tensor).to(change.device) for tensor in update.extras.values()
        ]
        return torch.stack([change, *extras, loss])

    def _finite_norms(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the norms of the updates whose values are all finite, and of their extras.

        Of the extras, the largest norm counts.

        Other updates are dropped. This waits once for the device. A norm shows values that are not
        finite in a fraction of the time of a full check. Only if a norm is not finite are all
        values checked, as the norm itself may overflow.
        """
        rows = (
            torch.stack(list(self._norms_and_loss.values())).tolist()
            if self._norms_and_loss
            else []
        )
        signs = dict(zip(self._norms_and_loss, rows, strict=True))
        doubtful = {store for store, sign in signs.items() if not all(map(isfinite, sign))}
        for update in self.buffer.updates() if doubtful else ():
            if update.store not in doubtful:
                continue
            if not all(
                torch.isfinite(tensor).all() for tensor in (update.params, *update.extras.values())
            ):
                self._drop(update.store, DIVERGED)
            elif update.loss is not None and not isfinite(update.loss):
                self._drop(update.store, f"reports a loss of {update.loss}")
        finite = {store: sign for store, sign in signs.items() if store not in self._failed}
        norms = {store: sign[0] for store, sign in finite.items()}
        return norms, {store: max(sign[1:-1], default=0.0) for store, sign in finite.items()}

    def _drop(self, store: str, reason: str) -> None:
        self.buffer.drop(store)
        self._refuse(store, reason)

    def _refuse(self, store: str, reason: str) -> None:
        """Record a failure with its reason.

        The reason may quote names that the store chose, of any number.
        """
        self._failed[store] = Failure(store, "invalid", sanitize(reason, LONGEST_REASON))


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Return ||one - other||_2 of two vectors float32 [P], a scalar on the first one's device.

    Needs little memory.
    """
    pieces = zip(
        one.split(COORDINATES_AT_ONCE), other.to(one.device).split(COORDINATES_AT_ONCE), strict=True
    )
    norms = [torch.linalg.vector_norm(a - b) for a, b in pieces] or [one.new_zeros(())]
    norm: Tensor = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    return norm


def screen_evaluations(
    answers: Iterable[Evaluation | Failure], order: EvaluateOrder, held_out: Mapping[str, int]
) -> dict[str, Evaluation]:
    """Return the evaluations that pass the checks, by store in store order.

    Args:
        held_out: store -> images that it holds out
    """
    classes = len(order.plan.spec.classes)
    metrics = formulas.chosen(order.plan.config)
    good = {
        answer.store: _completed(answer, metrics)
        for answer in answers
        if isinstance(answer, Evaluation)
        and answer.round == order.round
        and _is_possible(answer.counts, classes, held_out.get(answer.store, 0))
        and _is_sound(answer.counts, order.temperatures)
        and _matches_raw(answer.adjusted, answer.counts, order)
        and formulas.are_possible(answer.counts, metrics)
        and (answer.adjusted is None or formulas.are_possible(answer.adjusted, metrics))
    }
    return dict(sorted(good.items()))


def _completed(answer: Evaluation, metrics: Mapping[str, Metric]) -> Evaluation:
    """Return an evaluation with the metrics that follow from its other counts."""
    adjusted = answer.adjusted and formulas.with_derived(answer.adjusted, metrics)
    return replace(answer, counts=formulas.with_derived(answer.counts, metrics), adjusted=adjusted)


def _is_possible(counts: Counts, classes: int, most: int) -> bool:
    """Return whether these can be the counts of 1 to `most` images."""
    return bool(
        counts.confusion.shape == (classes, classes)
        and (counts.confusion >= 0).all()
        and 0 < counts.num_examples <= most
        and 0 <= (counts.loss_sum or 0.0) <= MAX_REPORTED * counts.num_examples
    )


def _matches_raw(adjusted: Counts | None, raw: Counts, order: EvaluateOrder) -> bool:
    """Return whether adjusted counts are absent, or of the same images as the raw ones.

    They are only allowed in a run with class offsets.
    """
    if adjusted is None:
        return True
    return bool(
        order.plan.config.strategy.absent != "full"
        and _is_possible(adjusted, len(raw.confusion), raw.num_examples)
        and (adjusted.confusion.sum(axis=1) == raw.confusion.sum(axis=1)).all()
        and adjusted.num_examples == raw.num_examples
        and adjusted.loss_sum is not None
        and raw.loss_sum is not None
        and abs(adjusted.loss_sum - raw.loss_sum)
        <= _most_change(len(raw.confusion), raw.num_examples, raw.loss_sum)
        and _is_sound(adjusted, order.temperatures)
    )


def _most_change(classes: int, images: int, loss_sum: float) -> float:
    """Return the most by which an adjustment can change a sum of losses.

    Without this limit, one store could decide which scores all stores use.
    """
    return max_loss_change(classes) * images + REPORT_TOLERANCE * (images + loss_sum)


def _is_sound(counts: Counts, temperatures: tuple[float, ...]) -> bool:
    """Return whether the reliability is absent, or agrees with the counts."""
    if (reliability := counts.reliability) is None:
        return True
    # a store that withholds its confusions still says how many images were right
    right = int(counts.confusion.trace()) + counts.undisclosed_correct
    least = 1 / counts.confusion.shape[0] - REPORT_TOLERANCE
    return bool(
        reliability.temperatures == temperatures
        and (reliability.images.sum(axis=1) == counts.num_examples).all()
        and (reliability.correct.sum(axis=1) == right).all()
        and reliability.energies.sum() == counts.num_examples
        and (
            (reliability.confidence_sum >= least * reliability.images)
            & (reliability.confidence_sum <= (1 + REPORT_TOLERANCE) * reliability.images)
        ).all()
        and ((reliability.nll >= 0) & (reliability.nll <= MAX_REPORTED * counts.num_examples)).all()
    )


def _find_false_claim(update: Update, declared: int, config: RunConfig) -> str | None:
    """Return a sentence on the first claimed number that cannot be true, or None.

    A loss that is not finite is no false claim: it comes with weights that are not finite. Photos
    may have been added since the store was asked: up to MAX_GROWTH_FACTOR times as many are
    accepted, and count as those declared.
    """
    if not 1 <= update.num_examples <= MAX_GROWTH_FACTOR * declared:
        return f"claims {update.num_examples} images, where it has declared {declared}"
    if update.steps > (most := config.most_steps(update.num_examples)):
        return f"claims {update.steps} steps, where its images make {most}"
    if not 0 <= update.seconds <= MAX_REPORTED:
        return f"claims to have trained for {update.seconds} s"
    loss = 0.0 if update.loss is None else update.loss
    is_claim = isfinite(loss) and not 0 <= loss <= MAX_REPORTED
    return f"claims a loss of {loss}" if is_claim else None


def _mismatch(what: str, got: Tensor, shape: tuple[int, ...]) -> str:
    return (
        f"has {what} of type {got.dtype} and shape {tuple(got.shape)}, not torch.float32 of shape"
        f" {shape}"
    )
