// A grid of pixels to draw on. Values are shares of black, row by row.
const SIDE = 400, SOFT = 0.45;

export default function ({ parentElement, data, setStateValue }) {
  const root = parentElement.querySelector(".pad");
  const { rows, columns } = data;
  let canvas = root.querySelector("canvas");
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Grid of ${rows} by ${columns} pixels to draw on. ` +
      "With the keyboard: arrow keys move the cross, Space paints, Delete wipes a pixel.");
    canvas.at = [Math.floor(columns / 2), Math.floor(rows / 2)];
    root.replaceChildren(canvas);
  }
  const pixels = [...data.pixels];
  const [wide, high] = [SIDE / columns, SIDE / rows];
  const context = canvas.getContext("2d");

  function draw() {
    context.clearRect(0, 0, SIDE, SIDE);
    pixels.forEach((share, i) => {
      const grey = Math.round(255 * (1 - Math.min(1, Math.max(0, share))));
      context.fillStyle = `rgb(${grey},${grey},${grey})`;
      context.fillRect((i % columns) * wide, Math.floor(i / columns) * high, wide + 0.5, high + 0.5);
    });
    if (columns <= 16) {
      context.strokeStyle = "rgba(128,128,128,.25)";
      for (let i = 1; i < columns; i++) context.strokeRect(i * wide, -1, 0, SIDE + 2);
      for (let i = 1; i < rows; i++) context.strokeRect(-1, i * high, SIDE + 2, 0);
    }
    if (canvas.matches(":focus-visible")) {
      context.strokeStyle = "#0072B2";
      context.lineWidth = 3;
      context.strokeRect(canvas.at[0] * wide, canvas.at[1] * high, wide, high);
      context.lineWidth = 1;
    }
  }

  function paint(column, row, share) {
    if (column < 0 || row < 0 || column >= columns || row >= rows) return;
    const i = row * columns + column;
    pixels[i] = share === 0 ? 0 : Math.max(pixels[i], share);
  }

  function brush(event) {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * columns;
    const y = (event.clientY - box.top) / box.height * rows;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const wipe = event.buttons === 2 || event.shiftKey;
    paint(column, row, wipe ? 0 : 1);
    if (!wipe) {  // the neighbour that the pen leans to is half wet
      const [dx, dy] = [x - column - 0.5, y - row - 0.5];
      if (Math.abs(dx) > 0.2) paint(column + Math.sign(dx), row, SOFT);
      if (Math.abs(dy) > 0.2) paint(column, row + Math.sign(dy), SOFT);
    }
    draw();
  }

  const send = () => setStateValue("pixels", pixels);
  let drawing = false;
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.onpointerdown = (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    brush(event);
  };
  canvas.onpointermove = (event) => {
    if (drawing) for (const each of event.getCoalescedEvents?.() ?? [event]) brush(each);
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (drawing) send();
    drawing = false;
  };
  canvas.onkeydown = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      canvas.at = [Math.min(columns - 1, Math.max(0, canvas.at[0] + dx)),
        Math.min(rows - 1, Math.max(0, canvas.at[1] + dy))];
      draw();
    } else if (event.key === " " || event.key === "Enter" || event.key === "Delete") {
      paint(...canvas.at, event.key === "Delete" ? 0 : 1);
      draw();
      send();
    } else return;
    event.preventDefault();
  };
  canvas.onfocus = canvas.onblur = draw;
  draw();
}
