"""The reputation of stores from round to round: it names suspects, and excludes stores."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from fedshelf.common.config import ScreeningConfig
from fedshelf.server.runtime import Runtime
from fedshelf.server.updates.anomaly_detection import AnomalyDetector
from fedshelf.server.updates.buffer import UpdateBuffer
from fedshelf.server.updates.norm_bound import usual
from fedshelf.server.updates.screening import RoundOutcome
from fedshelf.server.updates.store_findings import Standing

CLIPPED = (
    " From now on its updates are made no larger than is usual in their cohort"
    " (screening.suspects=clip)."
)


class Reputation:
    """The standing of one run's stores.

    Args:
        detector: looks for suspects in each round; None: detection is off
    """

    def __init__(
        self,
        config: ScreeningConfig,
        detector: AnomalyDetector | None,
        runtime: Runtime,
        note: Callable[[str], None],
    ) -> None:
        self._config = config
        self._detector = detector
        self._runtime = runtime
        self._note = note
        self._excluded = set[str]()
        self._suspects = set[str]()
        self._consequence = CLIPPED if config.suspects == "clip" else ""

    def judge(self, standing: Standing, trained: RoundOutcome) -> tuple[dict[str, str], Standing]:
        """Return the round's suspicions, {store: reason}, and the standing after it.

        Name new suspects.
        """
        suspicions = dict[str, str]()
        if self._detector is not None:
            suspicions, evidence = self._detector.look(trained, standing.evidence)
            standing = replace(standing, evidence=evidence)
        after = standing.after(trained.stores, trained.failed, suspicions, self._config)
        for store in sorted(after.suspects.keys() - standing.suspects.keys() - self._suspects):
            self._suspects.add(store)
            self._note(f"{store} is under suspicion: {after.suspects[store]}.{self._consequence}")
        self.exclude(after.set_aside)
        return suspicions, after

    def clipped(
        self, standing: Standing, trained: RoundOutcome, buffer: UpdateBuffer
    ) -> RoundOutcome:
        """Return the round with the updates of suspicious stores clipped, if settings say so.

        Raises OSError.

        Args:
            buffer: the updates of the round
        """
        if self._config.suspects != "clip" or not standing.suspects:
            return trained
        factors = clip(buffer, trained.order.params, trained.norms, standing.suspects)
        return replace(trained, updates=buffer.updates(), clipped=factors)

    def exclude(self, set_aside: Mapping[str, str]) -> None:
        """Set stores aside that are not yet; after a resume, those that were set aside before.

        Args:
            set_aside: store -> reason
        """
        for store in sorted(set_aside.keys() - self._excluded):
            self._excluded.add(store)
            self._note(f"{store} is set aside: {set_aside[store]}.")
            self._runtime.exclude(store, set_aside[store])


def clip(
    buffer: UpdateBuffer, start: Tensor, norms: Mapping[str, float], stores: Iterable[str]
) -> dict[str, float]:
    """Scale the change by training at `stores` to the usual norm, where it is larger.

    Returns the factor of each update that was scaled. Raises OSError if an update cannot be held.

    Args:
        buffer: the updates of the round
        start: float32 [P], the parameters that their training started from
        norms: L2 norm of the change by training, by store
    """
    most = usual(norms) if norms else 0.0
    factors = {store: most / norms[store] for store in stores if norms.get(store, 0.0) > most}
    for update in [update for update in buffer.updates() if update.store in factors]:
        begin = start.to(update.params.device)
        clipped = begin + (update.params - begin) * factors[update.store]
        buffer.drop(update.store)
        buffer.put(replace(update, params=clipped))
    return dict(sorted(factors.items()))
