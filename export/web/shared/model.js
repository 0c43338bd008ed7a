/**
 * A trained model in the browser, run by onnxruntime-web.
 *
 *     import { load } from "./model.js";
 *     const model = await load();
 *     const outputs = await model.run({ x: { dims: [1, 3], data: [0.1, 0.2, 0.3] } });
 *     console.log(outputs.logits.dims, outputs.logits.data);
 *
 * What goes in and comes out is told by `model.about`, the content of model.json.
 */

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};
const RUNTIMES = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

/**
 * Load the model that lies beside this file.
 *
 * @param {object} [options]
 * @param {"wasm"|"webgpu"|"auto"} [options.engine] "wasm" runs everywhere and is fastest for small
 *     models; "webgpu" needs a browser with WebGPU; "auto" takes WebGPU where present.
 * @param {number} [options.threads] of the wasm engine; more than one needs a page that is
 *     cross-origin isolated (headers Cross-Origin-Opener-Policy: same-origin and
 *     Cross-Origin-Embedder-Policy: require-corp).
 * @param {URL|string} [options.folder] where model.json, model.onnx and ort/ lie.
 * @returns {Promise<Model>}
 */
export async function load({ engine = "wasm", threads = 1, folder = import.meta.url } = {}) {
  const about = await (await fetched(new URL("model.json", folder))).json();
  const chosen = engine === "auto" ? ((await hasWebGPU()) ? "webgpu" : "wasm") : engine;
  if (!(chosen in RUNTIMES)) throw new Error(`there is no engine "${engine}": use wasm, webgpu or auto`);
  if (chosen === "webgpu" && !(await hasWebGPU())) throw new Error("this browser has no WebGPU: use engine wasm");
  const runtime = await import(new URL(`ort/${RUNTIMES[chosen]}`, folder));
  runtime.env.wasm.wasmPaths = new URL("ort/", folder).href;
  runtime.env.wasm.numThreads = threads;
  const graph = await (await fetched(new URL(about.file, folder))).arrayBuffer();
  const session = await runtime.InferenceSession.create(graph, { executionProviders: [chosen] });
  return new Model(about, session, runtime.Tensor, chosen);
}

/** A loaded model; made by `load`. */
export class Model {
  constructor(about, session, Tensor, engine) {
    this.about = about;
    this.session = session;
    this.engine = engine;
    this.Tensor = Tensor;
    this.last = Promise.resolve();
  }

  /**
   * Compute the outputs of one batch.
   *
   * @param {Object<string, {dims: number[], data: ArrayLike<number|bigint|boolean>}>} inputs by name;
   *     numbers row by row, of any kind that the input's type can hold.
   * @returns {Promise<Object<string, {type: string, dims: number[], data: ArrayLike}>>} outputs by
   *     name; `data` is a typed array, of BigInt for int64 and of 0 and 1 for bool.
   * @throws {Error} naming the input whose name, shape or range is not as model.json says.
   */
  run(inputs) {
    const tensors = this.tensors(inputs);
    // a session computes one batch at a time
    const answer = this.last.then(() => this.session.run(tensors));
    this.last = answer.catch(() => undefined);
    return answer;
  }

  /** The inputs as onnxruntime-web's tensors, checked against model.json. */
  tensors(inputs) {
    const wanted = this.about.inputs.map((input) => input.name);
    for (const name of Object.keys(inputs)) {
      if (!wanted.includes(name)) throw new Error(`there is no input "${name}": the model takes ${wanted.join(", ")}`);
    }
    const lengths = {};
    return Object.fromEntries(
      this.about.inputs.map((input) => [input.name, this.tensor(input, inputs[input.name], lengths)]),
    );
  }

  tensor(input, given, lengths) {
    if (!given) throw new Error(`input "${input.name}" is missing`);
    const dims = Array.from(given.dims);
    const fits = dims.length === input.shape.length && dims.every((size, i) => fitting(size, input.shape[i], lengths));
    if (!fits) throw new Error(`input "${input.name}" is ${dims.join("×")}, the model takes ${shapeText(input.shape)}`);
    const count = dims.reduce((product, size) => product * size, 1);
    if (given.data.length !== count) {
      throw new Error(`input "${input.name}" has ${given.data.length} numbers, ${dims.join("×")} are ${count}`);
    }
    const Kind = ARRAYS[input.type];
    const convert = input.type === "int64" ? BigInt : Number;
    const data = given.data instanceof Kind ? given.data : Kind.from(given.data, (value) => convert(value));
    return new this.Tensor(input.type, data, dims);
  }
}

/** A shape of model.json in words, such as "batch (1 to 1024) × 2". */
export function shapeText(shape) {
  return shape.map((size) => (size.axis ? `${size.axis} (${size.low} to ${size.high})` : size)).join(" × ");
}

/** Whether a length is as declared; an axis has the same length wherever it occurs. */
function fitting(size, declared, lengths) {
  if (!declared.axis) return size === declared;
  lengths[declared.axis] ??= size;
  return size === lengths[declared.axis] && size >= declared.low && size <= declared.high;
}

async function hasWebGPU() {
  return Boolean(await navigator.gpu?.requestAdapter());
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be read: ${answer.status} ${answer.statusText}`);
  return answer;
}
