"""Boxes from a locator's map of centres and edges, without PyTorch (see `models.networks.locator`).

Zhou, Wang and Krähenbühl 2019, "Objects as Points", Section 4: a cell is an object's centre if none
of its eight neighbours has a higher score. The cells beside a centre tell the same box, each from
its own place, so a box here is the mean over these nine, weighted by their scores; it fits tighter
than that of one cell.
"""

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.scenes.boxes import MAX_OVERLAP, Boxes, surest

EDGES = 4  # the last channels of a map: distances to the left, top, right and bottom edge
MAX_BOXES = 1000  # of a photo, those with the highest scores


def boxes_of_map(
    centre_map: NDArray[np.float32],
    stride: int,
    *,
    least_score: float = 0.05,
    max_overlap: float = MAX_OVERLAP,
    max_boxes: int = MAX_BOXES,
) -> Boxes:
    """Return the boxes of one photo, the surest first.

    Args:
        centre_map: float32 [C + 4, H, W], a locator's result for one photo: logits of a centre of
            each class, then logarithms of distances in cells (left, top, right, bottom)
        stride: pixels of the photo for one cell
        least_score: 0 to 1; centres with a lower score are left out
        max_overlap: of two boxes that overlap more, the surer one is kept (`surest`); 1: both
        max_boxes: most boxes to return

    Returns:
        Boxes in pixels of the photo, cut at its edges; the class is -1 if there is only one.
    """
    logits, edges = centre_map[:-EDGES], centre_map[-EDGES:]
    scores = 1 / (1 + np.exp(-logits.clip(-50, 50)))
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)))
    across = np.maximum(np.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    highest = np.maximum(np.maximum(across[:, :-2], across[:, 1:-1]), across[:, 2:])
    is_peak = (scores >= highest) & (scores >= least_score)
    labels, rows, columns = np.nonzero(is_peak)
    best = np.argsort(-scores[is_peak], kind="stable")[:max_boxes]
    labels, rows, columns = labels[best], rows[best], columns[best]
    boxes = Boxes(
        _mean_corners(padded, edges, labels, rows, columns) * np.float32(stride),
        labels if len(logits) > 1 else np.full(len(labels), -1),
        scores[labels, rows, columns].astype(np.float32),
    )
    return surest(boxes, max_overlap)


def _mean_corners(
    scores: NDArray[np.float32],
    edges: NDArray[np.float32],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the corners of boxes, the mean of nine cells each: float32 [K, 4] in cells.

    Args:
        scores: float32 [C, H + 2, W + 2], zero around the map
        edges: float32 [4, H, W], logarithms of distances in cells
        labels: int64 [K], the class of each centre
        rows: int64 [K], its row in the map
        columns: int64 [K], its column
    """
    height, width = edges.shape[1:]
    around = np.arange(-1, 2)
    near_rows = rows[:, None, None] + around[:, None]
    near_columns = columns[:, None, None] + around[None]
    shares = scores[labels[:, None, None], near_rows + 1, near_columns + 1]
    shares = shares / shares.sum((1, 2), keepdims=True)
    inside_rows, inside_columns = near_rows.clip(0, height - 1), near_columns.clip(0, width - 1)
    distances = np.exp(edges[:, inside_rows, inside_columns].clip(-10, 10))
    middles = np.stack(np.broadcast_arrays(near_columns + 0.5, near_rows + 0.5))
    corners = np.concatenate([middles - distances[:2], middles + distances[2:]])
    means: NDArray[np.float32] = (corners * shares).sum((2, 3)).T.astype(np.float32)
    return means.clip(0, np.array((width, height, width, height), np.float32))
