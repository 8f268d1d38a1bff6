// Long documents, folded around the passage that shares most words with the query.

import { element, quoted } from "./dom.js";

const LONG = 700; // characters from which a text is folded
const SHOWN = 420; // characters of a passage
const STEM = 5; // letters of a word that must agree, so that "walks" finds "walking"

/** Return a text as one or more elements; a long one shows its best passage, and a button for the rest. */
export function folded(text, query = "") {
  if (text.length <= LONG) return [quoted(text, "p")];
  const [start, end] = bestPassage(text, query);
  const passage = quoted(`${start ? "… " : ""}${text.slice(start, end).trim()}${end < text.length ? " …" : ""}`, "p");
  const whole = element("p", { dir: "auto", hidden: true }, text.slice(0, start), element("mark", {}, text.slice(start, end)), text.slice(end));
  whole.classList.add("whole");
  const closed = `Show all ${text.length.toLocaleString("en-GB")} characters (this is ${place(start, end, text.length)})`;
  const button = element("button", { type: "button", className: "field fold" }, closed);
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    whole.hidden = !whole.hidden;
    passage.hidden = !whole.hidden;
    button.setAttribute("aria-expanded", String(!whole.hidden));
    button.textContent = whole.hidden ? closed : "Show the passage only";
    if (!whole.hidden) whole.querySelector("mark").scrollIntoView({ block: "center" });
  });
  return [passage, whole, button];
}

function place(start, end, length) {
  if (!start) return "the beginning";
  return end >= length ? "the end" : `${Math.round((100 * start) / length)}% in`;
}

/** Return start and end of the run of sentences that holds the most, and the rarest, words of the query. */
export function bestPassage(text, query) {
  const wanted = new Set(stems(query));
  const sentences = [...text.matchAll(/[^.!?。！？\n]+(?:[.!?。！？]+|\n+|$)\s*/gu)].map((match) => ({ start: match.index, words: new Set(stems(match[0]).filter((stem) => wanted.has(stem))) }));
  if (!sentences.length) return [0, SHOWN];
  const counts = new Map();
  for (const { words } of sentences) for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const worth = (words) => [...words].reduce((sum, word) => sum + 1 / (1 + Math.log(counts.get(word))), 0);
  let [best, most] = [sentences[0], -1];
  sentences.forEach((sentence, number) => {
    const words = new Set();
    for (let next = number; next < sentences.length && sentences[next].start < sentence.start + SHOWN; next += 1) {
      for (const word of sentences[next].words) words.add(word);
    }
    if (sentence.words.size || !number) { // a passage begins where it is about the query
      const value = worth(words);
      if (value > most) [best, most] = [sentence, value];
    }
  });
  return [best.start, wordEnd(text, best.start + SHOWN)];
}

function wordEnd(text, end) {
  if (end >= text.length) return text.length;
  const space = text.lastIndexOf(" ", end);
  return space > end - 40 ? space : end;
}

const stems = (text) => (text.toLowerCase().match(/[\p{L}\p{M}\p{N}_]{2,}/gu) ?? []).filter((word) => word.length > 2 || /[^a-z]/u.test(word)).map((word) => word.slice(0, STEM));
