// Boxes from a locator's map, as `common/scenes/centre_map.py` reads them; a test holds both
// together. A box here and in `tiles.js` is {corners: [left, top, right, bottom], label, score}.

import { between } from "./numbers.js";
import { overlap } from "./tiles.js";

const EDGES = 4; // the last channels: logarithms of distances in cells
const MAX_BOXES = 1000;
const MAX_OVERLAP = 0.6; // of two boxes; more: they are one product, whatever their classes

// Boxes on a photo in its pixels, the surest first. map: float32 [C + 4, rows, columns] with its
// sizes; leastScore: centres with a lower one are left out
export function boxesOfMap({ data, channels, rows, columns }, width, height, leastScore) {
  const cells = rows * columns;
  const classes = channels - EDGES;
  const scores = Float32Array.from(data.subarray(0, classes * cells), scoreOf);
  const peaks = [];
  for (let place = 0; place < scores.length; place++)
    if (scores[place] >= leastScore && isPeak(scores, place, rows, columns)) peaks.push(place);
  peaks.sort((a, b) => scores[b] - scores[a]); // equal ones stay as they are
  const sizes = [width / columns, height / rows]; // of a cell, in pixels
  const boxes = peaks.slice(0, MAX_BOXES).map((place) => ({
    corners: meanCorners(scores, data.subarray(classes * cells), place, rows, columns).map(
      (corner, side) => corner * sizes[side % 2],
    ),
    label: classes > 1 ? Math.floor(place / cells) : -1,
    score: scores[place],
  }));
  return withoutTwice(boxes);
}

// In 32 bits step by step: scores that are equal there are peaks beside each other.
function scoreOf(logit) {
  return 1 / Math.fround(1 + Math.fround(Math.exp(-between(logit, -50, 50))));
}

// The nine places around one that lie in the map, itself among them.
function around(place, rows, columns) {
  const cells = rows * columns;
  const [row, column] = [Math.floor((place % cells) / columns), place % columns];
  const near = [];
  for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, rows - 1); y++)
    for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, columns - 1); x++)
      near.push({ row: y, column: x, place: place + (y - row) * columns + x - column });
  return near;
}

function isPeak(scores, place, rows, columns) {
  return around(place, rows, columns).every((near) => scores[place] >= scores[near.place]);
}

// The mean of what the cells around a centre tell, weighted by their scores; in cells.
function meanCorners(scores, edges, place, rows, columns) {
  const cells = rows * columns;
  const near = around(place, rows, columns);
  const sum = near.reduce((total, cell) => total + scores[cell.place], 0);
  const corners = [0, 0, 0, 0];
  for (const cell of near) {
    const middle = [cell.column + 0.5, cell.row + 0.5];
    const share = scores[cell.place] / sum;
    for (let side = 0; side < 4; side++) {
      const logarithm = between(edges[side * cells + cell.row * columns + cell.column], -10, 10);
      const distance = Math.exp(logarithm) * (side < 2 ? -1 : 1);
      corners[side] += (middle[side % 2] + distance) * share;
    }
  }
  return corners.map((corner, side) => between(corner, 0, side % 2 ? rows : columns));
}

function withoutTwice(boxes) {
  const kept = [];
  for (const box of boxes)
    if (!kept.some((other) => overlap(other, box) > MAX_OVERLAP)) kept.push(box);
  return kept;
}
