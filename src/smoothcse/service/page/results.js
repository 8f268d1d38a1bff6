// Lists of documents with their scores.

import { element } from "./dom.js";
import { folded } from "./folded.js";
import { roving } from "./roving.js";

const PLACE = ["title", "heading", "section", "file", "source", "url", "page"]; // fields that say where a passage comes from

/**
 * Return a list of hits; its buttons are one tab stop.
 *
 * @param hits Hits as the service returns them.
 * @param options Optional: `query`, around which long texts are folded; and the callbacks `mark(hit, rank)`, which returns a badge
 *   or null, `choose(hit)`, which turns the text into a button, and `filter(field, value)`, which turns the metadata into buttons.
 */
export function resultList(hits, { query, mark, choose, filter } = {}) {
  const items = hits.map((hit, rank) =>
    element(
      "li",
      {},
      element("span", { className: "score" }, scoreBar(hit.score), hit.score.toFixed(3)),
      element(
        "div",
        {},
        placeOf(hit.metadata, filter),
        ...(choose ? [element("button", { type: "button", className: "plain", dir: "auto", onclick: () => choose(hit) }, hit.text)] : folded(hit.text, query)),
        mark ? mark(hit, rank) : null,
        ...metadata(hit.metadata, filter),
      ),
    ),
  );
  const list = element("ol", { className: "results" }, ...items);
  roving(list);
  return list;
}

function scoreBar(score) {
  const bar = element("span", { className: "bar" });
  const share = score >= 2 ? score - 2 : score; // reranked documents have scores from 2 to 3
  bar.style.setProperty("--share", Math.max(0, Math.min(1, share)));
  return bar;
}

/** Return a line with the title and the place of a passage within its document, or null. */
function placeOf(fields, filter) {
  const given = PLACE.filter((field) => fields?.[field] !== undefined && fields[field] !== null && fields[field] !== "");
  if (!given.length) return null;
  return element("p", { className: "place" }, ...given.map((field) => value(field, fields[field], field === "page" ? `page ${fields[field]}` : shown(fields[field]), filter)));
}

function metadata(fields, filter) {
  const others = Object.entries(fields ?? {}).filter(([field]) => !PLACE.includes(field));
  return others.map(([field, one]) => value(field, one, `${field}: ${brief(one)}`, filter));
}

/** Return a metadata value with at most four digits of a fraction. */
const brief = (one) => (typeof one === "number" && !Number.isInteger(one) ? String(Number(one.toPrecision(4))) : shown(one));

function value(field, one, text, filter) {
  if (!filter || one === null) return element("span", { className: "field", dir: "auto" }, text);
  return element("button", { type: "button", className: "field", dir: "auto", title: "Search only these documents", onclick: () => filter(field, one) }, text);
}

/** Return a metadata value as text. */
export function shown(value) {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
