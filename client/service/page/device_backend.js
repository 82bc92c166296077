// Answers from the model itself, run in this browser: no photo leaves the machine.

import { ServiceError } from "./connection.js";
import { occlusion, overlay } from "./heat_map.js";
import { openPhoto, pixelsOf, squeezed } from "./pixels.js";
import { verdictOn } from "./verdicts.js";

const OUTPUTS = ["probabilities", "logits"];
const SEAL_DIGITS = 64; // the SHA-256 at the end of a model's file
// A program of one instruction on vectors, which ONNX Runtime has, too.
const VECTORS = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15,
  253, 98, 11,
];

export function canRunModels() {
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(VECTORS));
}

export class DeviceBackend {
  #connection;
  #model = null;
  #runtime = null;
  #session = null;
  #passes = Promise.resolve(); // one at a time: a session has one set of buffers

  constructor(connection) {
    this.#connection = connection;
  }

  // Loads all that is needed: what comes later asks nobody for anything.
  async model() {
    if (this.#session) return this.#model;
    const model = await (await this.#connection.ask("model.json")).json();
    const [content, runtime] = await Promise.all([this.#file("model.onnx"), this.#start()]);
    const seal = new TextDecoder().decode(content.subarray(-SEAL_DIGITS));
    if (seal !== model.seal) throw new ServiceError(503); // it is being replaced
    this.#session = await runtime.InferenceSession.create(content, {
      executionProviders: ["wasm"],
      logSeverityLevel: 4, // errors come as exceptions
    });
    this.#model = model;
    return model;
  }

  // -> {verdict, guesses: [{class, probability}]}, the most probable class first
  async classify(photo) {
    const { classes, channels, image_size } = this.#model;
    const bitmap = await openPhoto(photo);
    let pixels;
    try {
      pixels = pixelsOf(bitmap, channels);
    } finally {
      bitmap.close();
    }
    const { probabilities, logits } = await this.#run(pixels);
    const guesses = classes.map((name, index) => ({
      class: name,
      probability: probabilities[index],
    }));
    const verdict = verdictOn(probabilities, logits, squeezed(pixels, image_size), this.#model);
    return { verdict, guesses: guesses.sort((a, b) => b.probability - a.probability) };
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

  // -> {probabilities, logits} of pixels, arrays [classes]
  #run(pixels) {
    const pass = this.#passes.then(async () => {
      await new Promise((resolve) => setTimeout(resolve)); // the page moves between two passes
      const { data, height, width, channels } = pixels;
      const images = new this.#runtime.Tensor("uint8", data, [1, height, width, channels]);
      const { probabilities, logits } = await this.#session.run({ images }, OUTPUTS);
      return { probabilities: [...probabilities.data], logits: [...logits.data] };
    });
    this.#passes = pass.catch(() => {});
    return pass;
  }

  async #start() {
    const [runtime, program] = await Promise.all([
      import("./vendor/ort.wasm.min.js"),
      this.#file("vendor/ort-wasm-simd-threaded.wasm"),
    ]);
    const { wasm } = runtime.env;
    wasm.numThreads = 1; // more need headers that few web servers send, and iOS has none
    wasm.proxy = false;
    wasm.wasmBinary = program.buffer; // a web server may not know its type
    wasm.wasmPaths = { mjs: new URL("vendor/ort-wasm-simd-threaded.js", import.meta.url).href };
    this.#runtime = runtime;
    return runtime;
  }

  async #file(path) {
    return new Uint8Array(await (await this.#connection.ask(path)).arrayBuffer());
  }
}
