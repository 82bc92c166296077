// The boxes of a whole photo, as `common/inference/scenes/locating.py` finds them; a test holds both
// together.

import { boxesOfMap } from "./centre_map.js";
import { partOf, squeezed } from "./pixels.js";
import { cutTiles, mergeTiles, mostTiles } from "./tiles.js";

const MAX_TILES = 8; // in a row
const SURE = 0.5; // score of the boxes that speak for a view
const TELLING_SHARE = 0.1; // of sure boxes; below it, a fall says nothing

// The boxes that count, the surest first: of the photo as a whole, or of as many tiles as make
// them sure. locator: its description; mapOf(square): the map of pixels at its size; isWanted():
// false once nobody waits for the boxes
export async function locateScene(pixels, locator, mapOf, isWanted) {
  const { width, height } = pixels;
  let best = { tiles: [], found: [] };
  let largest = -1;
  for (let count = 1; count <= mostTiles(width, height, locator.image_size, MAX_TILES); count++) {
    const tiles = cutTiles(width, height, count);
    const found = [];
    for (const tile of tiles) {
      if (!isWanted()) return [];
      found.push(await boxesIn(tile, pixels, locator, mapOf));
    }
    const share = sureShare(found.flat());
    if (share < largest && largest >= TELLING_SHARE) break;
    if (share > largest) [best, largest] = [{ tiles, found }, share];
  }
  const merged = mergeTiles(best.tiles, best.found, width, height);
  return merged.filter(({ score }) => score >= locator.counting_score);
}

async function boxesIn(tile, pixels, locator, mapOf) {
  const map = await mapOf(squeezed(partOf(pixels, tile), locator.image_size));
  const size = [tile.right - tile.left, tile.bottom - tile.top];
  return boxesOfMap(map, ...size, locator.least_score);
}

function sureShare(boxes) {
  return boxes.length ? boxes.filter(({ score }) => score >= SURE).length / boxes.length : 0;
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
