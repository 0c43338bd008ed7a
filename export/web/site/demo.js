/** The page that shows the model at work. All names are put in as text, never as HTML. */

import { load, shapeText } from "./model.js";
import * as views from "./views.js";

const byId = (id) => document.getElementById(id);

function element(kind, text = "", properties = {}) {
  return Object.assign(document.createElement(kind), { textContent: text, ...properties });
}

function section(title) {
  const found = element("section");
  found.append(element("p", title, { className: "faint" }));
  byId("stage").append(found);
  return found;
}

function canvasIn(parent, width = 520, height = 520) {
  const canvas = element("canvas", "", { width, height });
  parent.append(canvas);
  return new views.Surface(canvas);
}

/** A page of one model: what is shown is `inputs`; each view says how to draw and to change them. */
class Demo {
  constructor(model) {
    this.model = model;
    this.about = model.about;
    this.view = VIEWS[this.about.view](this);
  }

  /** Show inputs and compute their answer; `wanted` is the answer that PyTorch gave, if known. */
  async show(inputs, wanted) {
    this.inputs = inputs;
    const started = performance.now();
    const outputs = await this.model.run(inputs);
    const took = performance.now() - started;
    if (this.inputs !== inputs) return; // changed meanwhile
    this.view.draw(inputs, outputs);
    const verdict = wanted ? (views.agrees(outputs, wanted) ? ", equal to PyTorch" : ", differs from PyTorch") : "";
    const good = !verdict.includes("differs");
    say(`Answered in ${took.toFixed(1)} ms by ${this.model.engine}${verdict}.`, good);
  }
}

function say(text, good = true) {
  byId("status").textContent = text;
  byId("status").dataset.good = good;
}

function pointsView(demo) {
  const surface = canvasIn(section("Click to add a point, drag to move one"));
  const order = section("Answer").appendChild(element("p"));
  const { canvas } = surface;
  const shape = demo.about.inputs[0].shape;
  const [dimensions, axis] = [shape[2], shape[1]];
  const again = (points) => {
    const data = points.flatMap((point) => point.slice(0, dimensions));
    return demo.show({ points: { dims: [1, points.length, dimensions], data } });
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const inside = (share) => Math.min(Math.max((share - 0.05) / 0.9, 0), 1);
    return [inside((event.clientX - box.left) / box.width), inside(1 - (event.clientY - box.top) / box.height)];
  };
  let held = -1;
  canvas.onpointerdown = (event) => {
    const points = views.pointsOf(demo.inputs.points);
    const [x, y] = place(event);
    held = points.findIndex(([u, v]) => Math.hypot(u - x, dimensions > 1 ? v - y : 0) < 0.03);
    canvas.setPointerCapture(event.pointerId);
    if (held < 0 && points.length < (axis.high ?? axis)) again([...points, [x, y]]);
  };
  canvas.onpointermove = (event) => {
    if (held < 0) return;
    const points = views.pointsOf(demo.inputs.points);
    points[held] = place(event);
    again(points);
  };
  canvas.onpointerup = () => (held = -1);
  return {
    draw(inputs, outputs) {
      const points = views.pointsOf(inputs.points);
      const found = views.sequenceOf(outputs);
      surface.clear();
      surface.points(points, views.edgesOf(demo.about.problem, found), { x: 0, y: 0, size: canvas.width });
      order.textContent = found.map((i) => i + 1).join(" → ");
    },
  };
}

function imageView(demo) {
  const drawn = section("Draw with the pointer");
  const surface = canvasIn(drawn);
  const answer = canvasIn(section("Answer"));
  const { canvas } = surface;
  const name = demo.about.inputs[0].name;
  const [, channels, height, width] = demo.about.inputs[0].shape;
  const known = demo.about.examples.flatMap((example) => example.inputs[name].data.map(Number));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const image = (data) => ({ [name]: { dims: [1, channels, height, width], data } });
  drawn.append(element("button", "Clear", { onclick: () => demo.show(image(Array(channels * height * width).fill(low))) }));
  canvas.onpointermove = canvas.onpointerdown = (event) => {
    if (!event.buttons) return;
    const box = canvas.getBoundingClientRect();
    const side = box.width / Math.max(height, width);
    const [row, column] = [(event.clientY - box.top) / side - 0.5, (event.clientX - box.left) / side - 0.5];
    const data = Array.from(demo.inputs[name].data, Number);
    for (let i = 0; i < data.length; i++) {
      const away = Math.hypot(Math.floor((i % (height * width)) / width) - row, (i % width) - column);
      const ink = low + (high - low) * Math.max(0, 1 - away / Math.max(1, height / 9));
      data[i] = Math.max(data[i], ink);
    }
    demo.show(image(data));
  };
  return {
    draw(inputs, outputs) {
      surface.clear();
      surface.picture(inputs[name], { x: 0, y: 0, size: canvas.width });
      const shares = views.softmax(outputs.logits.data);
      const labels = shares.map((_, i) => views.className(demo.about, i));
      answer.clear();
      answer.bars(shares, labels, { x: 20, y: 20, width: 480, height: 480 });
    },
  };
}

function fieldView(demo) {
  const [given, found] = [canvasIn(section("Given")), canvasIn(section("Answer"))];
  const name = demo.about.inputs[0].name;
  return {
    draw(inputs, outputs) {
      for (const [surface, tensor] of [[given, inputs[name]], [found, outputs.value]]) {
        surface.clear();
        surface.picture(tensor, { x: 0, y: 0, size: surface.canvas.width }, views.heat);
      }
    },
  };
}

const MOST_FIELDS = 64;

function numbersView(demo) {
  const entries = section("Inputs").appendChild(element("table"));
  const answers = section("Outputs").appendChild(element("table"));
  const change = (name, index, value) => {
    const data = Array.from(demo.inputs[name].data);
    data[index] = value;
    return demo.show({ ...demo.inputs, [name]: { ...demo.inputs[name], data } }).catch((error) => say(error.message, false));
  };
  const rowsOf = (input) =>
    Array.from(demo.inputs[input.name].data).slice(0, MOST_FIELDS).map((value, index) => {
      const label = demo.about.columns?.[index] ?? `${input.name} ${index + 1}`;
      const field = element("input", "", { type: "number", step: "any", value: String(value) });
      field.onchange = () => change(input.name, index, input.type === "int64" ? Math.round(field.value) : Number(field.value));
      field.setAttribute("aria-label", label);
      const row = element("tr");
      row.append(element("th", label), element("td"));
      row.lastChild.append(field);
      return row;
    });
  const rowOf = ([name, output]) => {
    const row = element("tr");
    row.append(element("th", `${name} ${output.dims.join("×")}`), element("td", views.numbers(output)));
    return row;
  };
  return {
    draw(inputs, outputs) {
      entries.replaceChildren(...demo.about.inputs.flatMap(rowsOf));
      answers.replaceChildren(...Object.entries(outputs).map(rowOf));
      if (outputs.logits?.dims.length === 2) {
        const { index } = views.largest(outputs.logits.data);
        const row = element("tr");
        row.append(element("th", "class"), element("td", views.className(demo.about, index)));
        answers.prepend(row);
      }
    },
  };
}

const VIEWS = { points: pointsView, image: imageView, field: fieldView, numbers: numbersView };

function introduce(about) {
  document.title = `${about.name} on ${about.dataset}`;
  byId("name").textContent = document.title;
  const inputs = about.inputs.map((input) => `${input.name}: ${input.type} ${shapeText(input.shape)}`);
  byId("told").textContent = `${about.paper}. Takes ${inputs.join("; ")}; gives ${about.outputs.join(", ")}.`;
  for (const [key, value] of Object.entries(about.provenance)) {
    const row = element("tr");
    row.append(element("th", key), element("td", value));
    byId("provenance").append(row);
  }
}

async function start() {
  const model = await load({ engine: new URLSearchParams(location.search).get("engine") ?? "wasm" });
  introduce(model.about);
  const demo = new Demo(model);
  model.about.examples.forEach((example, i) => {
    const button = element("button", `Example ${i + 1}`);
    button.onclick = () => demo.show(example.inputs, example.outputs);
    byId("examples").append(button);
  });
  const [first] = model.about.examples;
  await demo.show(first.inputs, first.outputs);
}

start().then(
  () => (document.documentElement.dataset.state = "ready"),
  (error) => {
    say(`The model cannot be shown: ${error.message}`, false);
    document.documentElement.dataset.state = "failed";
  },
);
