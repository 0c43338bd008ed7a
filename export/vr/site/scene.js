/**
 * A room in which a model shows its answers, on a screen or in a headset.
 *
 * A controller's trigger adds a point where its ray meets the board, else shows the next example.
 */

import * as THREE from "three";
import { load } from "./model.js";
import { makeView, panel } from "./displays.js";
import { agrees, COLOURS } from "./views.js";

/** What the room shows: for tests, and for pages that embed it. */
export const shown = { example: -1, outputs: null, agrees: null, session: "none", frames: 0, views: 0, head: [0, 0, 0] };

const CENTRE = new THREE.Vector3(0, 1.4, -1.7);
const status = document.getElementById("status");
const enter = document.getElementById("enter");

class Room {
  constructor(model) {
    this.model = model;
    this.about = model.about;
    this.renderer = new THREE.WebGLRenderer({ antialias: true });
    this.renderer.setPixelRatio(window.devicePixelRatio);
    this.renderer.xr.enabled = true;
    document.body.prepend(this.renderer.domElement);
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(60, 1, 0.05, 50);
    this.camera.position.set(0, 1.55, 0.35);
    this.camera.lookAt(CENTRE.x, CENTRE.y - 0.03, CENTRE.z);
    this.furnish();
    this.title = panel(1.6, 0.3, 1024, 192);
    this.title.mesh.position.set(0, 2.32, -1.7);
    this.view = makeView(this.about);
    this.view.group.position.copy(CENTRE);
    this.scene.add(this.title.mesh, this.view.group);
    this.controllers = [0, 1].map((index) => this.controller(index));
    window.addEventListener("resize", () => this.fit());
    this.fit();
    this.renderer.setAnimationLoop(() => this.frame());
  }

  furnish() {
    this.scene.background = new THREE.Color(COLOURS.ground);
    this.scene.fog = new THREE.Fog(COLOURS.ground, 4, 14);
    const sun = new THREE.DirectionalLight(0xffffff, 1.6);
    sun.position.set(1.5, 4, 2);
    const floor = new THREE.Mesh(
      // in tiles: triangles that reach behind the viewer are drawn wrongly by some software renderers
      new THREE.PlaneGeometry(24, 24, 48, 48).rotateX(-Math.PI / 2),
      new THREE.MeshStandardMaterial({ map: this.tiles(), roughness: 0.9 }),
    );
    this.scene.add(new THREE.HemisphereLight(0xbfd9ff, 0x1a2230, 1.5), sun, floor);
  }

  /** Half a metre of floor, repeated. */
  tiles() {
    const canvas = Object.assign(document.createElement("canvas"), { width: 128, height: 128 });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#18202c";
    pen.fillRect(0, 0, 128, 128);
    pen.strokeStyle = "#3b5876";
    pen.lineWidth = 3;
    pen.strokeRect(0, 0, 128, 128);
    const texture = new THREE.CanvasTexture(canvas);
    texture.colorSpace = THREE.SRGBColorSpace;
    texture.wrapS = texture.wrapT = THREE.RepeatWrapping;
    texture.repeat.set(48, 48);
    texture.anisotropy = this.renderer.capabilities.getMaxAnisotropy();
    return texture;
  }

  controller(index) {
    const found = this.renderer.xr.getController(index);
    const ray = new THREE.BufferGeometry().setFromPoints([new THREE.Vector3(), new THREE.Vector3(0, 0, -3)]);
    found.add(new THREE.Line(ray, new THREE.LineBasicMaterial({ color: COLOURS.answer, transparent: true, opacity: 0.6 })));
    found.addEventListener("select", () => this.selected(found).catch(failed));
    this.scene.add(found);
    return found;
  }

  /** The trigger: a place on the board changes the input, anything else shows the next example. */
  async selected(controller) {
    const ray = new THREE.Raycaster();
    ray.ray.origin.setFromMatrixPosition(controller.matrixWorld);
    ray.ray.direction.set(0, 0, -1).transformDirection(controller.matrixWorld);
    const inputs = this.view.picked?.(ray, this.inputs);
    await (inputs ? this.answer(inputs) : this.next());
  }

  async next() {
    shown.example = (shown.example + 1) % this.about.examples.length;
    const { inputs, outputs } = this.about.examples[shown.example];
    await this.answer(inputs, outputs);
  }

  async answer(inputs, wanted) {
    this.inputs = inputs;
    const started = performance.now();
    const outputs = await this.model.run(inputs);
    const took = performance.now() - started;
    if (this.inputs !== inputs) return; // changed meanwhile
    this.view.draw(inputs, outputs);
    shown.outputs = outputs;
    shown.agrees = wanted ? agrees(outputs, wanted) : null;
    const verdict = wanted ? (shown.agrees ? ", equal to PyTorch" : ", differs from PyTorch") : "";
    this.say(`Answered in ${took.toFixed(1)} ms${verdict}`);
  }

  say(text) {
    const { surface, texture } = this.title;
    surface.clear();
    surface.text(`${this.about.name} on ${this.about.dataset}`, 512, 62, { size: 50, align: "center", width: 1000 });
    surface.text(text, 512, 138, { size: 36, align: "center", width: 1000, colour: shown.agrees === false ? COLOURS.wrong : COLOURS.faint });
    texture.needsUpdate = true;
    status.textContent = text;
  }

  fit() {
    this.camera.aspect = window.innerWidth / window.innerHeight;
    this.camera.updateProjectionMatrix();
    this.renderer.setSize(window.innerWidth, window.innerHeight);
  }

  frame() {
    this.renderer.render(this.scene, this.camera);
    const { xr } = this.renderer;
    if (xr.isPresenting) {
      shown.frames += 1;
      shown.views = xr.getCamera().cameras.length;
      shown.head = xr.getCamera().position.toArray();
    }
  }

  async enter() {
    const session = await navigator.xr.requestSession("immersive-vr", { optionalFeatures: ["local-floor"] });
    session.addEventListener("end", () => (shown.session = "ended"));
    await this.renderer.xr.setSession(session);
    shown.session = "running";
  }
}

function failed(error) {
  status.textContent = `The model cannot be shown: ${error.message}`;
  document.documentElement.dataset.state = "failed";
}

async function start() {
  const model = await load();
  document.title = `${model.about.name} on ${model.about.dataset}`;
  const room = new Room(model);
  await room.next();
  document.getElementById("next").onclick = () => room.next().catch(failed);
  enter.onclick = () => room.enter().catch(failed);
  const able = await navigator.xr?.isSessionSupported("immersive-vr");
  enter.disabled = !able;
  if (!able) enter.textContent = "No headset found";
  document.documentElement.dataset.state = "ready";
}

start().catch(failed);
