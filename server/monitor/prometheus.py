"""The state of a run in Prometheus' text format.

Counters and the run's own gauges are there from the start, at zero; accuracy, loss and the
expected end are absent until they are known. Each store has a few series while the run is going
on, for at most `MAX_STORE_SERIES` stores.
"""

import platform
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fedshelf.common.text import printable
from fedshelf.server.formatting import FAILURES
from fedshelf.server.monitor.progress import Point
from fedshelf.server.monitor.state import ABSENT_STATES, RunState, StoreState
from fedshelf.server.monitor.wording import STORE_STATE_WORDS, sort_by_need
from fedshelf.server.results.run_status import RunStatus

METRIC_PREFIX = "fedshelf_"
ROUND_PHASES = ("train", "aggregate", "inspect", "evaluate")
MAX_STORE_SERIES = 1_000  # stores with series of their own; those that need a person come first


def exposition(state: RunState) -> bytes:
    """Return all metrics of a state in Prometheus' text format.

    Labels have values of fixed sets, except the run's name and the names of `MAX_STORE_SERIES`
    stores.
    """
    registry = CollectorRegistry()
    registry.register(_RunMetrics(state))
    registry.register(_StoreMetrics(state))
    return generate_latest(registry)


class _RunMetrics(Collector):
    """The metrics of the run as a whole."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Yield the families of metrics, in the order in which they are printed."""
        state = self._state
        yield _info("build_info", "Versions of the programs that serve this page.", _build())
        yield _info("run_info", "Name of the run.", {"run": printable(state.name)})
        statuses: dict[str, float] = {status: float(status == state.status) for status in RunStatus}
        yield _gauge("status", "1 for what the run is now, else 0.", statuses, "status")
        yield _gauge(
            "stores",
            "Stores by state; none after the end of the run.",
            _by_state(state),
            "state",
        )
        yield _gauge("rounds_planned", "Rounds that the run is to have.", state.rounds)
        yield _gauge("quorum_stores", "Stores that a round needs.", state.quorum)
        yield _gauge(
            "accuracy_ratio", "Accuracy when last judged, 0 to 1.", _latest(state.accuracy), "on"
        )
        yield _gauge(
            "main_figure_ratio",
            "Accuracy, or of scenes AP, IoU or share of right photos, when last judged, 0 to 1.",
            _latest(state.quality),
            "on",
        )
        yield _gauge("loss", "Loss when last judged.", _latest(state.loss), "on")
        played = state.round + state.rounds_taken_back
        yield _counter(
            "rounds", "Rounds completed, including those that were taken back later.", played
        )
        yield _counter(
            "rounds_taken_back",
            "Rounds completed that were taken back later.",
            state.rounds_taken_back,
        )
        yield _gauge(
            "stores_with_spoilt_model",
            "Stores that have a model that was taken back later.",
            len(state.spoilt_at),
        )
        yield _counter("images", "Images trained on, each counted once an epoch.", state.images)
        traffic: dict[str, float] = {"down": state.down, "up": state.up}
        yield _counter(
            "transferred_bytes", "Bytes to (down) and from (up) the stores.", traffic, "direction"
        )
        yield _counter(
            "phase_seconds", "Seconds spent in each phase of the rounds.", _phases(state), "phase"
        )
        yield _counter(
            "failures", "Stores without a usable answer in a round.", _by_code(state), "code"
        )
        yield _instant(
            "start", "When the server was started last; 0 if it is not known.", state.began or 0.0
        )
        yield _instant(
            "last_round",
            "When the last round was recorded; 0 before the first.",
            state.last_round_at or 0.0,
        )
        if state.ends is not None:
            yield _instant("expected_end", "When the last round is expected to end.", state.ends)


class _StoreMetrics(Collector):
    """The metrics of single stores, by their names."""

    def __init__(self, state: RunState) -> None:
        self._is_presence_known = state.is_at_work
        ordered = sort_by_need(state.stores)
        self._stores = {printable(store.name): store for store in ordered[:MAX_STORE_SERIES]}
        self._unlisted = len(ordered) - len(self._stores)

    def collect(self) -> Iterable[Metric]:
        """Yield the families of metrics.

        The presence of stores is unknown while a finished model is delivered and after the end; of
        a revoked store it is not reported.
        """
        yield _gauge(
            "stores_unlisted",
            "Stores that have no series of their own, because there are too many.",
            self._unlisted,
        )
        if self._is_presence_known:
            known_stores = {
                name: store
                for name, store in self._stores.items()
                if store.state not in ("", "revoked")
            }
            present = {
                name: float(store.state not in ABSENT_STATES)
                for name, store in known_stores.items()
            }
            yield _gauge(
                "store_present", "1 if the store can be asked to train, else 0.", present, "store"
            )
            last_seen = {
                name: at
                for name, store in known_stores.items()
                if (at := _last_seen(store)) is not None
            }
            yield _instant(
                "store_last_seen",
                "When the store could last be asked to train.",
                last_seen,
                "store",
            )
        yield _gauge(
            "store_last_round",
            "Last round that used the store's update; 0: none.",
            self._values_of("last_round"),
            "store",
        )
        yield _counter(
            "store_rounds",
            "Rounds that used the store's update.",
            self._values_of("rounds"),
            "store",
        )
        yield _counter(
            "store_failures",
            "Rounds in which the store gave no usable answer.",
            self._values_of("failures"),
            "store",
        )

    def _values_of(self, field: str) -> dict[str, float]:
        return {name: getattr(store, field) for name, store in self._stores.items()}


def _last_seen(store: StoreState) -> float | None:
    """Return Unix time (s); for an absent store since when it is absent, or None if unknown."""
    return store.since if store.state in ABSENT_STATES else time.time()


def _build() -> dict[str, str]:
    return {
        "version": version("fedshelf"),
        "flower": version("flwr"),
        "python": platform.python_version(),
    }


def _info(name: str, description: str, labels: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(METRIC_PREFIX + name, description, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _instant(
    name: str, description: str, values: float | Mapping[str, float], label: str = ""
) -> Metric:
    return _gauge(
        f"{name}_timestamp_seconds", f"{description} In seconds since the epoch.", values, label
    )


def _gauge(
    name: str, description: str, values: float | Mapping[str, float], label: str = ""
) -> Metric:
    family = GaugeMetricFamily(METRIC_PREFIX + name, description, labels=[label] if label else [])
    return _fill(family, values)


def _counter(
    name: str, description: str, values: float | Mapping[str, float], label: str = ""
) -> Metric:
    family = CounterMetricFamily(METRIC_PREFIX + name, description, labels=[label] if label else [])
    return _fill(family, values)


def _fill(
    family: "GaugeMetricFamily | CounterMetricFamily", values: float | Mapping[str, float]
) -> Metric:
    if isinstance(values, Mapping):
        for value, number in values.items():
            family.add_metric([value], number)
    else:
        family.add_metric([], values)
    return family


def _by_state(state: RunState) -> dict[str, float]:
    """Count the stores in each known state, zeros included."""
    counts = Counter(store.state for store in state.stores)
    return {state_name: counts[state_name] for state_name in STORE_STATE_WORDS}


def _by_code(state: RunState) -> dict[str, float]:
    """Count the failures of each known code; those without a known code count as "error"."""
    unknown = sum(times for code, times in state.failures.items() if code not in FAILURES)
    return {
        code: state.failures.get(code, 0) + (unknown if code == "error" else 0) for code in FAILURES
    }


def _latest(curves: Mapping[str, tuple[Point, ...]]) -> dict[str, float]:
    return {name: points[-1][1] for name, points in curves.items() if points}


def _phases(state: RunState) -> dict[str, float]:
    return {phase: state.seconds.get(phase, 0.0) for phase in ROUND_PHASES}
