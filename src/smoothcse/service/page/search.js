// Search: results as you type, from one encoder or from two side by side.

import { ask, debounced, latest } from "./api.js";
import { byId, chosenModels, element, offerModels, say } from "./dom.js";
import { resultList, shown } from "./results.js";

/** Create the view; return a function that shows it, given the names of the encoders that have an index. */
export function searchView() {
  const query = byId("query");
  const filters = new Map();
  const run = latest((error) => say(byId("search-error"), error));
  let names = [];

  const search = () => run(async (signal) => {
    const text = query.value.trim();
    if (!text) {
      byId("results").replaceChildren();
      say(byId("search-status"), "");
      return;
    }
    const models = chosenModels(byId("search-model"), names);
    const k = Number(byId("search-count").value);
    const where = filters.size ? Object.fromEntries(filters) : null;
    const rerank = byId("search-rerank").value || null;
    const answers = await Promise.all(models.map((model) => ask("search", { query: text, k, where, model, rerank }, signal)));
    byId("results").replaceChildren(...models.map((model, side) => column(model, side, answers, filter)));
    say(byId("search-status"), summary(answers));
    say(byId("incomplete"), answers.map((answer) => answer.incomplete).filter(Boolean).join(" "));
  });

  const filter = (field, value) => {
    filters.set(field, value);
    showFilters();
  };

  const showFilters = () => {
    const chips = [...filters].map(([field, value]) => {
      const remove = () => { filters.delete(field); showFilters(); query.focus(); };
      return element("li", {}, element("button", { type: "button", onclick: remove, title: "Remove this filter" }, `${field}: ${shown(value)} ×`));
    });
    byId("filters").replaceChildren(...chips);
    search();
  };

  query.addEventListener("input", debounced(search));
  byId("search-form").addEventListener("change", (event) => event.target !== query && search());
  byId("search-form").addEventListener("submit", (event) => { event.preventDefault(); search(); });

  return (available) => {
    names = available;
    offerModels(byId("search-model"), names, true);
    query.focus({ preventScroll: true });
    search();
  };
}

function column(model, side, answers, filter) {
  const hits = answers[side].results;
  const before = side > 0 ? answers[0].results.map((hit) => hit.id) : null;
  return element(
    "div",
    {},
    answers.length > 1 ? element("h3", {}, model) : null,
    hits.length ? resultList(hits, { filter, mark: before && ((hit, rank) => moved(before.indexOf(hit.id), rank)) }) : element("p", { className: "note" }, "No documents found."),
  );
}

/** Return a badge for the change of a hit's rank from the first encoder to the second, or null. */
function moved(before, rank) {
  if (before < 0) return element("span", { className: "badge", title: "Not among the results on the left" }, "new");
  if (before === rank) return null;
  const arrow = before > rank ? "↑" : "↓";
  return element("span", { className: "badge still", title: `Rank ${before + 1} on the left` }, `${arrow} ${Math.abs(before - rank)}`);
}

function summary(answers) {
  const times = answers.map((answer) => `${Math.max(1, Math.round(answer.milliseconds))} ms`).join(" and ");
  const found = answers[0].results.length;
  const results = `${found} result${found === 1 ? "" : "s"} in ${times}.`;
  const scores = scale(answers);
  return answers.length > 1 ? `${results} ${scores}; compare them within one encoder only.` : `${results} ${scores}.`;
}

/** Return what the scores are. */
function scale(answers) {
  if (answers.some((answer) => answer.rerank === "maxsim")) return "Scores from 2 on are reranked token by token (MaxSim)";
  const fused = answers.some((answer) => answer.cosine_weight < 1);
  return fused ? "Scores fuse words and meaning, scaled for this query" : "Scores are cosine similarities";
}
