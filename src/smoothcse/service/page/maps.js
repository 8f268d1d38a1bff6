// Maps of the documents as the service computes them, and where a query lies on one.

import { ask } from "./api.js";

const EVERY = 500; // milliseconds between questions about the progress
const NEAREST = 5; // documents on the map that place a query
const SAMPLED = 8; // documents of the map that a search should find, on average

const maps = new Map(); // by encoder, since the first computation takes the service several seconds

/** Return the map of an encoder's index; `progress` receives the computed share until it is there. */
export async function findMap(model, signal, progress) {
  if (maps.has(model)) return maps.get(model);
  const name = encodeURIComponent(model);
  let waiting = true; // an answer about the progress may come after the map
  const inquire = () => ask(`map/progress?model=${name}`, null, signal).then((found) => { if (waiting) progress(found.share); }, () => {});
  const timer = setInterval(inquire, EVERY);
  try {
    maps.set(model, await ask(`map?model=${name}`, null, signal));
  } finally {
    clearInterval(timer);
    waiting = false;
  }
  return maps.get(model);
}

/**
 * Return the place of a query, `{x, y, near}`: the median of the documents on the map that are most similar, whose numbers are
 * in `near`. It is null if none of the similar documents is on the map, which may show a sample.
 */
export async function placeOfQuery(query, model, map, numbers, signal) {
  const k = Math.min(1000, Math.max(NEAREST, Math.ceil((SAMPLED * map.documents) / map.points.length)));
  const { results } = await ask("search", { query, k, model, cosine_weight: 1, rerank: "none" }, signal);
  const near = results.map((hit) => numbers.get(hit.id)).filter((number) => number !== undefined).slice(0, NEAREST);
  if (!near.length) return null;
  const median = (axis) => near.map((number) => map.points[number][axis]).sort((a, b) => a - b)[Math.floor(near.length / 2)];
  return { x: median("x"), y: median("y"), near };
}
