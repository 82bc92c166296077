"""The state of a run in Prometheus' text format."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.live.phrases import STORE
from server.live.progress import Point
from server.live.state import RunState, Status
from server.report.words import FAILURES

PREFIX = "fedshelf_"


def exposition(state: RunState) -> bytes:
    """All metrics of `state`; labels take values of fixed sets, so that many stores make no more of them."""
    registry = CollectorRegistry()
    registry.register(_Families(state))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, state: RunState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """The families of metrics, in the order in which they are printed."""
        state = self._state
        known: dict[str, float] = {status: float(status == state.status) for status in get_args(Status)}
        yield _gauge("status", "1 for what the run is now, else 0.", known, "status")
        yield _gauge("stores", "Stores by what they do; none once the run is over.", _by_state(state), "state")
        yield _gauge("rounds_planned", "Rounds that the run is to have.", state.rounds)
        yield _gauge("quorum_stores", "Stores that a round needs.", state.quorum)
        yield _gauge("accuracy", "Accuracy when last judged, 0 to 1.", _latest(state.accuracy), "on")
        yield _gauge("loss", "Loss when last judged.", _latest(state.loss), "on")
        yield _counter("rounds", "Rounds completed.", state.round)
        yield _counter("images", "Images trained on, each counted once an epoch.", state.images)
        traffic: dict[str, float] = {"down": state.down, "up": state.up}
        yield _counter("bytes", "Bytes to (down) and from (up) the stores.", traffic, "direction")
        yield _counter("phase_seconds", "Seconds spent in each phase of the rounds.", _phases(state), "phase")
        yield _counter("failures", "Stores without a usable answer in a round.", _by_code(state), "code")
        if state.last_round_at is not None:
            told = "When the last round was recorded, in seconds since the epoch."
            yield _gauge("last_round_timestamp_seconds", told, state.last_round_at)


def _gauge(name: str, told: str, values: float | Mapping[str, float], label: str = "") -> Metric:
    family = GaugeMetricFamily(PREFIX + name, told, labels=[label] if label else [])
    return _filled(family, values)


def _counter(name: str, told: str, values: float | Mapping[str, float], label: str = "") -> Metric:
    family = CounterMetricFamily(PREFIX + name, told, labels=[label] if label else [])
    return _filled(family, values)


def _filled(family: "GaugeMetricFamily | CounterMetricFamily", values: float | Mapping[str, float]) -> Metric:
    if isinstance(values, Mapping):
        for value, number in values.items():
            family.add_metric([value], number)
    else:
        family.add_metric([], values)
    return family


def _by_state(state: RunState) -> dict[str, float]:
    """Each known state with its stores, also where there are none."""
    found = Counter(store.state for store in state.stores)
    return {known: found[known] for known in STORE}


def _by_code(state: RunState) -> dict[str, float]:
    """Each known code with its failures; what has no known code counts as "error"."""
    unknown = sum(times for code, times in state.failures.items() if code not in FAILURES)
    return {code: state.failures.get(code, 0) + (unknown if code == "error" else 0) for code in FAILURES}


def _latest(curves: Mapping[str, tuple[Point, ...]]) -> dict[str, float]:
    return {name: points[-1][1] for name, points in curves.items() if points}


def _phases(state: RunState) -> dict[str, float]:
    return {phase: seconds for phase, seconds in state.seconds.items() if phase != "total"}
