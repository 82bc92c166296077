"""Draw docs/explanation/performance.png: images per second of every system, from W1 and W2.

python -m benchmarks.picture w1.json w2.json --out docs/explanation/performance.png
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import values
from benchmarks.work import Work

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Grey and blue that stand out from white and from black alike; the ground stays transparent.
TEXT = "#7d8590"
THEIRS = "#8b949e"
OURS = "#2f81f7"
KEY = "images_per_second"


def draw(results: list[dict[str, Any]], out: Path) -> None:
    """Draw one panel of bars for each result, with whiskers from the least to the most.

    Args:
        results: contents of files that `harness.write` wrote
        out: the PNG file
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = max(len(result["samples"]) for result in results)
    size = (4.8 * len(results), 1.1 + 0.42 * rows)
    figure, panels = plt.subplots(
        1, len(results), figsize=size, squeeze=False, layout="constrained"
    )
    for axes, result in zip(panels[0], results, strict=True):
        _panel(axes, result)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=160, transparent=True)
    plt.close(figure)


def _panel(axes: "Axes", result: dict[str, Any]) -> None:
    speeds = {name: values(samples, KEY) for name, samples in result["samples"].items()}
    ranked = sorted(speeds, key=lambda name: statistics.median(speeds[name]))
    medians = [statistics.median(speeds[name]) for name in ranked]
    below = [median - min(speeds[name]) for name, median in zip(ranked, medians, strict=True)]
    above = [max(speeds[name]) - median for name, median in zip(ranked, medians, strict=True)]
    colours = [OURS if name == "ours" else THEIRS for name in ranked]
    labels = ["Fedshelf" if name == "ours" else name for name in ranked]
    axes.barh(
        labels,
        medians,
        color=colours,
        height=0.62,
        xerr=[below, above],
        error_kw={"ecolor": TEXT, "lw": 1},
    )
    longest = max(median + upper for median, upper in zip(medians, above, strict=True))
    for row, (median, upper) in enumerate(zip(medians, above, strict=True)):
        axes.text(
            median + upper + 0.02 * longest,
            row,
            f"{median:,.0f}",
            va="center",
            color=TEXT,
            fontsize=9,
        )
    axes.set_xlim(0, 1.16 * longest)
    axes.set_xticks([])
    axes.tick_params(colors=TEXT, length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    work = Work(**result["settings"])
    axes.set_title(
        f"{result['benchmark'].upper()}: {work.model}, images/s",
        color=TEXT,
        fontsize=10,
        loc="left",
    )


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", type=Path, help="what --json of benchmarks.simulators wrote"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/explanation/performance.png"))
    options = parser.parse_args()
    draw([json.loads(path.read_text(encoding="utf-8")) for path in options.results], options.out)


if __name__ == "__main__":
    main()
