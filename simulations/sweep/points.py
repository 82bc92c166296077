"""The points of a sweep: combinations of the values that its settings take."""

import itertools
from collections.abc import Mapping, Sequence

from fedshelf.common.config import known_keys
from fedshelf.common.errors import ConfigError
from fedshelf.common.seeding import rng

Point = Mapping[str, str]
"""Setting -> value as text, for each setting that takes several values."""

# a sweep has these for itself: --seeds, --out, and a directory for each run
NOT_SWEPT = frozenset({"run.seed", "run.out", "run.name"})


def split_values(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the settings with one value, and those with several, comma-separated ones.

    A list of names, such as data.classes, is one value.

    Raises:
        ConfigError: a setting that cannot be swept, or a value that is empty or stands twice.
    """
    defaults = known_keys()
    fixed = {}
    swept = {}
    for key, text in settings.items():
        values = [text] if isinstance(defaults.get(key), tuple) else text.split(",")
        values = [value.strip() for value in values]
        if len(values) == 1:
            fixed[key] = text
            continue
        if key in NOT_SWEPT:
            raise ConfigError(f"Setting {key} got {text!r}; a sweep takes one, and --seeds.")
        if "" in values or len(set(values)) < len(values):
            raise ConfigError(
                f"Setting {key} got {text!r}; expected values that differ, for example"
                f" {key}=0.01,0.1."
            )
        swept[key] = values
    return fixed, swept


def grid(swept: Mapping[str, Sequence[str]]) -> list[Point]:
    """Return all combinations of values; the last setting changes fastest.

    >>> grid({"train.lr": ["0.1", "1"], "model.name": ["cnn"]})[1]
    {'train.lr': '1', 'model.name': 'cnn'}
    """
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]


def draw(points: Sequence[Point], count: int, seed: int) -> list[Point]:
    """Return `count` points drawn without replacement, in the order of the grid.

    Raises:
        ConfigError: there are fewer.
    """
    if count > len(points):
        raise ConfigError(
            f"--random got {count}, but the grid has {len(points)} points; leave it out, or give"
            " settings more values."
        )
    chosen = rng(seed, "sweep").choice(len(points), size=count, replace=False)
    return [points[index] for index in sorted(chosen.tolist())]
