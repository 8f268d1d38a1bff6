// Lists of documents with their scores.

import { element, quoted } from "./dom.js";

/**
 * Return a list of hits.
 *
 * @param hits Hits as the service returns them.
 * @param options Optional callbacks: `mark(hit, rank)` returns a badge or null, `choose(hit)` turns the text into a button,
 *   `filter(field, value)` turns the metadata into buttons.
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
  const share = score >= 2 ? score - 2 : score; // reranked documents have scores from 2 to 3
  bar.style.setProperty("--share", Math.max(0, Math.min(1, share)));
  return bar;
}

function metadata(fields, filter) {
  return Object.entries(fields ?? {}).map(([field, value]) => {
    const text = `${field}: ${shown(value)}`;
    if (!filter) return element("span", { className: "field" }, text);
    return element("button", { type: "button", className: "field", title: "Search only these documents", onclick: () => filter(field, value) }, text);
  });
}

/** Return a metadata value as text. */
export function shown(value) {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
