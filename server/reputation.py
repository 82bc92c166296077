"""Carries what is held against stores from round to round, tells a person of it, and sets stores aside."""

from collections.abc import Callable, Mapping

from common.config import ScreeningConfig
from server.lines import Trained
from server.runtime import Runtime
from server.standing import Standing
from server.suspicion import Detector


class Reputation:
    """The standing of one run's stores.

    detector: looks for suspects in each round; None: nobody does
    """

    def __init__(
        self, config: ScreeningConfig, detector: Detector | None, runtime: Runtime, note: Callable[[str], None]
    ) -> None:
        self._config, self._detector, self._runtime, self._note = config, detector, runtime, note
        self._left_out, self._suspects = set[str](), set[str]()

    def judge(self, standing: Standing, trained: Trained) -> tuple[dict[str, str], Standing]:
        """Return what speaks against stores in this round, and their standing after it; new suspects are named."""
        order, found = trained.order, dict[str, str]()
        if self._detector is not None:
            found = self._detector.look(order.params, trained.updates, trained.asked, order.round)
        good = [update.store for update in trained.updates]
        after = standing.after(good, trained.failed, found, self._config)
        for store in sorted(after.suspects.keys() - standing.suspects.keys() - self._suspects):
            self._suspects.add(store)
            self._note(f"{store} is under suspicion: {after.suspects[store]}.")
        self.leave_out(after.set_aside)
        return found, after

    def leave_out(self, set_aside: Mapping[str, str]) -> None:
        """Set stores aside that are not yet; after a resume, those that were before. set_aside: why, by store."""
        for store in sorted(set_aside.keys() - self._left_out):
            self._left_out.add(store)
            self._note(f"{store} is set aside: {set_aside[store]}.")
            self._runtime.set_aside(store, set_aside[store])
