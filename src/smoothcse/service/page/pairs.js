// Sentence pairs: pasted sentences and a heat map of their similarities.

import { ask, debounced, latest } from "./api.js";
import { byId, chosenModels, element, offerModels, quoted, say } from "./dom.js";
import { keepPlace } from "./place.js";

const MOST = 40; // sentences per side; a larger table is hard to read

/** Create the view; return a function that shows it, given the names of the encoders and the values of the URL. */
export function pairsView() {
  const run = latest((error) => say(byId("pairs-error"), error));
  let names = [];

  const compare = () => run(async (signal) => {
    const a = lines(byId("pairs-a"));
    const b = lines(byId("pairs-b"));
    const cut = Math.max(a.length, b.length) > MOST;
    say(byId("pairs-status"), cut ? `Only the first ${MOST} sentences of each side are compared.` : "");
    if (!a.length) {
      byId("heat-maps").replaceChildren();
      return;
    }
    const [rows, columns] = [a.slice(0, MOST), b.length ? b.slice(0, MOST) : null];
    const models = chosenModels(byId("pairs-model"), names);
    const answers = await Promise.all(models.map((model) => ask("similarity", { a: rows, b: columns, model }, signal)));
    const maps = models.map((model, side) => heatMap(models.length > 1 ? model : null, answers[side].scores, rows, columns));
    byId("heat-maps").replaceChildren(...maps);
  });

  for (const id of ["pairs-a", "pairs-b"]) byId(id).addEventListener("input", debounced(compare, 300));
  byId("pairs-form").addEventListener("change", () => { keepPlace("pairs", { encoder: byId("pairs-model").value }, true); compare(); });
  byId("pairs-form").addEventListener("submit", (event) => event.preventDefault());

  return (available, { encoder }) => {
    names = available;
    offerModels(byId("pairs-model"), names, true);
    if (encoder === undefined && names.length > 1) byId("pairs-model").value = "";
    if (names.includes(encoder)) byId("pairs-model").value = encoder;
    compare();
  };
}

const lines = (area) => area.value.split("\n").map((line) => line.trim()).filter(Boolean);

function heatMap(model, scores, rows, columns) {
  const others = columns ?? rows;
  const head = element("tr", {}, element("td"), ...others.map((text, number) => element("th", { scope: "col", title: text }, String(number + 1))));
  const body = rows.map((text, number) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("span", { className: "number" }, `${number + 1} `), quoted(text)),
      ...scores[number].map((score, other) => cell(score, text, others[other])),
    ),
  );
  const table = element("table", { className: "heat" }, element("caption", {}, summary(scores, !columns)), element("thead", {}, head), element("tbody", {}, ...body));
  const key = columns && element("ol", { className: "key-list" }, ...columns.map((text) => quoted(text, "li")));
  return element("div", {}, model && element("h3", {}, model), element("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: model ? `Similarities, ${model}` : "Similarities" }, table), key);
}

function cell(score, a, b) {
  const made = element("td", { title: `${score.toFixed(4)}\n${a}\n${b}` }, score.toFixed(2));
  made.style.setProperty("--share", `${Math.round(Math.min(1, Math.abs(score)) * 100)}%`);
  made.classList.toggle("below", score < 0);
  return made;
}

function summary(scores, square) {
  const counted = scores.flatMap((row, number) => (square ? row.slice(number + 1) : row));
  if (!counted.length) return "Enter at least two sentences to compare.";
  const mean = counted.reduce((sum, score) => sum + score, 0) / counted.length;
  return `${counted.length} pair${counted.length === 1 ? "" : "s"}, mean similarity ${mean.toFixed(2)}.`;
}
