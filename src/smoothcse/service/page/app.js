// The page: views, which are selected by the URL fragment, and the status line of the service.

import { ask, keepToken, latest, onUnauthorised } from "./api.js";
import { byId, say } from "./dom.js";
import { mapView } from "./map.js";
import { pairsView } from "./pairs.js";
import { linkTo, readPlace } from "./place.js";
import { searchView } from "./search.js";

const VIEWS = { search: searchView(), pairs: pairsView(), map: mapView() };
let models = [];

function show() {
  const indexed = models.filter((model) => model.documents !== null);
  const { view: asked, values } = readPlace();
  const view = asked in VIEWS ? asked : indexed.length ? "search" : "pairs";
  for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const chosen = view === "pairs" ? models : indexed;
  byId(`view-${view}`).hidden = !chosen.length;
  say(byId("problem"), chosen.length ? null : "This service has no index. To search documents, start it with --index, for example: smoothcse serve MODEL --index docs.index");
  if (chosen.length) VIEWS[view](chosen.map((model) => model.name), asked === view ? values : {});
}

const connect = latest((error) => {
  if (error) say(byId("problem"), byId("token-form").hidden ? error : null);
  else show();
});

function start() {
  return connect(async (signal) => {
    models = (await ask("models", null, signal)).models;
    byId("token-form").hidden = true;
    byId("served").textContent = models.map(described).join(" · ");
    say(byId("incomplete"), models.map((model) => model.incomplete).filter(Boolean).join(" "));
  });
}

function described({ name, dimension, documents }) {
  const size = documents === null ? "no index" : `${documents.toLocaleString("en-GB")} documents`;
  return `${name}: ${dimension} dimensions, ${size}`;
}

onUnauthorised((wrong) => {
  const label = byId("token-form").querySelector("label");
  label.textContent = wrong ? "The token was not accepted. Enter another one" : "This service requires a token";
  byId("token-form").hidden = false;
  byId("token").focus();
});

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value.trim());
  start();
});

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  location.hash = linkTo("search").hash;
  byId("query").focus();
});

addEventListener("hashchange", () => models.length && show());
start();
