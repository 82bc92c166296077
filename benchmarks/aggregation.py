"""Measure the combination of updates: mean, median and Krum of 11 million parameters.

    python -m benchmarks.aggregation

The updates come from 3 to 100 stores. The rows are our strategies, a loop in NumPy, Flower's
functions on the same arrays, and Flower's FedAvg on the content of messages.
"""

import sys
from functools import partial

from benchmarks import harness
from benchmarks.combine import SYSTEMS
from benchmarks.harness import Column, Contestant, Sample, measure

FLOATS = 11_173_962  # ResNet-18 for 10 classes at 32 px
MIB = 2**20
# as many stores as fit into 16 GB and some minutes
STORES = {"mean": (3, 10, 30, 100), "median": (3, 10, 30), "krum": (3, 10)}
ONLY_MEAN = "Flower (messages)"


def combined(system: str, rule: str, floats: int) -> Sample:
    """Return the seconds of one combination.

    Args:
        system: a key of `benchmarks.combine.SYSTEMS`
        rule: "mean", "median" or "krum"
        floats: parameters of an update

    Returns:
        Seconds by number of stores, and the peak memory (bytes) of the process with the most
        stores.
    """
    figures: dict[str, float | None] = {}
    for stores in STORES[rule]:
        words = [sys.executable, "-m", "benchmarks.combine", system, rule, str(stores), str(floats)]
        measured = measure(words)
        figures |= {str(stores): float(measured.output), "peak_bytes": measured.peak_bytes}
    return figures


def main() -> None:
    """Print a table for each rule."""
    parser = harness.parser(__doc__)
    parser.add_argument("--rules", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--floats", type=int, default=FLOATS, help="parameters of an update")
    options = parser.parse_args()
    for rule in options.rules:
        systems = [system for system in SYSTEMS if rule == "mean" or system != ONLY_MEAN]
        turns: dict[str, Contestant] = {
            system: partial(combined, system, rule, options.floats) for system in systems
        }
        samples = harness.alternate(turns, options.times)
        columns = [
            Column(str(stores), f"{stores} stores, ms", 1, unit=1e-3, ratio=True)
            for stores in STORES[rule]
        ]
        title = f"{rule} of {options.floats:,} parameters"
        harness.table(title, samples, [*columns, Column("peak_bytes", "peak, MiB", unit=MIB)])
        path = options.json and options.json.with_stem(f"{options.json.stem}-{rule}")
        harness.write(path, f"aggregation-{rule}", {"floats": options.floats}, samples)


if __name__ == "__main__":
    main()
