// Marks on the map's canvas: names of regions, the pin of a query, and the cross of the keyboard.

/** Write labels, each `[name, x, y]` in pixels, the most important first; one that would overlap an earlier one is left out. */
export function paintLabels(context, labels, theme, [width, height]) {
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = theme.paper;
  context.fillStyle = theme.ink;
  const taken = [];
  for (const [name, x, y] of labels) {
    const half = context.measureText(name).width / 2 + 4;
    if (x < -half || y < 0 || x > width + half || y > height) continue;
    const left = Math.max(half, Math.min(width - half, x));
    const box = [left - half, y - 9, left + half, y + 9];
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    context.strokeText(name, left, y);
    context.fillText(name, left, y);
  }
}

/** Draw a pin with lines to its nearest points. */
export function paintPin(context, [x, y], nearest, theme) {
  context.strokeStyle = theme.accent;
  context.lineWidth = 1.5;
  context.globalAlpha = 0.7;
  context.beginPath();
  for (const place of nearest) { context.moveTo(x, y); context.lineTo(...place); }
  context.stroke();
  context.globalAlpha = 1;
  context.beginPath();
  context.moveTo(x, y - 11); context.lineTo(x + 11, y); context.lineTo(x, y + 11); context.lineTo(x - 11, y);
  context.closePath();
  context.fillStyle = theme.accent;
  context.fill();
  context.lineWidth = 2.5;
  context.strokeStyle = theme.paper;
  context.stroke();
}

/** Draw a cross where the Enter key selects a point. */
export function paintCross(context, x, y) {
  context.lineWidth = 1.5;
  context.beginPath();
  for (const side of [-1, 1]) {
    context.moveTo(x + side * 5, y); context.lineTo(x + side * 13, y);
    context.moveTo(x, y + side * 5); context.lineTo(x, y + side * 13);
  }
  context.stroke();
}
