// Search: results as you type, from one encoder or from two side by side.

import { ask, debounced, latest } from "./api.js";
import { byId, chosenModels, element, offerModels, say } from "./dom.js";
import { facetPanel } from "./facets.js";
import { asWhere, inWords, parseFilters } from "./filters.js";
import { keepPlace } from "./place.js";
import { resultList } from "./results.js";
import { roving } from "./roving.js";

const PAGE = 10; // results at first, and further ones at each "More"
const MOST = 1000; // results that the service returns
const PAUSE = 2000; // milliseconds without typing after which a new query is a step of the back button

/** Create the view; return a function that shows it, given the names of the encoders that have an index and the values of the URL. */
export function searchView() {
  const query = byId("query");
  const filters = new Map();
  const run = latest((error) => say(byId("search-error"), error));
  const rove = roving(byId("filters"));
  let names = [];
  let count = PAGE;
  let typed = 0; // time of the latest letter

  const search = (step = true) => run(async (signal) => {
    const text = query.value.trim();
    const models = chosenModels(byId("search-model"), names);
    const where = asWhere(filters);
    const rerank = byId("search-rerank").value || null;
    keepPlace("search", { q: text, encoder: names.length > 1 ? byId("search-model").value : "", where: where && JSON.stringify(where), rerank, k: count === PAGE ? "" : count }, step);
    showFilters();
    const documents = facets(models[0]);
    byId("search-intro").hidden = Boolean(text);
    byId("search-more").hidden = true;
    if (!text) {
      byId("results").replaceChildren();
      say(byId("search-status"), "");
      return;
    }
    const answers = await Promise.all(models.map((model) => ask("search", { query: text, k: count, where, model, rerank }, signal)));
    byId("results").replaceChildren(...models.map((model, side) => column(model, side, answers, { query: text, filter })));
    byId("search-more").hidden = count >= MOST || !answers.some((answer) => answer.results.length === count);
    say(byId("search-status"), summary(answers));
    say(byId("incomplete"), answers.map((answer) => answer.incomplete).filter(Boolean).join(" "));
    const total = await documents;
    if (total !== null && !signal.aborted) say(byId("search-status"), summary(answers, total));
  });

  const restart = (step) => {
    count = PAGE;
    return search(step);
  };

  const filter = (field, value) => {
    filters.set(field, [value]);
    restart();
    query.focus();
  };

  const more = async () => {
    const before = count;
    count = Math.min(MOST, count + PAGE);
    await search(false);
    const first = byId("results").querySelector("ol")?.children[before];
    if (first) (first.querySelector("button") ?? Object.assign(first, { tabIndex: -1 })).focus();
  };

  const showFilters = () => {
    const chips = [...filters].map(([field, value]) => {
      const remove = () => { filters.delete(field); restart(); query.focus(); };
      return element("li", {}, element("button", { type: "button", onclick: remove, title: "Remove this filter" }, `${inWords(field, value)} ×`));
    });
    byId("filters").replaceChildren(...chips);
    rove();
  };

  byId("facets").open = matchMedia("(min-width: 60rem)").matches; // beside the results, not before them
  const facets = facetPanel(filters, () => restart());
  const type = debounced(() => {
    const paused = performance.now() - typed > PAUSE;
    typed = performance.now();
    restart(paused);
  });

  query.addEventListener("input", type);
  byId("search-form").addEventListener("change", (event) => event.target !== query && restart());
  byId("search-form").addEventListener("submit", (event) => { event.preventDefault(); restart(); });
  byId("search-more").addEventListener("click", more);

  return (available, { q = "", encoder = "", where = "", rerank = "", k = "" }) => {
    names = available;
    offerModels(byId("search-model"), names, true);
    if (encoder === "" || names.includes(encoder)) byId("search-model").value = encoder || byId("search-model").options[0].value;
    if (query.value.trim() !== q) query.value = q;
    byId("search-rerank").value = ["maxsim", "none"].includes(rerank) ? rerank : "";
    count = Math.min(MOST, Math.max(PAGE, Number(k) || PAGE));
    filters.clear();
    let problem = null;
    try {
      for (const [field, value] of parseFilters(where)) filters.set(field, value);
    } catch (error) {
      problem = error.message;
    }
    query.focus({ preventScroll: true });
    search(false).then(() => problem && say(byId("search-error"), problem));
  };
}

function column(model, side, answers, options) {
  const hits = answers[side].results;
  const before = side > 0 ? answers[0].results.map((hit) => hit.id) : null;
  return element(
    "div",
    {},
    answers.length > 1 ? element("h3", {}, model) : null,
    hits.length ? resultList(hits, { ...options, mark: before && ((hit, rank) => moved(before.indexOf(hit.id), rank)) }) : element("p", { className: "note" }, "No documents found."),
  );
}

/** Return a badge for the change of a hit's rank from the first encoder to the second, or null. */
function moved(before, rank) {
  if (before < 0) return element("span", { className: "badge", title: "Not among the results on the left" }, "new");
  if (before === rank) return null;
  const arrow = before > rank ? "↑" : "↓";
  return element("span", { className: "badge still", title: `Rank ${before + 1} on the left` }, `${arrow} ${Math.abs(before - rank)}`);
}

function summary(answers, documents = null) {
  const times = answers.map((answer) => `${Math.max(1, Math.round(answer.milliseconds))} ms`).join(" and ");
  const found = answers[0].results.length;
  const from = documents === null ? "" : `, from ${documents.toLocaleString("en-GB")} document${documents === 1 ? "" : "s"}`;
  const results = `${found} result${found === 1 ? "" : "s"} in ${times}${from}.`;
  const scores = scale(answers);
  return answers.length > 1 ? `${results} ${scores}; compare them within one encoder only.` : `${results} ${scores}.`;
}

/** Return what the scores are. */
function scale(answers) {
  if (answers.some((answer) => answer.rerank === "maxsim")) return "Scores from 2 on are reranked token by token (MaxSim)";
  const fused = answers.some((answer) => answer.cosine_weight < 1);
  return fused ? "Scores fuse words and meaning, scaled for this query" : "Scores are cosine similarities";
}
