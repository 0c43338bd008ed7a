/** How a room shows inputs and answers: points on a board, pictures, height fields, numbers. */

import * as THREE from "three";
import * as views from "./views.js";

/** A flat canvas in the room, of `width` × `height` metres. */
export function panel(width, height, columns, rows) {
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const texture = new THREE.CanvasTexture(canvas);
  texture.colorSpace = THREE.SRGBColorSpace;
  const material = new THREE.MeshBasicMaterial({ map: texture, toneMapped: false });
  const mesh = new THREE.Mesh(new THREE.PlaneGeometry(width, height), material);
  return { mesh, texture, surface: new views.Surface(canvas) };
}

/** The view that a model's model.json asks for: a group to place, and `draw(inputs, outputs)`. */
export function makeView(about) {
  return { points: pointsView, image: imageView, field: fieldView, numbers: numbersView }[about.view](about);
}

const BOARD = 1.3; // metres

function pointsView(about) {
  const group = new THREE.Group();
  const glass = new THREE.MeshStandardMaterial({ color: 0x223249, roughness: 0.4, metalness: 0.1 });
  const board = new THREE.Mesh(new THREE.BoxGeometry(BOARD * 1.12, BOARD * 1.12, 0.03), glass);
  board.position.z = -0.05;
  const lines = new THREE.GridHelper(BOARD, 10, 0x35506c, 0x263a50).rotateX(Math.PI / 2);
  lines.position.z = -0.03;
  const drawn = new THREE.Group();
  group.add(board, lines, drawn);
  const dot = new THREE.SphereGeometry(0.028, 24, 16);
  const yellow = new THREE.MeshStandardMaterial({ color: views.COLOURS.point, emissive: 0xb08020, roughness: 0.35 });
  const blue = new THREE.MeshStandardMaterial({ color: views.COLOURS.answer, emissive: 0x1f7fa8, roughness: 0.4 });
  const place = ([u, v]) => new THREE.Vector3((u - 0.5) * BOARD, (v - 0.5) * BOARD, 0);
  const shape = about.inputs[0].shape;
  const [axis, dimensions] = [shape[1], shape[2]];
  return {
    group,
    draw(inputs, outputs) {
      for (const child of drawn.children) if (child.geometry !== dot) child.geometry.dispose();
      drawn.clear();
      const places = views.pointsOf(inputs.points).map(place);
      for (const at of places) {
        const ball = new THREE.Mesh(dot, yellow);
        ball.position.copy(at);
        drawn.add(ball);
      }
      for (const [from, to] of views.edgesOf(about.problem, views.sequenceOf(outputs))) {
        if (from !== to) drawn.add(tube(places[from], places[to], blue));
      }
    },
    picked(ray, inputs) {
      const hit = ray.intersectObject(board)[0];
      const points = views.pointsOf(inputs.points);
      if (!hit || points.length >= (axis.high ?? axis)) return null;
      const at = group.worldToLocal(hit.point.clone());
      const inside = (value) => Math.min(Math.max(value / BOARD + 0.5, 0), 1);
      const data = [...points, [inside(at.x), inside(at.y)]].flatMap((point) => point.slice(0, dimensions));
      return { points: { dims: [1, points.length + 1, dimensions], data } };
    },
  };
}

function tube(from, to, material) {
  const path = new THREE.LineCurve3(from, to);
  return new THREE.Mesh(new THREE.TubeGeometry(path, 1, 0.009, 12), material);
}

function imageView(about) {
  const group = new THREE.Group();
  const picture = panel(0.9, 0.9, 512, 512);
  const bars = panel(0.9, 0.9, 512, 512);
  picture.texture.magFilter = THREE.NearestFilter;
  picture.mesh.position.x = -0.5;
  bars.mesh.position.x = 0.5;
  picture.mesh.rotation.y = 0.15;
  bars.mesh.rotation.y = -0.15;
  group.add(picture.mesh, bars.mesh);
  return {
    group,
    draw(inputs, outputs) {
      picture.surface.clear();
      picture.surface.picture(inputs[about.inputs[0].name], { x: 16, y: 16, size: 480 });
      const shares = views.softmax(outputs.logits.data);
      const labels = shares.map((_, i) => views.className(about, i));
      bars.surface.clear();
      bars.surface.bars(shares, labels, { x: 16, y: 16, width: 480, height: 480 });
      picture.texture.needsUpdate = bars.texture.needsUpdate = true;
    },
  };
}

function fieldView(about) {
  const group = new THREE.Group();
  const given = panel(0.7, 0.7, 512, 512);
  given.mesh.position.set(-0.65, 0.1, 0.1);
  given.mesh.rotation.y = 0.35;
  const relief = new THREE.Mesh(
    new THREE.BufferGeometry(),
    new THREE.MeshStandardMaterial({ vertexColors: true, side: THREE.DoubleSide, roughness: 0.6 }),
  );
  relief.position.set(0.35, -0.2, 0.1);
  relief.rotation.set(0.42, -0.5, 0, "XYZ");
  group.add(given.mesh, relief);
  return {
    group,
    draw(inputs, outputs) {
      given.surface.clear();
      given.surface.picture(inputs[about.inputs[0].name], { x: 16, y: 16, size: 480 }, views.heat);
      given.texture.needsUpdate = true;
      relief.geometry.dispose();
      relief.geometry = heightField(outputs.value);
    },
  };
}

/** The first channel of a field (1, channels, height, width) as a coloured surface of one metre. */
function heightField({ dims, data }) {
  const [, , rows, columns] = dims;
  const values = Array.from(data.slice(0, rows * columns), Number);
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const geometry = new THREE.PlaneGeometry(1, rows / columns, columns - 1, rows - 1).rotateX(-Math.PI / 2);
  const colours = new Float32Array(3 * values.length);
  const colour = new THREE.Color();
  values.forEach((value, i) => {
    const share = (value - low) / range;
    geometry.attributes.position.setY(i, 0.35 * share);
    colour.set(views.heat(share)).toArray(colours, 3 * i);
  });
  geometry.setAttribute("color", new THREE.BufferAttribute(colours, 3));
  geometry.computeVertexNormals();
  return geometry;
}

const LINE = 34; // pixels
const LINES = 22;

function numbersView(about) {
  const group = new THREE.Group();
  const board = panel(1.7, 1.3, 1024, 784);
  group.add(board.mesh);
  return {
    group,
    draw(inputs, outputs) {
      const lines = [];
      for (const [title, tensors] of [["Inputs", inputs], ["Outputs", outputs]]) {
        lines.push([title, views.COLOURS.answer]);
        for (const [name, tensor] of Object.entries(tensors)) {
          lines.push([`${name}  ${tensor.dims.join("×")}`, views.COLOURS.faint], [views.numbers(tensor, 8), views.COLOURS.text]);
        }
      }
      if (outputs.logits?.dims.length === 2) {
        const { index } = views.largest(outputs.logits.data);
        lines.push([`class: ${views.className(about, index)}`, views.COLOURS.point]);
      }
      board.surface.clear();
      lines.slice(0, LINES).forEach(([text, colour], i) => board.surface.text(text, 30, 36 + i * LINE, { size: 26, colour, width: 960 }));
      board.texture.needsUpdate = true;
    },
  };
}
