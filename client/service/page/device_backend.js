// Answers from the model itself, run in this browser: no photo leaves the machine.

import { DeviceRuntime } from "./device_runtime.js";
import { occlusion, overlay } from "./heat_map.js";
import { cropOf, locateScene } from "./locating.js";
import { openPhoto, partOf, pixelsOf, squeezed } from "./pixels.js";
import { verdictOn } from "./verdicts.js";

const OUTPUTS = ["probabilities", "logits"];
const MAPS = "maps";

export class DeviceBackend {
  #runtime;
  #model = null;
  #session = null;
  #locator = null;
  #locatorSession = null;

  constructor(connection) {
    this.#runtime = new DeviceRuntime(connection);
  }

  // Loads all that is needed: what comes later asks nobody for anything.
  async model() {
    if (this.#session) return this.#model;
    const [{ told: model, content }] = await Promise.all([
      this.#runtime.load("model"),
      this.#runtime.start(),
    ]);
    if (model.has_locator) {
      const locator = await this.#runtime.load("locator");
      this.#locatorSession = await this.#runtime.open(locator.content);
      this.#locator = locator.told;
    }
    this.#session = await this.#runtime.open(content);
    this.#model = model;
    return model;
  }

  // -> {verdict, guesses: [{class, probability}]}, the most probable class first
  async classify(photo) {
    const bitmap = await openPhoto(photo);
    let pixels;
    try {
      pixels = pixelsOf(bitmap, this.#model.channels);
    } finally {
      bitmap.close();
    }
    return this.#answer(pixels, squeezed(pixels, this.#model.image_size));
  }

  // -> {width, height, score, products: [{box, score, verdict, guesses}]}, the surest box first;
  // null if it is not wanted any more. step(done, all): whether it is
  async locate(photo, step) {
    const bitmap = await openPhoto(photo);
    let pixels, scene;
    try {
      pixels = pixelsOf(bitmap, this.#model.channels);
      const isAlike = this.#locator.channels === this.#model.channels;
      scene = isAlike ? pixels : pixelsOf(bitmap, this.#locator.channels);
    } finally {
      bitmap.close();
    }
    const mapOf = (square) => this.#map(square);
    const boxes = await locateScene(scene, this.#locator, mapOf, () => step(0, 1));
    const products = [];
    if (!step(0, boxes.length)) return null;
    for (const found of boxes) {
      products.push({ box: found.corners, score: found.score, ...(await this.#name(found, pixels)) });
      if (!step(products.length, boxes.length)) return null;
    }
    const { width, height } = pixels;
    return { width, height, score: this.#locator.counting_score, products };
  }

  // -> {verdict, guesses} of a box on a photo: the locator's own, if it tells classes
  async #name({ corners, label, score }, pixels) {
    if (this.#locator.names_products) {
      const name = this.#locator.classes[Math.max(label, 0)];
      return { verdict: "sure", guesses: [{ class: name, probability: score }] };
    }
    const crop = squeezed(partOf(pixels, cropOf(corners, pixels)), this.#model.image_size);
    return this.#answer(crop, crop);
  }

  // -> a picture of the photo on which the parts that decide are bright
  async explain(photo) {
    const bitmap = await openPhoto(photo);
    try {
      return await overlay(bitmap, await this.heat(bitmap));
    } finally {
      bitmap.close();
    }
  }

  // -> what each part of an open photo adds to the evidence for its most probable class [8, 8]
  async heat(bitmap) {
    const { channels, image_size } = this.#model;
    const square = squeezed(pixelsOf(bitmap, channels), image_size);
    const probabilitiesOf = async (pixels) => (await this.#run(pixels)).probabilities;
    const whole = await probabilitiesOf(square);
    return occlusion(square, whole.indexOf(Math.max(...whole)), probabilitiesOf);
  }

  // -> {verdict, guesses} of pixels of any size, of which `square` are at the model's
  async #answer(pixels, square) {
    const { probabilities, logits } = await this.#run(pixels);
    const guesses = this.#model.classes.map((name, index) => ({
      class: name,
      probability: probabilities[index],
    }));
    const verdict = verdictOn(probabilities, logits, square, this.#model);
    return { verdict, guesses: guesses.sort((a, b) => b.probability - a.probability) };
  }

  // -> {probabilities, logits} of pixels, arrays [classes]
  async #run(pixels) {
    const { probabilities, logits } = await this.#runtime.run(this.#session, pixels, OUTPUTS);
    return { probabilities: [...probabilities.data], logits: [...logits.data] };
  }

  // -> the locator's map of a square (see `centre_map.js`)
  async #map(square) {
    const { [MAPS]: map } = await this.#runtime.run(this.#locatorSession, square, [MAPS]);
    const [, channels, rows, columns] = map.dims;
    return { data: map.data, channels, rows, columns };
  }
}
