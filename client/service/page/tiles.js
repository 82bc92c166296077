// Tiles of a photo and the merging of their boxes, as `common/scenes/tiles.py` does it; a test
// holds both together. Boxes are those of `centre_map.js`, tiles {left, top, right, bottom}.

import { between, roundHalfEven } from "./numbers.js";

const OVERLAP = 0.25; // of a tile's side that the next one shows, too
const SAMPLED_TILES = 3; // in a row and in a column, that stand for all of a view
const SAME_ITEM = 0.5; // intersection over union in the part that two tiles show
const EDGE_SHARE = 0.02; // of a tile's side: a box that ends so near to its edge is cut

// `count` by `count` tiles of one size, in rows.
export function cutTiles(width, height, count) {
  const columns = starts(width, count);
  return starts(height, count).flatMap(([top, bottom]) =>
    columns.map(([left, right]) => ({ left, top, right, bottom })),
  );
}

// The places of at most 3 by 3 among `count` by `count` tiles, spread evenly.
export function spreadTiles(count) {
  const all = Array.from({ length: SAMPLED_TILES }, (_, step) => step + 0.5);
  const steps = [...new Set(all.map((step) => Math.trunc((step * count) / SAMPLED_TILES)))];
  return steps.flatMap((row) => steps.map((column) => row * count + column));
}

// Most tiles in a row that are not smaller than a locator's square.
export function mostTiles(width, height, side, limit) {
  const most = (Math.min(width, height) / side - OVERLAP) / (1 - OVERLAP) + 1e-9;
  return between(Math.trunc(most), 1, limit);
}

function starts(length, wanted) {
  const count = Math.min(wanted, length);
  const side = Math.min(length, Math.ceil(length / (count - (count - 1) * OVERLAP)));
  const step = count > 1 ? (length - side) / (count - 1) : 0;
  return Array.from({ length: count }, (_, place) => {
    const start = place && place === count - 1 ? length - side : roundHalfEven(place * step);
    return [start, start + side];
  });
}

// The boxes of a photo, each item's once, the surest first. found: the boxes of each tile, in its
// pixels
export function mergeTiles(tiles, found, width, height) {
  const candidates = tiles.flatMap((tile, number) =>
    found[number].map((box) => itemOf(box, tile, number, width, height)),
  );
  candidates.sort((a, b) => a.isCut - b.isCut || b.score - a.score);
  const kept = [];
  for (const item of candidates) {
    const same = kept.find((known) => isSame(known, item));
    if (!same) {
      kept.push(item);
      continue;
    }
    item.tiles.forEach((tile) => same.tiles.add(tile));
    same.score = Math.max(same.score, item.score);
    if (!same.isCut) continue;
    same.corners = boxAround(same.corners, item.corners);
    same.seenIn = boxAround(same.seenIn, item.seenIn);
  }
  kept.sort((a, b) => b.score - a.score);
  return kept.map(({ corners, label, score }) => ({ corners, label, score }));
}

function itemOf({ corners, label, score }, tile, number, width, height) {
  const part = [tile.left, tile.top, tile.right, tile.bottom];
  const whole = [0, 0, width, height];
  const moved = corners.map((corner, side) => corner + part[side % 2]);
  const isCut = moved.some((corner, side) => {
    const size = part[2 + (side % 2)] - part[side % 2];
    return part[side] !== whole[side] && Math.abs(corner - part[side]) <= EDGE_SHARE * size;
  });
  return { corners: moved, label, score, seenIn: part, tiles: new Set([number]), isCut };
}

// Whether two boxes of different tiles agree in the part that both tiles show.
function isSame(known, item) {
  if ([...item.tiles].some((tile) => known.tiles.has(tile))) return false;
  const part = shared(known.seenIn, item.seenIn);
  if (part[0] >= part[2] || part[1] >= part[3]) return false;
  const [first, second] = [known, item].map(({ corners }) => ({
    corners: corners.map((corner, side) => between(corner, part[side % 2], part[2 + (side % 2)])),
  }));
  return overlap(first, second) >= SAME_ITEM;
}

// Intersection over union of two boxes; 0 without an area.
export function overlap(first, second) {
  const both = area(shared(first.corners, second.corners));
  const union = area(first.corners) + area(second.corners) - both;
  return union > 0 ? both / union : 0;
}

function shared(a, b) {
  return [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
}

function boxAround(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

function area([left, top, right, bottom]) {
  return Math.max(right - left, 0) * Math.max(bottom - top, 0);
}
