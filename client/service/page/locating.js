// The boxes of a whole photo, as `common/inference/scenes/locating.py` finds them; a test holds both
// together.

import { boxesOfMap } from "./centre_map.js";
import { partOf, squeezed } from "./pixels.js";
import { cutTiles, mergeTiles, mostTiles, spreadTiles } from "./tiles.js";

const MAX_TILES = 12; // in a row
const SURE = 0.5; // score of the boxes that speak for a view
const FURTHER_BOXES = 2; // unsure ones, counted in addition
const TELLING_SHARE = 0.4; // of sure boxes, from which on smaller ones end the search
const SMALLER_VIEWS = 2; // one after the other, that end it

// The boxes that count, the surest first: of the photo as a whole, or of as many tiles as make
// them surest. locator: its description; mapOf(square): the map of pixels at its size; isWanted():
// false once nobody waits for the boxes
export async function locateScene(pixels, locator, mapOf, isWanted) {
  const { width, height } = pixels;
  let tiles = [];
  let found = [];
  let largest = -1;
  let smallerViews = 0;
  for (let count = 1; count <= mostTiles(width, height, locator.image_size, MAX_TILES); count++) {
    const parts = cutTiles(width, height, count);
    const boxes = [];
    for (const place of spreadTiles(count)) {
      if (!isWanted()) return [];
      boxes[place] = await boxesIn(parts[place], pixels, locator, mapOf);
    }
    const share = sureShare(boxes.flat());
    if (share > largest) {
      [tiles, found, largest, smallerViews] = [parts, boxes, share, 0];
    } else if (++smallerViews >= SMALLER_VIEWS && largest >= TELLING_SHARE) {
      break;
    }
  }
  for (const [place, tile] of tiles.entries()) {
    if (!isWanted()) return [];
    found[place] ??= await boxesIn(tile, pixels, locator, mapOf);
  }
  const merged = mergeTiles(tiles, found, width, height);
  return merged.filter(({ score }) => score >= locator.counting_score);
}

async function boxesIn(tile, pixels, locator, mapOf) {
  const map = await mapOf(squeezed(partOf(pixels, tile), locator.image_size));
  const size = [tile.right - tile.left, tile.bottom - tile.top];
  return boxesOfMap(map, ...size, locator.least_score);
}

function sureShare(boxes) {
  return boxes.filter(({ score }) => score >= SURE).length / (boxes.length + FURTHER_BOXES);
}

// The whole pixels of a box, at least one, within the photo.
export function cropOf([left, top, right, bottom], { width, height }) {
  const [x, y] = [
    Math.min(Math.max(Math.floor(left), 0), width - 1),
    Math.min(Math.max(Math.floor(top), 0), height - 1),
  ];
  return {
    left: x,
    top: y,
    right: Math.max(x + 1, Math.min(Math.ceil(right), width)),
    bottom: Math.max(y + 1, Math.min(Math.ceil(bottom), height)),
  };
}
