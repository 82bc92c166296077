"""The answers to one training order, collected and screened; or their sum, if it is secure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Plan, StoreInfo, SumTotal, TrainOrder
from fedshelf.common.strategies import Strategy
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus
from fedshelf.server.runtime import Runtime
from fedshelf.server.updates import secure_sums
from fedshelf.server.updates.buffer import UpdateBuffer
from fedshelf.server.updates.image_cap import ImageCap, most_images
from fedshelf.server.updates.norm_bound import UsualNorms
from fedshelf.server.updates.screening import RoundOutcome, Screening

Answer = TypeVar("Answer")


class UpdateCollector:
    """Sends training orders of one run to cohorts, and collects the answers.

    Args:
        layout: the places of the tensors in the parameters
        buffer: holds a round's updates until all are there
        image_cap: the number of images that a store may count for
    """

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        strategy: Strategy,
        observer: RunObserver,
        buffer: UpdateBuffer,
        image_cap: ImageCap,
    ) -> None:
        self._config = plan.config
        self._layout = layout
        self._strategy = strategy
        self._observer = observer
        self._buffer = buffer
        self._image_cap = image_cap

    def collect(
        self,
        runtime: Runtime,
        order: TrainOrder,
        sampled: Iterable[str],
        present: Mapping[str, StoreInfo],
        norms: UsualNorms,
    ) -> RoundOutcome:
        """Send the order to the cohort; return failures, and updates that pass screening."""
        self._buffer.clear()
        cohort = {store: present[store] for store in sampled}
        self._observer.doing(RunActivity(RunStatus.TRAINING, order.round, tuple(cohort)))
        answers = self._report_progress(
            order.round, len(cohort), runtime.train(order, list(cohort))
        )
        if order.terms is not None:
            counted = self._image_cap.applied(present, cohort)
            return secure_sums.collect(
                order, cohort, counted, answers, self._strategy, self._layout
            )
        lr = learning_rate(self._config.train, order.round, self._config.run.rounds)
        screening = Screening(
            order,
            cohort,
            self._strategy.expected_extras(self._layout.trainable),
            self._buffer,
            lambda update: self._strategy.validate_update(update, lr, self._config),
            norms,
            most_images(self._config, present),
            self._strategy.norm,
        )
        for answer in answers:
            assert not isinstance(answer, SumTotal), "nobody asked for a sum"
            screening.take(answer)
        screened = screening.result()
        for sentence in screened.ignored:
            self._observer.note(f"Round {order.round}: {sentence}")
        counted = self._image_cap.applied(present, cohort)
        return RoundOutcome(
            order, cohort, screened.updates, screened.failed, counted, screened.norms
        )

    def _report_progress(
        self, round_number: int, sampled: int, answers: Iterable[Answer]
    ) -> Iterator[Answer]:
        """Pass answers on, and tell the observer how many there are."""
        self._observer.training(round_number, 0, sampled)
        for done, answer in enumerate(answers, start=1):
            self._observer.training(round_number, min(done, sampled), sampled)
            yield answer
