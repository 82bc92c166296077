"""A folder of photos that a small network tells apart in a few rounds: each class has a colour of
its own.
"""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"hat": (200, 60, 60), "shoe": (60, 200, 60), "coat": (60, 60, 200)}
COUNTS = {"train": 16, "validation": 4, "test": 6}  # of each class


def photos(root: Path) -> Path:
    """`root/<split>/<class>/<number>.png`, of 16 px."""
    draws = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label, colour in COLOURS.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.array(colour) + draws.integers(-60, 56, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root
