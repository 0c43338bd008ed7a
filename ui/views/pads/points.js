// A square to put points in. Coordinates are shares of the side, (0, 0) at the bottom left.
const SIDE = 400, EDGE = 16, NEAR = 12, STEP = 0.02;
const NS = "http://www.w3.org/2000/svg";

function make(name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const across = (x) => EDGE + x * (SIDE - 2 * EDGE);
const up = (y) => SIDE - EDGE - y * (SIDE - 2 * EDGE);
const within = (share) => Math.min(1, Math.max(0, Math.round(share * 1000) / 1000));

export default function ({ parentElement, data, setStateValue }) {
  const root = parentElement.querySelector(".pad");
  let svg = root.querySelector("svg");
  if (!svg) {
    svg = make("svg", {
      viewBox: `0 0 ${SIDE} ${SIDE}`, tabindex: 0, role: "application",
      "aria-label": "Square for points. Click to add, drag to move, click a point to remove it. " +
        "With the keyboard: arrow keys move the cross, Enter adds or removes a point.",
    });
    root.replaceChildren(svg);
    svg.cross = [0.5, 0.5];
  }
  let points = data.points.map((point) => [...point]);
  let lines = data.lines;

  function draw() {
    svg.replaceChildren();
    for (const line of lines) {
      const path = line.points.filter((i) => i < points.length)
        .map((i) => `${across(points[i][0])},${up(points[i][1])}`).join(" ");
      svg.append(make("polyline", { points: path, class: line.dashed ? "dashed" : "line" }));
    }
    points.forEach(([x, y], i) => {
      svg.append(make("circle", { cx: across(x), cy: up(y), r: 6, class: "point" }));
      svg.append(make("text", { x: across(x) + 9, y: up(y) - 7, class: "name" }, i + 1));
    });
    if (svg.matches(":focus-visible")) {
      const [x, y] = [across(svg.cross[0]), up(svg.cross[1])];
      svg.append(make("path", { d: `M${x - 8} ${y}H${x + 8}M${x} ${y - 8}V${y + 8}`, class: "cursor" }));
    }
  }

  function place(event) {
    const box = svg.getBoundingClientRect();
    const scale = SIDE / box.width;
    const inside = SIDE - 2 * EDGE;
    return [within(((event.clientX - box.left) * scale - EDGE) / inside),
      within(1 - ((event.clientY - box.top) * scale - EDGE) / inside)];
  }

  const near = ([x, y]) => points.findIndex(([a, b]) =>
    Math.hypot(across(a) - across(x), up(b) - up(y)) < NEAR);
  const send = () => setStateValue("points", points);

  function toggle(where) {
    const found = near(where);
    if (found < 0) points.push(where); else points.splice(found, 1);
    lines = [];
    draw();
    send();
  }

  let held = -1, moved = false;
  svg.onpointerdown = (event) => {
    held = near(place(event));
    moved = false;
    svg.setPointerCapture(event.pointerId);
  };
  svg.onpointermove = (event) => {
    if (held < 0) return;
    const where = place(event);
    if (!moved && Math.hypot(across(where[0]) - across(points[held][0]), up(where[1]) - up(points[held][1])) < 4) return;
    moved = true;
    points[held] = where;
    draw();
  };
  svg.onpointerup = (event) => {
    if (moved) send(); else toggle(place(event));
    held = -1;
  };
  svg.onkeydown = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key in moves) {
      const step = event.shiftKey ? 5 * STEP : STEP;
      svg.cross = svg.cross.map((share, axis) => within(share + step * moves[event.key][axis]));
      draw();
    } else if (event.key === "Enter" || event.key === " ") {
      toggle([...svg.cross]);
    } else return;
    event.preventDefault();
  };
  svg.onfocus = svg.onblur = draw;
  draw();
}
