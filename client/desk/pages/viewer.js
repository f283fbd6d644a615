// One image on a canvas: window and level, zoom, pan, fit, invert, mirror. What lies over it (regions, heatmap, letters) is
// drawn by painters on an overlay of the same size.

import {colours, statedTable, windowTable} from "./levels.js";

export class Viewer {
  // host: an element holding a canvas.image and a canvas.over. changed: called when view or window changed.
  constructor(host, changed = () => {}) {
    this.host = host;
    this.image = host.querySelector("canvas.image");
    this.over = host.querySelector("canvas.over");
    this.changed = changed;
    this.painters = [];
    this.frame = null;
    this.view = {zoom: 1, x: 0, y: 0};
    this.window = null;
    this.windowed = () => {};
    this.inverted = false;
    this.mirrored = false;
    this.towards = ""; // the side of its pane that a fitted image lies against
    this.fitted = true;
    // Whether values are to be sampled, whether the table is made, and whether what lies over the image changed as well.
    [this.stale, this.toned, this.above] = [true, false, true];
    this.asked = 0;
    new ResizeObserver(() => this.resize()).observe(host);
    this.resize();
  }

  // keep: view, window and mirror stay as they are, where the frame is of the same size as the one before.
  show(frame, {keep = false, mirrored = false} = {}) {
    const same = keep && this.frame && frame && this.frame.rows === frame.rows && this.frame.columns === frame.columns;
    this.frame = frame;
    if (!same) [this.window, this.fitted, this.mirrored] = [null, true, mirrored];
    this.level();
    if (same) this.look();
    else this.fit();
  }

  resize() {
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [this.host.clientWidth, this.host.clientHeight].map((side) => Math.max(1, side * ratio) | 0);
    if (this.image.width === width && this.image.height === height) return;
    for (const canvas of [this.image, this.over]) [canvas.width, canvas.height] = [width, height];
    this.context = this.image.getContext("2d", {alpha: false, willReadFrequently: true});
    this.sampled = new Uint32Array(width * height);
    this.pixels = new ImageData(width, height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    if (this.fitted) this.fit();
    else this.look();
  }

  // Another table is wanted: it is made when it is painted, however often it was changed until then.
  level() {
    this.toned = false;
    this.ask();
  }

  // The table in use: the file's own until the reader sets a window.
  tone() {
    const {center, width} = this.window ?? {};
    this.colours = colours(this.window
      ? windowTable(this.frame, center, width, this.inverted)
      : statedTable(this.frame, this.inverted));
    this.toned = true;
  }

  get stated() {
    return this.window ?? this.frame?.window;
  }

  setWindow(center, width) {
    if (!Number.isFinite(center) || !(width > 0)) return;
    this.window = {center, width};
    this.level();
    this.windowed();
  }

  resetWindow() {
    this.window = null;
    this.level();
    this.windowed();
  }

  invert() {
    this.inverted = !this.inverted;
    this.level();
    this.windowed();
  }

  mirror() {
    if (!this.frame) return;
    this.mirrored = !this.mirrored;
    this.view.x = this.frame.columns - this.image.width / this.view.zoom - this.view.x;
    this.look();
  }

  fit() {
    if (!this.frame) return this.draw();
    const {rows, columns} = this.frame;
    const zoom = Math.min(this.image.width / columns, this.image.height / rows);
    const share = {left: 0, right: 1}[this.towards] ?? 0.5;
    this.view = {zoom, x: (columns - this.image.width / zoom) * share, y: (rows - this.image.height / zoom) / 2};
    this.fitted = true;
    this.look();
  }

  // One screen pixel for each stored pixel, nothing interpolated.
  oneToOne() {
    if (!this.frame) return;
    const {rows, columns} = this.frame;
    this.zoomTo(1);
    this.view.x = columns < this.image.width ? Math.round((columns - this.image.width) / 2) : Math.round(this.view.x);
    this.view.y = rows < this.image.height ? Math.round((rows - this.image.height) / 2) : Math.round(this.view.y);
    this.look();
  }

  // Zoom about a point of the canvas (its middle when none is given).
  zoomTo(zoom, [i, j] = [this.image.width / 2, this.image.height / 2]) {
    const next = Math.min(32, Math.max(0.02, zoom));
    const {x, y, zoom: now} = this.view;
    this.view = {zoom: next, x: x + i / now - i / next, y: y + j / now - j / next};
    this.fitted = false;
    this.look();
  }

  pan(i, j) {
    this.view.x -= i / this.view.zoom;
    this.view.y -= j / this.view.zoom;
    if (this.view.zoom === 1) [this.view.x, this.view.y] = [Math.round(this.view.x), Math.round(this.view.y)];
    this.fitted = false;
    this.look();
  }

  // A point of the page in canvas pixels and in stored pixels.
  canvasPoint(event) {
    const box = this.over.getBoundingClientRect();
    const ratio = this.over.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  // view.x and view.y are of the image as it is shown; stored columns run the other way when it is mirrored.
  turned(x) {
    return this.mirrored && this.frame ? this.frame.columns - x : x;
  }

  stored([i, j]) {
    return [this.turned(this.view.x + i / this.view.zoom), this.view.y + j / this.view.zoom];
  }

  screen([x, y]) {
    return [(this.turned(x) - this.view.x) * this.view.zoom, (y - this.view.y) * this.view.zoom];
  }

  look() {
    this.stale = true;
    this.draw();
  }

  draw() {
    this.above = true;
    this.ask();
  }

  ask() {
    this.asked ||= requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.asked = 0;
    if (this.frame) {
      const {width, height} = this.image;
      if (this.stale) this.frame.raster.sample({width, height, mirrored: this.mirrored, ...this.view}, this.sampled);
      if (!this.toned) this.tone();
      this.stale = false;
      const [words, sampled, tones] = [this.words, this.sampled, this.colours];
      for (let at = 0; at < words.length; at++) words[at] = tones[sampled[at]];
      this.context.putImageData(this.pixels, 0, 0);
    } else {
      this.context.fillRect(0, 0, this.image.width, this.image.height);
    }
    const {view: {zoom, x, y}, mirrored, frame} = this;
    Object.assign(this.image.dataset, {zoom, x, y, mirrored, ready: Boolean(frame), shown: frame?.path ?? ""});
    if (this.above) this.paintOver();
    this.changed(this);
  }

  paintOver() {
    this.above = false;
    const over = this.over.getContext("2d");
    over.clearRect(0, 0, this.over.width, this.over.height);
    // Each tells whether it drew anything: a clear canvas over the image would be blended into every frame for nothing.
    const drawn = this.painters.map((painter) => painter(over, this));
    this.over.style.opacity = drawn.some(Boolean) ? "1" : "0";
  }
}

// Pointer gestures: drag for window and level, right or shifted drag to pan, wheel to zoom. `first` may take a drag for
// itself: it returns what is to be called with further points (and `true` at the end), or null. walked: may take the wheel.
export function gestures(viewer, first = () => null, walked = () => false) {
  const {over} = viewer;
  over.addEventListener("contextmenu", (event) => event.preventDefault());
  over.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (!walked(event)) viewer.zoomTo(viewer.view.zoom * 2 ** (-event.deltaY / 400), viewer.canvasPoint(event));
  }, {passive: false});
  over.addEventListener("pointerdown", (event) => {
    if (!viewer.frame || event.button > 2) return;
    event.preventDefault();
    over.setPointerCapture(event.pointerId);
    const start = viewer.canvasPoint(event);
    let last = start;
    const taken = event.button === 0 && !event.shiftKey ? first(start) : null;
    const began = {...viewer.stated};
    const speed = Math.max(1, began.width) / 400;
    const move = (one) => {
      const point = viewer.canvasPoint(one);
      if (taken) taken(point, false);
      else if (event.button !== 0 || event.shiftKey) viewer.pan(point[0] - last[0], point[1] - last[1]);
      else if (Math.hypot(point[0] - start[0], point[1] - start[1]) > 3) {
        const width = Math.max(began.width * 1e-3, began.width + (point[0] - start[0]) * speed);
        viewer.setWindow(began.center + (point[1] - start[1]) * speed, width);
      }
      last = point;
    };
    const end = (one) => {
      over.removeEventListener("pointermove", move);
      if (taken) taken(viewer.canvasPoint(one), true);
    };
    over.addEventListener("pointermove", move);
    over.addEventListener("pointerup", end, {once: true});
  });
}
