// One tab stop for a group of buttons, between which the arrow keys move (roving tabindex).

/**
 * Make the buttons within an element one tab stop: left and right move by one button, up and down by one list item.
 *
 * @returns a function to call after the buttons have changed
 */
export function roving(group) {
  const items = () => [...group.querySelectorAll("button")];
  const hold = (held) => { for (const item of items()) item.tabIndex = item === held ? 0 : -1; };
  const refresh = () => hold(items().find((item) => item.tabIndex === 0) ?? items()[0]);

  group.addEventListener("focusin", (event) => event.target.matches("button") && hold(event.target));
  group.addEventListener("keydown", (event) => {
    if (!event.target.matches("button") || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = target(items().filter((item) => item.getClientRects().length), event.target, event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  refresh();
  return () => { for (const item of items()) item.tabIndex = -1; hold(items()[0]); };
}

function target(items, from, key) {
  const place = items.indexOf(from);
  const row = (item) => item.closest("li");
  const first = (item) => item && (items.find((other) => row(other) && row(other) === row(item)) ?? item);
  const moves = {
    ArrowRight: () => items[place + 1],
    ArrowLeft: () => items[place - 1],
    ArrowDown: () => items.slice(place + 1).find((item) => row(item) !== row(from)),
    ArrowUp: () => first(items.slice(0, place).findLast((item) => row(item) !== row(from))),
    Home: () => items[0],
    End: () => items.at(-1),
  };
  return moves[key]?.();
}
