"""Measure networks for photos of scenes with many products.

    python -m benchmarks.scenes speed
    python -m benchmarks.scenes speed --network unet --side 320
    python -m benchmarks.scenes learn --seeds 0,1,2
    python -m benchmarks.scenes tiles runs/shelves

`speed` compares the training of a store with a bare PyTorch loop (see `benchmarks.scene_speed`);
`learn` tells how well networks do: pooled, federated and alone (see `benchmarks.scene_learning`);
`tiles` how well a locator chooses the tiles of large photos (see `benchmarks.scene_tiles`).
"""

import argparse

from benchmarks import scene_learning, scene_speed, scene_tiles


def main() -> None:
    """Run the mode that the command line names."""
    command_line = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = command_line.add_subparsers(required=True, metavar="MODE")
    scene_speed.add_mode(modes)
    scene_learning.add_mode(modes)
    scene_tiles.add_mode(modes)
    options = command_line.parse_args()
    options.measure(options)


if __name__ == "__main__":
    main()
