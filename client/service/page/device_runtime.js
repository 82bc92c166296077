// ONNX Runtime in this browser, and the models that it runs.

import { ServiceError } from "./connection.js";

const SEAL_DIGITS = 64; // the SHA-256 at the end of a model's file
// A program of one instruction on vectors, which ONNX Runtime has, too.
const VECTORS = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15,
  253, 98, 11,
];

export function canRunModels() {
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(VECTORS));
}

export class DeviceRuntime {
  #connection;
  #runtime = null;
  #passes = Promise.resolve(); // one at a time: a session has one set of buffers

  constructor(connection) {
    this.#connection = connection;
  }

  async start() {
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
  }

  // -> {told, content}: a model's description and its file, which belong together
  async load(name) {
    const told = await (await this.#connection.ask(`${name}.json`)).json();
    const content = await this.#file(`${name}.onnx`);
    const seal = new TextDecoder().decode(content.subarray(-SEAL_DIGITS));
    if (seal !== told.seal) throw new ServiceError(503); // it is being replaced
    return { told, content };
  }

  open(content) {
    return this.#runtime.InferenceSession.create(content, {
      executionProviders: ["wasm"],
      logSeverityLevel: 4, // errors come as exceptions
    });
  }

  // -> the outputs of those names for one photo's pixels
  run(session, pixels, outputs) {
    const pass = this.#passes.then(async () => {
      await new Promise((resolve) => setTimeout(resolve)); // the page moves between two passes
      const { data, height, width, channels } = pixels;
      const images = new this.#runtime.Tensor("uint8", data, [1, height, width, channels]);
      return session.run({ images }, outputs);
    });
    this.#passes = pass.catch(() => {});
    return pass;
  }

  async #file(path) {
    return new Uint8Array(await (await this.#connection.ask(path)).arrayBuffer());
  }
}
