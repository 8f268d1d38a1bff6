// Filters on the metadata, as the service reads them: {field: [values]} or {field: {gte, lte}}.

import { shown } from "./results.js";

/** Return the filters of a URL; throw an Error whose message is a sentence. */
export function parseFilters(text) {
  if (!text) return new Map();
  try {
    const found = JSON.parse(text);
    if (found === null || typeof found !== "object" || Array.isArray(found)) throw new Error();
    return new Map(Object.entries(found));
  } catch {
    throw new Error("The filters of this link cannot be read; they are left out.");
  }
}

/** Return filters as the service reads them, or null for none. */
export const asWhere = (filters) => (filters.size ? Object.fromEntries(filters) : null);

/** Return whether a filter admits a value among others. */
export const admits = (filters, field, value) => [filters.get(field)].flat().includes(value);

/** Add a value to a field's filter, or remove it. */
export function toggle(filters, field, value) {
  const before = filters.has(field) ? [filters.get(field)].flat().filter((one) => typeof one !== "object") : [];
  const after = before.includes(value) ? before.filter((one) => one !== value) : [...before, value];
  if (after.length) filters.set(field, after);
  else filters.delete(field);
}

/** Return whether a field is limited to a range. */
export const isLimited = (filters, field) => typeof filters.get(field) === "object" && !Array.isArray(filters.get(field));

/** Limit a field to a range, either end of which may be null. */
export function limit(filters, field, gte, lte) {
  const range = { ...(gte !== null && { gte }), ...(lte !== null && { lte }) };
  if (Object.keys(range).length) filters.set(field, range);
  else filters.delete(field);
}

/** Return a filter in words. */
export function inWords(field, value) {
  if (value === null || typeof value !== "object") return `${field}: ${shown(value)}`;
  if (Array.isArray(value)) return `${field}: ${value.map(shown).join(" or ")}`;
  const [from, to] = [value.gte, value.lte].map((end) => (end === undefined ? "" : day(end)));
  if (from && to) return `${field}: ${from} to ${to}`;
  return from ? `${field}: from ${from}` : `${field}: ${to ? `up to ${to}` : shown(value)}`;
}

/** The end of a day, for dates with a time. */
export const DAY_END = "T24";
const day = (end) => String(end).replace(DAY_END, "");
