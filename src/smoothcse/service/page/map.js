// The map of the documents: points, colours, legend, and the selected document with its neighbours.

import { ask, latest } from "./api.js";
import { classesBy, readTheme } from "./colours.js";
import { byId, element, fill, offerModels, quoted, say } from "./dom.js";
import { Plane } from "./plane.js";
import { resultList, shown } from "./results.js";

const NEIGHBOURS = 8;

/** Create the view; return a function that shows it, given the names of the encoders that have an index. */
export function mapView() {
  const plane = new Plane(byId("map-canvas"), { hover, choose: (number) => choose(points[number]) });
  const load = latest((error) => say(byId("map-error"), error));
  const meet = latest((error) => say(byId("map-error"), error));
  const maps = new Map(); // by encoder, since computing a map takes the service several seconds
  let points = [];
  let places = new Map(); // document id -> number of its point
  let only = null; // the highlighted class; the others are faint
  let shownModel = null;

  const show = (model) => load(async (signal) => {
    byId("map-canvas").setAttribute("aria-busy", "true");
    if (!maps.has(model)) say(byId("map-status"), "Computing the map. The first time, this takes several seconds …");
    if (!maps.has(model)) maps.set(model, await ask(`map?model=${encodeURIComponent(model)}`, null, signal));
    const { points: found, fields, method } = maps.get(model);
    points = found;
    places = new Map(points.map((point, number) => [point.id, number]));
    shownModel = model;
    fill(byId("map-field"), [["", "one colour"], ...fields.map((field) => [field, `by ${field}`])]);
    if (!byId("map-field").value && fields.length && maps.size === 1) byId("map-field").value = bestField(fields);
    byId("map-field").closest("label").hidden = !fields.length;
    plane.show(points);
    recolour();
    byId("map-chosen").replaceChildren();
    byId("map-canvas").setAttribute("aria-label", `Map of ${points.length} documents`);
    byId("map-canvas").removeAttribute("aria-busy");
    say(byId("map-status"), `${points.length.toLocaleString("en-GB")} documents, laid out by ${method}.`);
  });

  /** Return the field with the fewest values, but at least two: it is the easiest to read as colours. */
  const bestField = (fields) => {
    const counts = fields.map((field) => [new Set(points.map((point) => shown(point.metadata[field]))).size, field]);
    return counts.filter(([count]) => count > 1).sort((a, b) => a[0] - b[0])[0]?.[1] ?? "";
  };

  const recolour = () => {
    only = null;
    paint();
  };

  const paint = () => {
    const theme = readTheme();
    const { of, classes } = classesBy(points, byId("map-field").value);
    const members = classes.map(() => []);
    of.forEach((place, number) => members[place].push(number));
    const layers = classes.map((each, place) => ({ colour: each.paint(theme), members: members[place], faint: only !== null && only !== place }));
    plane.paint(layers.reverse().sort((a, b) => b.faint - a.faint), theme); // draw the most frequent class last
    byId("map-legend").replaceChildren(...(classes.length > 1 ? classes.map((each, place) => legendEntry(each, place, theme)) : []));
  };

  const legendEntry = (each, place, theme) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = each.paint(theme);
    const toggle = () => { only = only === place ? null : place; paint(); byId("map-legend").children[place].firstChild.focus(); };
    const button = element("button", { type: "button", onclick: toggle, title: "Highlight these documents" }, swatch, each.name, element("span", { className: "number" }, each.count.toLocaleString("en-GB")));
    button.setAttribute("aria-pressed", String(only === place));
    return element("li", {}, button);
  };

  const choose = (chosen) => meet(async (signal) => {
    plane.mark(places.get(chosen.id) ?? -1, []);
    const query = new URLSearchParams({ id: chosen.id, k: NEIGHBOURS, model: shownModel });
    const { results } = await ask(`neighbours?${query}`, null, signal);
    plane.mark(places.get(chosen.id) ?? -1, results.map((hit) => places.get(hit.id)).filter((number) => number !== undefined));
    const fields = Object.entries(chosen.metadata).map(([field, value]) => element("span", { className: "field" }, `${field}: ${shown(value)}`));
    byId("map-chosen").replaceChildren(quoted(chosen.text, "h3"), element("p", {}, ...fields), element("p", { className: "note" }, "Nearest neighbours"), resultList(results, { choose }));
  });

  function hover(number, x, y) {
    const tip = byId("map-tip");
    tip.hidden = number < 0;
    byId("map-canvas").classList.toggle("over", number >= 0);
    if (number < 0) return;
    tip.replaceChildren(quoted(points[number].text));
    const frame = byId("map-frame");
    tip.style.left = `${Math.max(4, Math.min(x + 12, frame.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + tip.offsetHeight + 24 > frame.clientHeight ? y - tip.offsetHeight - 12 : y + 14}px`;
  }

  byId("map-model").addEventListener("change", () => show(byId("map-model").value));
  byId("map-field").addEventListener("change", recolour);
  byId("map-form").addEventListener("submit", (event) => event.preventDefault());
  byId("map-in").addEventListener("click", () => plane.zoomIn());
  byId("map-out").addEventListener("click", () => plane.zoomOut());
  byId("map-fit").addEventListener("click", () => plane.fit());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  return (names) => {
    offerModels(byId("map-model"), names, false);
    if (byId("map-model").value !== shownModel) show(byId("map-model").value);
  };
}
