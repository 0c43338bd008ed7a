/** Drawings of inputs and answers on a canvas, for pages and for panels in a scene. */

export const COLOURS = {
  ground: "#10151d",
  grid: "#263142",
  text: "#e8edf4",
  faint: "#8b98a9",
  point: "#ffd166",
  answer: "#4cc9f0",
  wrong: "#ff6b6b",
};

/** The largest of the numbers, and where. */
export function largest(values) {
  const numbers = Array.from(values, Number);
  const index = numbers.indexOf(Math.max(...numbers));
  return { index, value: numbers[index] };
}

/** Shares that add up to one. */
export function softmax(values) {
  const numbers = Array.from(values, Number);
  const top = Math.max(...numbers);
  const powers = numbers.map((value) => Math.exp(value - top));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

/** The name of a class: the data set's, else its number. */
export function className(about, index) {
  return String(about.classes?.[index] ?? index);
}

/** The points of an answer in their order, without the end marks: 1-based positions to indices. */
export function sequenceOf(outputs) {
  const found = [];
  for (const position of outputs.sequence.data) {
    if (Number(position) === 0) break;
    found.push(Number(position) - 1);
  }
  return found;
}

/** The lines of an answer as pairs of point indices: a closed polygon, triangles or a path. */
export function edgesOf(problem, order) {
  const edges = [];
  if (problem === "delaunay") {
    for (let i = 0; i + 2 < order.length; i += 3) {
      edges.push([order[i], order[i + 1]], [order[i + 1], order[i + 2]], [order[i + 2], order[i]]);
    }
    return edges;
  }
  for (let i = 0; i + 1 < order.length; i++) edges.push([order[i], order[i + 1]]);
  if (problem !== "sort" && order.length > 2 && order[0] !== order.at(-1)) edges.push([order.at(-1), order[0]]);
  return edges;
}

/** Coordinates of the points of an input as pairs in the unit square; one-dimensional ones on a line. */
export function pointsOf(input) {
  const [, count, dimensions] = input.dims;
  return Array.from({ length: count }, (_, i) => [
    Number(input.data[i * dimensions]),
    dimensions > 1 ? Number(input.data[i * dimensions + 1]) : 0.5,
  ]);
}

/** A surface to draw on. */
export class Surface {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
  }

  clear() {
    this.pen.fillStyle = COLOURS.ground;
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** A line of text, in smaller letters if it would be wider than `width`. */
  text(text, x, y, { size = 16, colour = COLOURS.text, align = "left", width = Infinity } = {}) {
    this.pen.font = `${size}px system-ui, sans-serif`;
    const shrink = Math.min(1, width / this.pen.measureText(text).width);
    if (shrink < 1) this.pen.font = `${size * shrink}px system-ui, sans-serif`;
    this.pen.fillStyle = colour;
    this.pen.textAlign = align;
    this.pen.textBaseline = "middle";
    this.pen.fillText(text, x, y);
  }

  /** Points in the unit square with the lines of an answer. */
  points(points, edges, { x, y, size }) {
    const pen = this.pen;
    const margin = size * 0.05;
    const place = ([u, v]) => [x + margin + u * (size - 2 * margin), y + size - margin - v * (size - 2 * margin)];
    pen.strokeStyle = COLOURS.grid;
    pen.lineWidth = 1;
    for (let i = 0; i <= 4; i++) {
      const at = margin + (i / 4) * (size - 2 * margin);
      pen.strokeRect(x + at, y + margin, 0, size - 2 * margin);
      pen.strokeRect(x + margin, y + at, size - 2 * margin, 0);
    }
    pen.strokeStyle = COLOURS.answer;
    pen.lineWidth = Math.max(2, size / 160);
    pen.lineJoin = pen.lineCap = "round";
    for (const [from, to] of edges) {
      pen.beginPath();
      pen.moveTo(...place(points[from]));
      pen.lineTo(...place(points[to]));
      pen.stroke();
    }
    points.forEach((point, i) => {
      const [left, top] = place(point);
      pen.fillStyle = COLOURS.point;
      pen.beginPath();
      pen.arc(left, top, Math.max(4, size / 80), 0, 7);
      pen.fill();
      this.text(String(i + 1), left + size / 40, top - size / 40, { size: size / 28, colour: COLOURS.faint });
    });
  }

  /** One picture of (1, channels, height, width), grey or RGB, from its least to its largest value. */
  picture({ dims, data }, { x, y, size }, palette = grey) {
    const [, channels, height, width] = dims;
    const values = Array.from(data, Number);
    const low = Math.min(...values);
    const range = Math.max(...values) - low || 1;
    const side = size / Math.max(height, width);
    const at = (channel, row, column) =>
      (values[(channel * height + row) * width + column] - low) / range;
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        this.pen.fillStyle =
          channels === 3
            ? `rgb(${[0, 1, 2].map((c) => Math.round(255 * at(c, row, column))).join(",")})`
            : palette(at(0, row, column));
        this.pen.fillRect(x + column * side, y + row * side, side + 0.5, side + 0.5);
      }
    }
  }

  /** Shares as labelled bars, the largest marked. */
  bars(shares, labels, { x, y, width, height }) {
    const pen = this.pen;
    const row = Math.min(height / shares.length, height / 5);
    const size = Math.min(row * 0.62, 22);
    const label = width * 0.22;
    const best = largest(shares).index;
    shares.forEach((share, i) => {
      const middle = y + (i + 0.5) * row;
      pen.fillStyle = COLOURS.grid;
      pen.fillRect(x + label, middle - row * 0.3, width - label, row * 0.6);
      pen.fillStyle = i === best ? COLOURS.answer : COLOURS.faint;
      pen.fillRect(x + label, middle - row * 0.3, (width - label) * share, row * 0.6);
      const colour = i === best ? COLOURS.text : COLOURS.faint;
      this.text(labels[i], x + label - size * 0.5, middle, { size, colour, align: "right", width: label });
    });
  }
}

export function grey(share) {
  const level = Math.round(255 * share);
  return `rgb(${level},${level},${level})`;
}

/** Dark blue over turquoise to yellow. */
export function heat(share) {
  const stops = [[38, 30, 90], [33, 113, 142], [60, 185, 120], [250, 225, 70]];
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const from = Math.min(Math.floor(place), stops.length - 2);
  const part = place - from;
  return `rgb(${stops[from].map((value, i) => Math.round(value + part * (stops[from + 1][i] - value))).join(",")})`;
}

/** The numbers of an output in a line, the first ones if there are many. */
export function numbers(output, most = 12) {
  const shown = Array.from(output.data).slice(0, most).map(readable);
  return shown.join("  ") + (output.data.length > most ? " …" : "");
}

/** A number with four digits after the point, or a whole one. */
export function readable(value) {
  if (typeof value === "bigint" || Number.isInteger(value)) return String(value);
  return Number(value).toFixed(4);
}

/** Whether an answer is the wanted one of an example: whole numbers equal, others nearly. */
export function agrees(outputs, wanted) {
  return Object.entries(wanted).every(([name, { data }]) =>
    data.every((value, i) => {
      const [one, two] = [Number(value), Number(outputs[name].data[i])];
      return Object.is(one, two) || Math.abs(one - two) <= 1e-4 + 1e-3 * Math.abs(one);
    }),
  );
}
