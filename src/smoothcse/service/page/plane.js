// A plane of points on a canvas, with zoom, drag, pinch, hover and keys. It is independent of documents.

import { paintCross, paintLabels, paintPin } from "./ink.js";

const MOST_ZOOM = 60;
const STEP = 1.35; // zoom factor of a key or a button
const REACH = 14; // largest distance in pixels between the pointer and a point that it selects

export class Plane {
  /**
   * @param canvas Canvas element to draw on.
   * @param actions Callbacks: `hover(number or -1, x, y)` and `choose(number)`, with the number of a point.
   */
  constructor(canvas, { hover, choose }) {
    Object.assign(this, { canvas, hover, choose, points: [], layers: [], labels: [], marks: [], pin: null, chosen: -1, hovered: -1 });
    this.view = { x: 0, y: 0, zoom: 1 };
    this.pointers = new Map();
    this.travelled = 0;
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Replace the points, `{x, y}` in [-1, 1], and the labels, `{name, x, y}`, the most important first; show all of them. */
  show(points, labels) {
    Object.assign(this, { points, labels, marks: [], pin: null, chosen: -1, hovered: -1 });
    this.fit();
  }

  /** Draw layers, each `{colour, members, faint}`, from bottom to top, in the colours of a theme. */
  paint(layers, theme) {
    Object.assign(this, { layers, theme });
    this.draw();
  }

  /** Mark a selected point and its neighbours; centre the selected point if it is out of view. */
  mark(chosen, marks) {
    Object.assign(this, { chosen, marks });
    if (chosen >= 0 && !this.#sees(this.points[chosen])) this.view = { ...this.view, x: this.points[chosen].x, y: this.points[chosen].y };
    this.draw();
  }

  /** Pin a place `{x, y, near}`, with lines to the points numbered in `near`, and show it; null removes the pin. */
  pinAt(pin) {
    this.pin = pin;
    if (pin && !this.#sees(pin)) this.view = { ...this.view, x: pin.x, y: pin.y };
    this.draw();
  }

  /** Show the surroundings of a place. */
  look({ x, y }, zoom) {
    this.view = { x, y, zoom };
    this.draw();
  }

  fit() {
    this.view = { x: 0, y: 0, zoom: 1 };
    this.draw();
  }

  zoomIn() { this.#zoomAt(STEP, ...this.#middle()); }

  zoomOut() { this.#zoomAt(1 / STEP, ...this.#middle()); }

  /** Schedule a drawing for the next frame; several calls before it cause one drawing. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.#paint(); });
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !this.theme) return;
    const density = window.devicePixelRatio || 1;
    const size = [Math.round(width * density), Math.round(height * density)];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
    const context = this.canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    const radius = this.#radius();
    for (const { colour, members, faint } of this.layers) {
      context.fillStyle = colour;
      context.globalAlpha = faint ? 0.1 : 0.75;
      context.beginPath();
      for (const number of members) this.#disc(context, number, radius);
      context.fill();
    }
    context.globalAlpha = 1;
    paintLabels(context, this.labels.map(({ name, ...place }) => [name, ...this.#place(place)]), this.theme, [width, height]);
    this.#paintMarks(context, radius);
  }

  #paintMarks(context, radius) {
    context.lineWidth = 1.5;
    context.strokeStyle = this.theme.ink;
    if (this.chosen >= 0) {
      const [x, y] = this.#place(this.points[this.chosen]);
      context.globalAlpha = 0.45;
      context.beginPath();
      for (const number of this.marks) { context.moveTo(x, y); context.lineTo(...this.#place(this.points[number])); }
      context.stroke();
      context.globalAlpha = 1;
    }
    for (const number of this.marks) this.#ring(context, number, radius + 2.5);
    context.lineWidth = 2.5;
    if (this.chosen >= 0) this.#ring(context, this.chosen, radius + 4.5);
    if (this.hovered >= 0) this.#ring(context, this.hovered, radius + 3);
    if (this.pin) paintPin(context, this.#place(this.pin), this.pin.near.map((number) => this.#place(this.points[number])), this.theme);
    if (this.keyed) paintCross(context, ...this.#middle());
  }

  #disc(context, number, radius) {
    const [x, y] = this.#place(this.points[number]);
    if (x < -9 || y < -9 || x > this.canvas.clientWidth + 9 || y > this.canvas.clientHeight + 9) return;
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }

  #ring(context, number, radius) {
    context.beginPath();
    context.arc(...this.#place(this.points[number]), radius, 0, 2 * Math.PI);
    context.stroke();
  }

  #radius() {
    const crowd = this.points.length > 1500 ? 2 : this.points.length > 300 ? 3 : 4.5;
    return crowd * Math.min(2.2, this.view.zoom ** 0.4);
  }

  #middle() { return [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]; }

  /** Return pixels per unit on each axis. The axes have no common scale, so the map fills the canvas. */
  #scale() {
    const margin = 18;
    const [halfWidth, halfHeight] = this.#middle();
    const long = 1.7; // largest ratio of the axes
    const width = Math.max(1, Math.min(halfWidth, long * halfHeight) - margin);
    const height = Math.max(1, Math.min(halfHeight, long * halfWidth) - margin);
    return [width * this.view.zoom, height * this.view.zoom];
  }

  #place(point) {
    const [halfWidth, halfHeight] = this.#middle();
    const [across, up] = this.#scale();
    return [halfWidth + (point.x - this.view.x) * across, halfHeight - (point.y - this.view.y) * up];
  }

  #sees(point) {
    const [x, y] = this.#place(point);
    return x > 0 && y > 0 && x < this.canvas.clientWidth && y < this.canvas.clientHeight;
  }

  /** Return the number of the point nearest to a pixel, or -1 if none is within reach. */
  nearest(x, y, reach = REACH) {
    let [best, least] = [-1, reach * reach];
    for (const { members, faint } of this.layers) {
      if (faint) continue;
      for (const number of members) {
        const [px, py] = this.#place(this.points[number]);
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [best, least] = [number, distance];
      }
    }
    return best;
  }

  /** Zoom around a pixel. */
  #zoomAt(factor, x, y) {
    const zoom = Math.min(MOST_ZOOM, Math.max(0.7, this.view.zoom * factor));
    const [halfWidth, halfHeight] = this.#middle();
    const [across, up] = this.#scale();
    const kept = 1 - this.view.zoom / zoom;
    this.view = {
      x: this.view.x + ((x - halfWidth) / across) * kept,
      y: this.view.y - ((y - halfHeight) / up) * kept,
      zoom,
    };
    this.draw();
  }

  #move(dx, dy) {
    const [across, up] = this.#scale();
    const within = (value) => Math.max(-1.2, Math.min(1.2, value));
    this.view = { ...this.view, x: within(this.view.x - dx / across), y: within(this.view.y + dy / up) };
    this.draw();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.#hoverAt(null));
    canvas.addEventListener("dblclick", (event) => this.#zoomAt(STEP * STEP, event.offsetX, event.offsetY));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.keyed = false; this.draw(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 20 : 1;
      this.#zoomAt(Math.exp(-event.deltaY * lines * 0.0016), event.offsetX, event.offsetY);
    }, { passive: false });
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (this.pointers.size === 1) this.travelled = 0;
    this.keyed = false;
  }

  #moved(event) {
    const before = this.pointers.get(event.pointerId);
    const now = [event.offsetX, event.offsetY];
    if (!before) return this.#hoverAt(event.pointerType === "touch" ? null : now);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    this.travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (!other) {
      if (this.travelled > 4) this.#move(now[0] - before[0], now[1] - before[1]);
      return undefined;
    }
    const spread = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    this.#zoomAt(spread(now) / spread(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    this.#move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    return undefined;
  }

  #up(event) {
    const click = this.pointers.size === 1 && this.travelled <= 4;
    this.pointers.delete(event.pointerId);
    const found = click ? this.nearest(event.offsetX, event.offsetY, event.pointerType === "touch" ? 2 * REACH : REACH) : -1;
    if (found >= 0) this.choose(found);
  }

  #hoverAt(place) {
    const found = place ? this.nearest(...place) : -1;
    if (found !== this.hovered) this.draw();
    this.hovered = found;
    this.hover(found, ...(found >= 0 ? this.#place(this.points[found]) : [0, 0]));
  }

  #key(event) {
    const step = 60;
    const keys = {
      ArrowLeft: () => this.#move(step, 0),
      ArrowRight: () => this.#move(-step, 0),
      ArrowUp: () => this.#move(0, step),
      ArrowDown: () => this.#move(0, -step),
      "+": () => this.zoomIn(),
      "=": () => this.zoomIn(),
      "-": () => this.zoomOut(),
      0: () => this.fit(),
      Enter: () => this.#chooseMiddle(),
      " ": () => this.#chooseMiddle(),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.keyed = true;
    keys[event.key]();
    this.draw();
  }

  #chooseMiddle() {
    const found = this.nearest(...this.#middle(), Infinity);
    if (found >= 0) this.choose(found);
  }
}
