"""Counts of a service in Prometheus' text format."""

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class ServiceMetrics:
    """The counts. Labels have values of fixed sets: addresses are told by their endpoint's name.

    Args:
        max_batch: photos
    """

    def __init__(self, max_batch: int) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fedshelf_requests",
            "Requests answered, by endpoint and status.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "fedshelf_request_seconds",
            "From the head of a request to the end of its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._verdicts = Counter(
            "fedshelf_photos",
            "Photos answered, by verdict; refused: they could not be used.",
            ("verdict",),
            registry=self._registry,
        )
        # looking a label up takes longer than counting; there are few of them
        self._answered = cache(
            lambda endpoint, status: self._requests.labels(endpoint, str(status))
        )
        self._verdict = cache(self._verdicts.labels)
        for verdict in ("sure", "unsure", "unknown", "refused"):
            self._verdict(verdict)
        sizes = sorted({1, 2, 4, 8, 16, 32, max_batch})
        self._batches = Histogram(
            "fedshelf_batch_photos",
            "Photos that passed through the model together.",
            buckets=[size for size in sizes if size <= max_batch],
            registry=self._registry,
        )
        self.gauge("build_info", "Version of the program.", lambda: 1, version=version("fedshelf"))

    def gauge(self, name: str, meaning: str, value: Callable[[], float], **labels: str) -> None:
        """Add a value that is read whenever the metrics are."""
        gauge = Gauge(f"fedshelf_{name}", meaning, tuple(labels), registry=self._registry)
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    def count_request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._answered(endpoint, status).inc()
        self._seconds.observe(seconds)

    def count_photos(self, verdicts: Iterable[str]) -> None:
        """Count photos: sure, unsure, unknown or refused."""
        for verdict in verdicts:
            self._verdict(verdict).inc()

    def count_batch(self, photos: int) -> None:
        """Count a batch."""
        self._batches.observe(photos)

    def exposition(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)
