// A photo's pixels: {data: uint8 [height, width, channels], height, width, channels}.

import { ServiceError } from "./connection.js";

const MAX_PIXELS = 25e6; // as the service
const STRIP_ROWS = 256; // some phones have no canvas as large as their photos
const PRECISION = 22; // bits behind the point, of Pillow's resize

// A photo in a form that can be drawn: upright, its colours as they stand in the file.
export async function openPhoto(photo) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(photo, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new ServiceError(415);
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    bitmap.close();
    throw new ServiceError(413);
  }
  return bitmap;
}

// All pixels of an open photo, transparent parts over white. The canvas copies and never scales:
// browsers scale differently, and models see it.
export function pixelsOf(bitmap, channels) {
  const { width, height } = bitmap;
  const data = new Uint8Array(width * height * channels);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = Math.min(STRIP_ROWS, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  let end = 0;
  for (let top = 0; top < height; top += STRIP_ROWS) {
    const rows = Math.min(STRIP_ROWS, height - top);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    const drawn = context.getImageData(0, 0, width, rows).data;
    for (let from = 0; from < drawn.length; from += 4) {
      if (channels === 1) {
        data[end++] = grey(drawn[from], drawn[from + 1], drawn[from + 2]);
      } else {
        data[end++] = drawn[from];
        data[end++] = drawn[from + 1];
        data[end++] = drawn[from + 2];
      }
    }
  }
  return { data, height, width, channels };
}

// The pixels of a part of a photo: {left, top, right, bottom}, the last two outside of it.
export function partOf({ data, width, height, channels }, { left, top, right, bottom }) {
  if (right - left === width && bottom - top === height) return { data, height, width, channels };
  const row = (right - left) * channels;
  const part = new Uint8Array((bottom - top) * row);
  for (let line = top; line < bottom; line++) {
    const start = (line * width + left) * channels;
    part.set(data.subarray(start, start + row), (line - top) * row);
  }
  return { data: part, height: bottom - top, width: right - left, channels };
}

// ITU-R 601-2, in whole numbers as Pillow has it
function grey(red, green, blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

// The pixels squeezed to a square: Pillow's bilinear resize (of uint8, antialiased) to the bit. It
// rounds after each direction, and Pillow 13 begins with the height of tall photos: its own rule,
// found by trying sizes.
export function squeezed(pixels, side) {
  const { height, width } = pixels;
  return height > side && height + side > 2 * width
    ? narrowed(lowered(pixels, side), side)
    : lowered(narrowed(pixels, side), side);
}

function narrowed({ data, height, width, channels }, side) {
  const row = side * channels;
  const narrow = new Uint8Array(height * row);
  const across = weightsOf(width, side);
  for (let line = 0; line < height; line++)
    for (let channel = 0; channel < channels; channel++)
      shrink(data, line * width * channels + channel, narrow, line * row + channel, channels, across);
  return { data: narrow, height, width: side, channels };
}

function lowered({ data, height, width, channels }, side) {
  const row = width * channels;
  const low = new Uint8Array(side * row);
  const down = weightsOf(height, side);
  for (let column = 0; column < row; column++) shrink(data, column, low, column, row, down);
  return { data: low, height: side, width, channels };
}

// Resizes one line of values that lie `step` apart, in both arrays.
function shrink(source, sourceStart, target, targetStart, step, weights) {
  for (let place = 0; place < weights.length; place++) {
    const { first, shares } = weights[place];
    let sum = 1 << (PRECISION - 1);
    let from = sourceStart + first * step;
    for (let tap = 0; tap < shares.length; tap++, from += step) sum += source[from] * shares[tap];
    target[targetStart + place * step] = sum >> PRECISION; // shares of 0 and above: within 0 to 255
  }
}

// For each place of a shorter line, the first value that it is made of, and the share of each.
function weightsOf(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const narrowing = 1 / reach;
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const raw = Array.from({ length: end - first }, (_, tap) =>
      Math.max(0, 1 - Math.abs((tap + first - centre + 0.5) * narrowing)),
    );
    const sum = raw.reduce((total, share) => total + share, 0);
    const shares = Int32Array.from(raw, (share) => Math.trunc(0.5 + (share / sum) * 2 ** PRECISION));
    return { first, shares };
  });
}
