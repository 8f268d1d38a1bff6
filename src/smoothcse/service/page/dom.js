// Helpers that create elements. Data are always inserted as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Return an element with properties and children; strings become text nodes. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Show a message, or hide its element if the message is empty. */
export function say(place, text) {
  place.textContent = text ?? "";
  place.hidden = !text;
}

/** Fill a select with [value, text] pairs; keep its value if that is still an option. */
export function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => value === before)) select.value = before;
}

/** Fill a select with the encoders and, with `both`, an option for all of them side by side; hide it if there is one encoder. */
export function offerModels(select, names, both) {
  const pair = both && names.length > 1 ? [["", `${names.join(" and ")}, side by side`]] : [];
  fill(select, [...pair, ...names.map((name) => [name, name])]);
  select.closest("label").hidden = names.length < 2;
}

/** Return the encoders selected in a select filled by `offerModels`. */
export const chosenModels = (select, names) => (select.value === "" ? names : [select.value]);

/** Return an element with a text of the corpus, in the direction of its script. */
export const quoted = (text, name = "span") => element(name, { dir: "auto", textContent: text });
