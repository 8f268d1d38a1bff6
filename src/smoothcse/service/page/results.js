// Lists of documents with their scores.

import { element, quoted } from "./dom.js";

/**
 * Return a list of hits.
 *
 * @param hits as the service returns them
 * @param extra for each hit: `mark(hit, rank)` a badge or null, `choose(hit)` to make its text a button,
 *   `filter(field, value)` to make its metadata buttons
 */
export function resultList(hits, { mark, choose, filter } = {}) {
  const items = hits.map((hit, rank) =>
    element(
      "li",
      {},
      element("span", { className: "score" }, scoreBar(hit.score), hit.score.toFixed(3)),
      element(
        "div",
        {},
        choose ? element("button", { type: "button", className: "plain", dir: "auto", onclick: () => choose(hit) }, hit.text) : quoted(hit.text, "p"),
        mark ? mark(hit, rank) : null,
        ...metadata(hit.metadata, filter),
      ),
    ),
  );
  return element("ol", { className: "results" }, ...items);
}

function scoreBar(score) {
  const bar = element("span", { className: "bar" });
  bar.style.setProperty("--share", Math.max(0, Math.min(1, score)));
  return bar;
}

function metadata(fields, filter) {
  return Object.entries(fields ?? {}).map(([field, value]) => {
    const text = `${field}: ${shown(value)}`;
    if (!filter) return element("span", { className: "field" }, text);
    return element("button", { type: "button", className: "field", title: "Search only these", onclick: () => filter(field, value) }, text);
  });
}

/** Return a value of the metadata as text. */
export function shown(value) {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
