"use strict";
// Shows page.json, and sends one image or .npz to a model. Nothing is loaded from or sent to anywhere else.

const MARK = { "X-Rectexport-Page": "1" };
const ARRAYS = {
  BOOL: Uint8Array, UINT8: Uint8Array, INT8: Int8Array, UINT16: Uint16Array, INT16: Int16Array, UINT32: Uint32Array,
  INT32: Int32Array, UINT64: BigUint64Array, INT64: BigInt64Array, FP32: Float32Array, FP64: Float64Array, FP16: Uint16Array,
};
const NUMPY = {
  "|b1": "BOOL", "|u1": "UINT8", "|i1": "INT8", "<u2": "UINT16", "<i2": "INT16", "<u4": "UINT32", "<i4": "INT32",
  "<u8": "UINT64", "<i8": "INT64", "<f2": "FP16", "<f4": "FP32", "<f8": "FP64",
};
const TOP = 5;
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000"];
const sections = new Map();

const make = (tag, text = "", kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });
const product = sizes => sizes.reduce((all, size) => all * size, 1);
const rounded = value => Number(value.toPrecision(3));

function shapeText(tensor) {
  return "[" + tensor.bounds.map(([low, high]) => low === high ? low : high === null ? `${low}…` : `${low}…${high}`).join(", ") + "]";
}

async function refresh() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("page.json", { headers: MARK });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const found = await answer.json();
    state.textContent = found.ready ? "ready" : "not ready";
    state.className = found.ready ? "good" : "bad";
    for (const model of found.models) show(model);
  } catch (error) {
    state.textContent = `no answer: ${error.message}`;
    state.className = "bad";
  }
}

function show(model) {
  let section = sections.get(model.path);
  if (!section) {
    section = document.getElementById("model").content.firstElementChild.cloneNode(true);
    sections.set(model.path, section);
    document.getElementById("models").append(section);
    section.querySelector("h2").textContent = `${model.name}, version ${model.version}`;
    const body = section.querySelector(".tensors tbody");
    for (const [side, tensors] of [["input", model.inputs], ["output", model.outputs]]) {
      for (const tensor of tensors) {
        const row = body.insertRow();
        for (const text of [`${side} ${tensor.name}`, tensor.datatype, shapeText(tensor)]) row.insertCell().textContent = text;
      }
    }
    for (const kind of ["curl", "python"]) section.querySelector("." + kind).textContent = model[kind];
    for (const button of section.querySelectorAll("[data-copy]")) button.onclick = () => copy(button, model[button.dataset.copy]);
    connect(section, model);
  }
  const facts = section.querySelector(".facts");
  const latency = model.requests
    ? `${model.requests} answered in ${rounded(model.mean_ms)} ms on average, ${rounded(model.engine_ms)} ms of them in the engine`
    : "no request yet";
  facts.textContent = (model.ready ? "ready" : `not ready: ${model.reason}`) + ` · ${latency}` +
    (model.failed ? ` · ${model.failed} failed` : "") + (model.batch ? ` · up to ${model.batch} rows in one run` : " · one request in a run");
  facts.classList.toggle("bad", !model.ready);
  section.querySelector(".shadow").textContent = model.shadow && `shadow: ${model.shadow}`;
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {  // browsers offer the clipboard only to https and localhost
    getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
    button.textContent = "Selected: press Ctrl-C";
  }
}

function connect(section, model) {
  const drop = section.querySelector(".drop"), chooser = drop.querySelector("input");
  let last = null;
  const send = async file => {
    last = file;
    const said = section.querySelector(".said");
    said.className = "said";
    said.textContent = `${file.name}: sent …`;
    try {
      const began = performance.now();
      const feeds = file.name.endsWith(".npz") ? await fromNpz(file, model) : await fromImage(file, model, section);
      const outputs = await infer(model, feeds.tensors);
      said.textContent = `${file.name}: answered in ${rounded(performance.now() - began)} ms`;
      section.querySelector(".answers").replaceChildren(...outputs.map(output => view(output, feeds.image)));
    } catch (error) {
      said.textContent = `${file.name}: ${error.message}`;
      said.classList.add("bad");
      section.querySelector(".answers").replaceChildren();
    }
    refresh();
  };
  chooser.onchange = () => { if (chooser.files[0]) send(chooser.files[0]); chooser.value = ""; };
  drop.onkeydown = event => { if (event.key === "Enter" || event.key === " ") chooser.click(); };
  drop.ondragover = event => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = event => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  };
  section.querySelector("select").onchange = () => { if (last && !last.name.endsWith(".npz")) send(last); };
}

function nearest(size, input, axis) {  // the largest allowed size that is not above the picture's
  const [low, high] = input.bounds[axis], step = input.steps[axis], within = Math.max(low, Math.min(size, high ?? size));
  return within - (within - low) % step;
}

async function fromImage(file, model, section) {
  const [input] = model.inputs;
  if (model.inputs.length !== 1 || input.shape.length !== 4) throw new Error("an image fits a model with one input [N, C, H, W]; use an .npz");
  let picture;
  try { picture = await createImageBitmap(file); } catch { throw new Error("no image that this browser can read"); }
  const [rows, channels] = input.example;
  if (![1, 3, 4].includes(channels)) throw new Error(`the input has ${channels} channels; use an .npz`);
  const height = nearest(picture.height, input, 2);
  const width = nearest(picture.width, input, 3);
  const image = Object.assign(document.createElement("canvas"), { width, height });
  const pen = image.getContext("2d");
  pen.drawImage(picture, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height).data, plane = width * height;
  const data = new ARRAYS[input.datatype](rows * channels * plane), big = typeof data[0] === "bigint";
  if (input.datatype === "FP16" || input.datatype === "BOOL") throw new Error(`${input.datatype} input; use an .npz`);
  const scale = data instanceof Float32Array || data instanceof Float64Array ? section.querySelector("select").value : "raw";
  const mean = [0.485, 0.456, 0.406, 0], deviation = [0.229, 0.224, 0.225, 1];
  for (let place = 0; place < data.length; place++) {
    const channel = Math.floor(place / plane) % channels, at = 4 * (place % plane);
    let value = channels === 1 ? 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2] : pixels[at + channel];
    if (scale !== "raw") value /= 255;
    if (scale === "imagenet") value = (value - mean[channel]) / deviation[channel];
    data[place] = big ? BigInt(Math.round(value)) : value;
  }
  return { image, tensors: [{ name: input.name, datatype: input.datatype, shape: [rows, channels, height, width], data }] };
}

async function fromNpz(file, model) {
  const bytes = await file.arrayBuffer(), found = await unzip(bytes);
  const tensors = [];
  for (const input of model.inputs) {
    const data = found.get(`${input.name}.npy`) ?? found.get(`input.${input.name}.npy`) ?? (model.inputs.length === 1 && found.size === 1 ? [...found.values()][0] : null);
    if (!data) throw new Error(`no array ${input.name}; the file has ${[...found.keys()].map(name => name.replace(/\.npy$/, "")).join(", ")}`);
    tensors.push({ name: input.name, ...npy(data) });
  }
  return { image: null, tensors };
}

async function unzip(buffer) {
  const view = new DataView(buffer), found = new Map();
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("not an .npz file");
  let place = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    const method = view.getUint16(place + 10, true), size = view.getUint32(place + 20, true);
    const lengths = [28, 30, 32].map(at => view.getUint16(place + at, true)), start = view.getUint32(place + 42, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, place + 46, lengths[0]));
    const from = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
    const part = new Blob([new Uint8Array(buffer, from, size)]);
    if (method !== 0 && method !== 8) throw new Error(`${name}: compressed in a way that is not read here`);
    const stream = method === 8 ? part.stream().pipeThrough(new DecompressionStream("deflate-raw")) : part.stream();
    found.set(name, await new Response(stream).arrayBuffer());
    place += 46 + lengths[0] + lengths[1] + lengths[2];
  }
  return found;
}

function npy(buffer) {
  const bytes = new Uint8Array(buffer), long = bytes[6] > 1;
  const size = new DataView(buffer).getUint32(8, true), length = long ? size : size & 0xffff, from = (long ? 12 : 10) + length;
  const header = new TextDecoder("latin1").decode(bytes.subarray(long ? 12 : 10, from));
  const kind = /'descr': *'([^']+)'/.exec(header)?.[1], shape = /'shape': *\(([^)]*)\)/.exec(header)?.[1];
  if (!NUMPY[kind] || shape === undefined) throw new Error(`an array of type ${kind} cannot be sent`);
  if (header.includes("'fortran_order': True")) throw new Error("an array in column order; save np.ascontiguousarray of it");
  const sizes = shape.split(",").map(part => part.trim()).filter(Boolean).map(Number);
  return { datatype: NUMPY[kind], shape: sizes, data: new ARRAYS[NUMPY[kind]](buffer.slice(from)) };
}

async function infer(model, tensors) {
  const inputs = tensors.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, parameters: { binary_data_size: data.byteLength } }));
  const head = new TextEncoder().encode(JSON.stringify({ inputs, parameters: { binary_data_output: true } }));
  const answer = await fetch(`${model.path}/infer`, {
    method: "POST",
    headers: { ...MARK, "Inference-Header-Content-Length": head.length, "Content-Type": "application/octet-stream" },
    body: new Blob([head, ...tensors.map(tensor => tensor.data)]),
  });
  if (!answer.ok) throw new Error((await answer.json()).error ?? `the server answers ${answer.status}`);
  const body = await answer.arrayBuffer(), length = Number(answer.headers.get("Inference-Header-Content-Length"));
  const { outputs } = JSON.parse(new TextDecoder().decode(body.slice(0, length)));
  let place = length;
  return outputs.map(output => {
    const size = output.parameters.binary_data_size, raw = new ARRAYS[output.datatype](body.slice(place, place += size));
    const data = output.datatype === "FP16" ? Float32Array.from(raw, half) : output.datatype.endsWith("64") && output.datatype !== "FP64" ? Float64Array.from(raw, Number) : raw;
    return { ...output, data };
  });
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, rest = bits & 1023;
  if (exponent === 31) return rest ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + rest / 1024) : 2 ** -14 * rest / 1024);
}

function view(output, image) {
  const box = make("div"), sizes = output.shape;
  box.append(make("h3", `${output.name} [${sizes.join(", ")}]`));
  const map = sizes.length >= 3 && sizes.at(-1) > 1 && sizes.at(-2) > 1;
  if (!map) box.append(table(output));
  else if (sizes.length === 3 && !output.datatype.startsWith("FP")) box.append(...mask(output.data, sizes.at(-1), sizes.at(-2), image));
  else if (sizes.length === 4 && sizes[1] > 1) box.append(...mask(largest(output), sizes[3], sizes[2], image), ...heat(output));
  else box.append(...heat(output));
  return box;
}

function table(output) {
  const width = output.shape.length > 1 ? product(output.shape.slice(1)) : output.data.length;
  const values = Array.from(output.data.subarray(0, width)), order = values.map((_, k) => k).sort((a, b) => values[b] - values[a]).slice(0, TOP);
  const top = values[order[0]], low = Math.min(...order.map(k => values[k]), 0), made = make("table"), head = made.createTHead().insertRow(), body = made.createTBody();
  for (const text of ["index", "value", ""]) head.append(make("th", text, text === "value" ? "number" : ""));
  for (const k of order) {
    const row = body.insertRow(), bar = document.createElement("meter");
    row.insertCell().textContent = k;
    Object.assign(row.insertCell(), { textContent: rounded(values[k]), className: "number" });
    Object.assign(bar, { min: 0, max: 1, value: top > low ? (values[k] - low) / (top - low) : 1 });
    bar.setAttribute("aria-hidden", "true");
    Object.assign(row.insertCell(), { className: "bar" }).append(bar);
  }
  return made;
}

function largest({ data, shape: [, channels, height, width] }) {
  const plane = height * width;
  return Int32Array.from({ length: plane }, (_, at) => {
    let best = 0;
    for (let channel = 1; channel < channels; channel++) if (data[channel * plane + at] > data[best * plane + at]) best = channel;
    return best;
  });
}

function colour(index) { return COLOURS[index] ?? `hsl(${index * 47 % 360} 60% 50%)`; }

function mask(classes, width, height, image) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), pen = canvas.getContext("2d"), counts = new Map();
  if (image) pen.drawImage(image, 0, 0, width, height);
  pen.globalAlpha = image ? 0.55 : 1;
  for (let at = 0; at < width * height; at++) {
    const index = Number(classes[at]);
    counts.set(index, (counts.get(index) ?? 0) + 1);
    pen.fillStyle = colour(index);
    pen.fillRect(at % width, Math.floor(at / width), 1, 1);
  }
  const legend = make("p", "", "legend");
  for (const [index, count] of [...counts].sort((a, b) => b[1] - a[1]).slice(0, 12)) {
    const entry = make("span", `class ${index}: ${rounded(100 * count / (width * height))} %`), dot = document.createElement("i");
    dot.style.background = colour(index);
    entry.prepend(dot);
    legend.append(entry);
  }
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Largest class of each pixel");
  return [canvas, legend];
}

function heat({ data, shape }) {
  const [height, width] = shape.slice(-2), plane = height * width, planes = product(shape.slice(1, -2));
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), pen = canvas.getContext("2d");
  const legend = make("p", "", "legend"), chooser = document.createElement("select");
  const draw = channel => {
    const values = data.subarray(channel * plane, (channel + 1) * plane);
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    const pixels = pen.createImageData(width, height);
    values.forEach((value, at) => {
      const share = high > low ? (value - low) / (high - low) : 0;
      pixels.data.set([255 * Math.min(1, 1.8 * share), 255 * Math.max(0, 1.6 * share - 0.6), 255 * (0.25 + 0.35 * Math.sin(3.14 * share)), 255], 4 * at);
    });
    pen.putImageData(pixels, 0, 0);
    legend.textContent = `dark ${rounded(low)}, bright ${rounded(high)}`;
  };
  chooser.setAttribute("aria-label", "channel");
  for (let channel = 0; channel < planes; channel++) chooser.append(make("option", `channel ${channel}`));
  chooser.onchange = () => draw(chooser.selectedIndex);
  draw(0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Heat map of one channel");
  return planes > 1 ? [chooser, canvas, legend] : [canvas, legend];
}

refresh();
setInterval(refresh, 5000);
