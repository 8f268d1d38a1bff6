// The few ways in which this page makes elements. Data only ever become text, never markup.

export const byId = (id) => document.getElementById(id);

/** Return an element with properties and children; strings become text. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Show a sentence, or hide its place where there is none. */
export function say(place, text) {
  place.textContent = text ?? "";
  place.hidden = !text;
}

/** Fill a select with [value, text] pairs; it keeps its value where that is still there. */
export function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => value === before)) select.value = before;
}

/** Offer the encoders, and two of them side by side where there are two. Hidden where there is no choice. */
export function offerModels(select, names, both) {
  const pair = both && names.length > 1 ? [["", `${names.join(" and ")}, side by side`]] : [];
  fill(select, [...pair, ...names.map((name) => [name, name])]);
  select.closest("label").hidden = names.length < 2;
}

/** Return the names chosen in such a select. */
export const chosenModels = (select, names) => (select.value === "" ? names : [select.value]);

/** A text of the corpus may be in any script. */
export const quoted = (text, name = "span") => element(name, { dir: "auto", textContent: text });
