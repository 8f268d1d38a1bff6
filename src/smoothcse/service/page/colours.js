// Colours of documents on the map: eight hues for categories, or a ramp for numbers.

import { shown } from "./results.js";

const HUES = 7; // the eighth hue is for all other values
const RAMP = 6;

/**
 * Group the points by the values of a metadata field.
 *
 * @returns `of`, the class number of each point; `classes`, each with `name`, `count` and `paint(theme)`, which returns its colour
 */
export function classesBy(points, field) {
  const values = points.map((point) => (field ? point.metadata[field] : undefined));
  if (!field) return one(points);
  const numbers = values.filter((value) => typeof value === "number");
  const different = new Set(numbers).size;
  const numeric = different > HUES + 1 && numbers.length === values.filter((value) => value !== undefined && value !== null).length;
  return numeric ? byNumber(values, numbers) : byName(values);
}

function one(points) {
  return { of: points.map(() => 0), classes: [{ name: "", count: points.length, paint: (theme) => theme.hues[0] }] };
}

function byName(values) {
  const counts = new Map();
  for (const value of values) counts.set(shown(value), (counts.get(shown(value)) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  const named = sorted.slice(0, sorted.length <= HUES + 1 ? HUES + 1 : HUES);
  const place = new Map(named.map(([name], number) => [name, number]));
  const classes = named.map(([name, count], number) => ({ name, count, paint: (theme) => theme.hues[number] }));
  const rest = sorted.slice(named.length);
  if (rest.length) {
    const count = rest.reduce((sum, [, some]) => sum + some, 0);
    classes.push({ name: `${rest.length} others`, count, paint: (theme) => theme.hues[HUES] });
  }
  return { of: values.map((value) => place.get(shown(value)) ?? named.length), classes };
}

/** Assign about equal numbers of documents to each step of the ramp, so that an outlier does not compress the others. */
function byNumber(values, numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const edges = [...new Set(Array.from({ length: RAMP - 1 }, (_, step) => sorted[Math.floor(((step + 1) * sorted.length) / RAMP)]))];
  const bounds = [sorted[0], ...edges.filter((edge) => edge > sorted[0])];
  const of = values.map((value) => (typeof value === "number" ? bounds.findLastIndex((bound) => value >= bound) : bounds.length));
  const whole = numbers.every(Number.isInteger); // integers: name a step by its first and last value
  const ends = [...bounds.slice(1).map((next) => (whole ? next - 1 : next)), sorted.at(-1)];
  const classes = bounds.map((bound, step) => ({
    name: ends[step] === bound ? plain(bound) : `${plain(bound)} to ${plain(ends[step])}`,
    count: 0,
    paint: (theme) => blend(theme.ramp[0], theme.ramp[1], step / Math.max(1, bounds.length - 1)),
  }));
  if (numbers.length < values.length) classes.push({ name: "none", count: 0, paint: (theme) => theme.hues[HUES] });
  for (const place of of) classes[place].count += 1;
  return { of, classes };
}

/** Format a number; four digits are not grouped, since they may be a year. */
const plain = (number) => number.toLocaleString("en-GB", { useGrouping: "min2", maximumSignificantDigits: Number.isInteger(number) ? 21 : 4 });

function blend(first, second, share) {
  const [a, b] = [first, second].map((hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16)));
  return `rgb(${a.map((part, number) => Math.round(part + (b[number] - part) * share)).join(" ")})`;
}

/** Return the page's colours for the canvas; they depend on the light or dark colour scheme. */
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    hues: Array.from({ length: HUES + 1 }, (_, number) => colour(`--c${number}`)),
    ramp: [colour("--ramp-low"), colour("--ramp-high")],
    ink: colour("--ink"),
    paper: colour("--card"),
    accent: colour("--accent"),
  };
}
