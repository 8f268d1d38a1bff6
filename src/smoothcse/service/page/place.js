// The state of the page in the fragment of its URL, #VIEW?name=value, which is not sent to the service.

/** Return the view that the URL names, or an empty string, and its values by name. */
export function readPlace() {
  const [view, ...rest] = location.hash.slice(1).split("?");
  return { view, values: Object.fromEntries(new URLSearchParams(rest.join("?"))) };
}

/**
 * Write the state of a view into the link to the view and, if the view is shown, into the URL.
 *
 * @param view Name of the view.
 * @param values Values by name; empty ones are left out.
 * @param step Whether the back button returns to the state before.
 */
export function keepPlace(view, values, step) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = String(new URLSearchParams(given));
  const hash = `#${view}${query ? `?${query}` : ""}`;
  linkTo(view).hash = hash;
  if (document.getElementById(`view-${view}`).hidden) return;
  if (location.hash === hash || (location.hash === "" && !query)) return;
  history[step ? "pushState" : "replaceState"](null, "", hash);
}

/** Return the link to a view, which leads to the state in which one left it. */
export const linkTo = (view) => document.querySelector(`nav a[data-view="${view}"]`);
