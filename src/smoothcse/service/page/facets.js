// Facets: the values of the metadata with their counts, and ranges of numbers and dates.

import { ask, latest } from "./api.js";
import { byId, element, say } from "./dom.js";
import { admits, asWhere, DAY_END, isLimited, limit, toggle } from "./filters.js";
import { shown } from "./results.js";
import { roving } from "./roving.js";

const FEW = 6; // values of a field that are shown at first
const NUMBERS_AS_VALUES = 8; // a field with more different numbers has a range

/**
 * Create the panel of facets.
 *
 * @param filters Map of the filters, which the panel changes.
 * @param changed Callback after a change by the user.
 * @returns a function that shows the facets of an encoder's index and returns the number of documents that fulfil the filters
 */
export function facetPanel(filters, changed) {
  const load = latest((error) => say(byId("facets-error"), error));
  const opened = new Set(); // fields of which all values are shown
  const ranged = new Map(); // whether a field has a range; decided once, since filters change the number of its values
  const refresh = roving(byId("facet-fields"));
  let known = null; // model and filters for which the panel is shown
  let documents = null;

  const show = (facets) => {
    const { dataset, value: typed } = document.activeElement ?? document.body;
    const focused = dataset.key;
    for (const facet of facets.fields) if (!ranged.has(facet.name)) ranged.set(facet.name, isRange(facet) || isLimited(filters, facet.name));
    const fields = facets.fields.filter((facet) => filters.has(facet.name) || (facet.different > 1 && (ranged.get(facet.name) || divides(facet, facets.documents))));
    byId("facet-fields").replaceChildren(...fields.map((facet) => (ranged.get(facet.name) ? rangeOf(facet) : valuesOf(facet))));
    byId("facets").hidden = !fields.length;
    refresh();
    const item = focused && [...byId("facet-fields").querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused);
    if (item?.matches("input")) item.value = typed; // perhaps half of a number
    item?.focus();
  };

  const valuesOf = (facet) => {
    const buttons = facet.values.map(([value, count], number) => {
      const press = () => { toggle(filters, facet.name, value); changed(); };
      const button = element("button", { type: "button", onclick: press }, element("span", { dir: "auto" }, shown(value)), element("span", { className: "number" }, count.toLocaleString("en-GB")));
      button.dataset.key = JSON.stringify([facet.name, value]);
      const pressed = admits(filters, facet.name, value);
      button.setAttribute("aria-pressed", String(pressed));
      return element("li", { hidden: number >= FEW && !pressed && !opened.has(facet.name) }, button);
    });
    const list = element("ul", {}, ...buttons);
    const more = buttons.filter((item) => item.hidden);
    if (more.length) {
      const open = () => { opened.add(facet.name); for (const item of buttons) item.hidden = false; more[0].firstChild.focus(); rest.remove(); };
      const rest = element("li", {}, element("button", { type: "button", className: "field", onclick: open }, `${more.length} more`));
      list.append(rest);
    }
    return group(facet.name, list, facet.different > facet.values.length && element("p", { className: "note" }, `${(facet.different - facet.values.length).toLocaleString("en-GB")} rarer values`));
  };

  const rangeOf = (facet) => {
    const range = filters.get(facet.name) ?? {};
    const [from, to] = [["gte", "from", facet.minimum], ["lte", "to", facet.maximum]].map(([end, label, bound]) => {
      const input = element("input", { type: facet.kind === "dates" ? "text" : "number", step: "any", placeholder: short(bound), value: range[end] === undefined ? "" : String(range[end]).replace(DAY_END, "") });
      input.setAttribute("aria-label", `${facet.name}, ${label}`);
      input.dataset.key = JSON.stringify([facet.name, end]);
      input.dataset.shown = input.value;
      return input;
    });
    const read = (input, timed) => {
      const text = input.value.trim();
      if (!text) return null;
      return facet.kind === "dates" ? text + (timed ? DAY_END : "") : Number(text);
    };
    const timed = String(facet.maximum).length > 10;
    const commit = () => {
      if ([from, to].every((input) => input.value === input.dataset.shown)) return;
      for (const input of [from, to]) input.dataset.shown = input.value;
      limit(filters, facet.name, read(from, false), read(to, timed));
      changed();
    };
    for (const input of [from, to]) {
      input.addEventListener("change", commit);
      input.addEventListener("blur", () => input.isConnected && commit()); // "change" misses what `show` has kept
    }
    return group(facet.name, element("div", { className: "range" }, from, element("span", {}, "to"), to));
  };

  return async (model) => {
    const where = asWhere(filters);
    const asked = JSON.stringify([model, where]);
    if (asked !== known) {
      known = null;
      await load(async (signal) => {
        const found = await ask("facets", { model, where }, signal);
        if (signal.aborted) return;
        known = asked;
        documents = found.documents;
        show(found);
      });
    }
    return known === asked ? documents : null;
  };
}

/** Values are worth a choice if several documents share them. */
const divides = ({ values, different }, documents) => values[0][1] > 1 && 2 * different <= documents;

const isRange = ({ kind, different }) => kind === "dates" || (kind.includes("numbers") && different > NUMBERS_AS_VALUES);

const short = (bound) => (typeof bound === "number" && !Number.isInteger(bound) ? bound.toPrecision(3) : String(bound ?? "").slice(0, 10));

function group(name, ...contents) {
  const made = element("fieldset", {}, element("legend", {}, name), ...contents.filter(Boolean));
  return made;
}
