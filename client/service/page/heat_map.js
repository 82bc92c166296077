// What decides, as `common/inference/explain/` finds and shows it; a test holds both together.

import { roundHalfEven } from "./numbers.js";

const GRID = 8; // cells a side
const LEAST_PROBABILITY = 1e-30;
const PICTURE_PIXELS = 768; // longer side of the picture
const STRONGEST_TINT = 0.7;

// Occlusion: by how much the logarithm of a class's odds falls when a cell has the photo's mean
// colour. -> Float64Array [8, 8]. square: pixels at the model's size; probabilitiesOf: the model
export async function occlusion(square, target, probabilitiesOf) {
  const { data, width: side, channels } = square;
  const edges = Array.from({ length: GRID + 1 }, (_, edge) => roundHalfEven((edge * side) / GRID));
  const fill = meanColour(square);
  const whole = evidence(await probabilitiesOf(square), target);
  const heat = new Float64Array(GRID * GRID);
  for (let cell = 0; cell < heat.length; cell++) {
    const [row, column] = [Math.floor(cell / GRID), cell % GRID];
    const hidden = data.slice();
    for (let y = edges[row]; y < edges[row + 1]; y++)
      for (let x = edges[column]; x < edges[column + 1]; x++)
        hidden.set(fill, (y * side + x) * channels);
    heat[cell] = whole - evidence(await probabilitiesOf({ ...square, data: hidden }), target);
  }
  return heat;
}

function meanColour({ data, channels }) {
  const sums = new Array(channels).fill(0);
  data.forEach((value, index) => (sums[index % channels] += value));
  return sums.map((sum) => roundHalfEven((sum * channels) / data.length));
}

function evidence(probabilities, target) {
  const others = probabilities.reduce((sum, share, index) => sum + (index === target ? 0 : share), 0);
  const [own, other] = [probabilities[target], others].map((share) =>
    Math.log(Math.max(share, LEAST_PROBABILITY)),
  );
  return own - other;
}

// A picture of an open photo, yellow to red where it speaks for the class. -> Promise of a PNG
export function overlay(bitmap, heat) {
  const scale = PICTURE_PIXELS / Math.max(bitmap.width, bitmap.height);
  const canvas = document.createElement("canvas");
  const width = (canvas.width = Math.max(1, Math.round(bitmap.width * scale)));
  const height = (canvas.height = Math.max(1, Math.round(bitmap.height * scale)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  const most = Math.max(...heat, LEAST_PROBABILITY);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const share = between(heat, ((x + 0.5) / width) * GRID, ((y + 0.5) / height) * GRID) / most;
      const opacity = STRONGEST_TINT * share;
      const tint = [255, 220 * (1 - share), 0];
      for (let channel = 0; channel < 3; channel++) {
        const index = (y * width + x) * 4 + channel;
        image.data[index] = image.data[index] * (1 - opacity) + tint[channel] * opacity;
      }
    }
  context.putImageData(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// The map between the middles of its cells; what speaks against the class counts as nothing.
function between(heat, across, down) {
  const [x, y] = [across, down].map((place) => Math.min(Math.max(place - 0.5, 0), GRID - 1));
  const [left, top] = [Math.min(Math.floor(x), GRID - 2), Math.min(Math.floor(y), GRID - 2)];
  const [right, bottom] = [x - left, y - top]; // shares of the cells there
  const cell = (row, column) => Math.max(heat[(top + row) * GRID + left + column], 0);
  return (
    (1 - bottom) * ((1 - right) * cell(0, 0) + right * cell(0, 1)) +
    bottom * ((1 - right) * cell(1, 0) + right * cell(1, 1))
  );
}
