// The map of the documents: points, colours, legend, regions, and the selected document with its neighbours.

import { ask, debounced, latest } from "./api.js";
import { classesBy, readTheme } from "./colours.js";
import { byId, element, fill, offerModels, quoted, say } from "./dom.js";
import { findMap, placeOfQuery } from "./maps.js";
import { keepPlace } from "./place.js";
import { Plane } from "./plane.js";
import { resultList, shown } from "./results.js";
import { roving } from "./roving.js";

const NEIGHBOURS = 8;
const CLOSE = 3; // zoom that shows a region
const PLAIN = "~"; // one colour, in the URL
const NOTHING = { points: [], clusters: [], fields: [], documents: 0 };

/** Create the view; return a function that shows it, given the names of the encoders that have an index and the values of the URL. */
export function mapView() {
  const plane = new Plane(byId("map-canvas"), { hover, choose: (number) => choose(map.points[number]) });
  const complain = (error) => say(byId("map-error"), error);
  const [meet, find] = [latest(complain), latest(complain)];
  const load = latest((error) => {
    byId("map-canvas").removeAttribute("aria-busy");
    if (error) say(byId("map-status"), "");
    complain(error);
  });
  const [roveLegend, roveClusters] = [roving(byId("map-legend")), roving(byId("map-clusters"))];
  let map = NOTHING;
  let numbers = new Map(); // document id -> number of its point
  let only = null; // the highlighted class; the others are faint
  let shownModel = null;
  let selected = "";
  let several = false;

  const colour = () => byId("map-field").value || (map.fields.length ? PLAIN : "");
  const keep = (step) => keepPlace("map", { encoder: several ? shownModel : "", colour: colour(), q: byId("map-query").value.trim(), id: selected }, step);

  const show = (model, { colour: asked, id }) => load(async (signal) => {
    byId("map-canvas").setAttribute("aria-busy", "true");
    const found = await findMap(model, signal, progress).finally(() => { byId("map-progress").hidden = true; });
    meet(() => {}); // neighbours on the map before are of no use
    map = found;
    numbers = new Map(map.points.map((point, number) => [point.id, number]));
    shownModel = model;
    selected = "";
    fill(byId("map-field"), [["", "one colour"], ...map.fields.map((field) => [field, `by ${field}`])]);
    byId("map-field").value = [PLAIN, ...map.fields].includes(asked) ? (asked === PLAIN ? "" : asked) : bestField();
    byId("map-field").closest("label").hidden = !map.fields.length;
    plane.show(map.points, map.clusters);
    recolour();
    showClusters();
    byId("map-chosen").replaceChildren();
    byId("map-canvas").setAttribute("aria-label", `Map of ${map.points.length} documents`);
    say(byId("map-status"), summary(map));
    if (numbers.has(id)) choose(map.points[numbers.get(id)], false);
    else keep(false);
    locate(false);
  });

  const progress = (share) => {
    byId("map-progress").hidden = false;
    if (share) byId("map-progress").value = share;
    else byId("map-progress").removeAttribute("value"); // until the first iterations are done
    say(byId("map-status"), `Computing the map; this is needed once. ${Math.round(100 * share)}% done.`);
  };

  /** Return the field with the fewest values, but at least two: it is the easiest to read as colours. */
  const bestField = () => {
    const counts = map.fields.map((field) => [new Set(map.points.map((point) => shown(point.metadata[field]))).size, field]);
    return counts.filter(([count]) => count > 1).sort((a, b) => a[0] - b[0])[0]?.[1] ?? "";
  };

  const recolour = () => {
    only = null;
    paint();
  };

  const paint = () => {
    const theme = readTheme();
    const { of, classes } = classesBy(map.points, byId("map-field").value);
    const members = classes.map(() => []);
    of.forEach((place, number) => members[place].push(number));
    const layers = classes.map((each, place) => ({ colour: each.paint(theme), members: members[place], faint: only !== null && only !== place }));
    plane.paint(layers.reverse().sort((a, b) => b.faint - a.faint), theme); // draw the most frequent class last
    byId("map-legend").replaceChildren(...(classes.length > 1 ? classes.map((each, place) => legendEntry(each, place, theme)) : []));
    roveLegend();
  };

  const legendEntry = (each, place, theme) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = each.paint(theme);
    const toggle = () => { only = only === place ? null : place; paint(); byId("map-legend").children[place].firstChild.focus(); };
    const button = element("button", { type: "button", onclick: toggle, title: "Highlight these documents" }, swatch, each.name, element("span", { className: "number" }, each.count.toLocaleString("en-GB")));
    button.setAttribute("aria-pressed", String(only === place));
    return element("li", {}, button);
  };

  const showClusters = () => {
    const entries = map.clusters.map((cluster) => element("li", {}, element("button", { type: "button", title: "Show this region", dir: "auto", onclick: () => plane.look(cluster, CLOSE) }, cluster.name, element("span", { className: "number" }, cluster.documents.toLocaleString("en-GB")))));
    byId("map-clusters").replaceChildren(...entries);
    roveClusters();
  };

  const choose = (chosen, step = true) => meet(async (signal) => {
    const number = numbers.get(chosen.id) ?? -1;
    plane.mark(number, []);
    selected = chosen.id;
    keep(step);
    const query = new URLSearchParams({ id: chosen.id, k: NEIGHBOURS, model: shownModel });
    const { results } = await ask(`neighbours?${query}`, null, signal);
    plane.mark(number, results.map((hit) => numbers.get(hit.id)).filter((other) => other !== undefined));
    const inside = byId("map-chosen").contains(document.activeElement);
    const fields = Object.entries(chosen.metadata).map(([field, value]) => element("span", { className: "field" }, `${field}: ${shown(value)}`));
    byId("map-chosen").replaceChildren(quoted(chosen.text, "h3"), element("p", {}, ...fields), element("p", { className: "note" }, "Nearest neighbours"), resultList(results, { choose }));
    if (inside) byId("map-chosen").querySelector("button")?.focus();
  });

  /** Pin the query to the map. */
  const locate = (step = true) => map !== NOTHING && find(async (signal) => {
    const query = byId("map-query").value.trim();
    keep(step);
    const pin = query && map.points.length ? await placeOfQuery(query, shownModel, map, numbers, signal) : null;
    if (signal.aborted) return;
    plane.pinAt(pin);
    const found = pin ? "The diamond marks the query, among its nearest documents." : "No document on the map is similar to the query.";
    say(byId("map-status"), query ? `${summary(map)} ${found}` : summary(map));
  });

  function hover(number, x, y) {
    const tip = byId("map-tip");
    tip.hidden = number < 0;
    byId("map-canvas").classList.toggle("over", number >= 0);
    if (number < 0) return;
    tip.replaceChildren(quoted(map.points[number].text));
    const frame = byId("map-frame");
    tip.style.left = `${Math.max(4, Math.min(x + 12, frame.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + tip.offsetHeight + 24 > frame.clientHeight ? y - tip.offsetHeight - 12 : y + 14}px`;
  }

  byId("map-model").addEventListener("change", () => show(byId("map-model").value, { colour: colour() }));
  byId("map-field").addEventListener("change", () => { recolour(); keep(true); });
  byId("map-query").addEventListener("input", debounced(() => locate(false), 300));
  byId("map-form").addEventListener("submit", (event) => { event.preventDefault(); locate(); });
  byId("map-in").addEventListener("click", () => plane.zoomIn());
  byId("map-out").addEventListener("click", () => plane.zoomOut());
  byId("map-fit").addEventListener("click", () => plane.fit());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  return (names, values) => {
    several = names.length > 1;
    offerModels(byId("map-model"), names, false);
    const model = names.includes(values.encoder) ? values.encoder : names[0];
    byId("map-model").value = model;
    byId("map-query").value = values.q ?? "";
    const same = model === shownModel && (values.colour ?? "") === colour() && (values.id ?? "") === selected;
    if (same) {
      load(() => {}); // and no other map that is on its way
      locate(false);
    } else show(model, values);
  };
}

function summary({ points, documents, method }) {
  const count = (number) => number.toLocaleString("en-GB");
  if (documents <= points.length) return `${count(points.length)} documents, laid out by ${method}.`;
  return `A random sample of ${count(points.length)} of ${count(documents)} documents, laid out by ${method}.`;
}
