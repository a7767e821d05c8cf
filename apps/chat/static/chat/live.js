// One answer while it is written: follows the turn's rendering, which comes as HTML from the server.

import { parsed } from "./net.js";

/**
 * @param article the answer on the page, with its turn in data-turn
 * @param on {changed(), calls(fragment), settled(text), done(article, text not settled before, whether a question had the focus), lost()}
 * @returns a function that stops following
 */
export function follow(article, on) {
  const source = new EventSource(`/turns/${article.dataset.turn}/render`);
  const prose = article.querySelector(".prose");
  let begun = false;
  let told = 0;

  source.addEventListener("render", (event) => {
    const { start, html } = JSON.parse(event.data);
    if (!begun && !html.length) return; // begun anew before its first word
    if (!begun) prose.replaceChildren();
    begun = true;
    for (const text of settled(prose, told, start)) on.settled(text);
    told = Math.max(told, start);
    replaceFrom(prose, start, html);
    on.changed();
  });
  source.addEventListener("think", (event) => {
    think(article, JSON.parse(event.data));
    on.changed();
  });
  source.addEventListener("calls", (event) => on.calls(parsed(JSON.parse(event.data).html)));
  source.addEventListener("done", (event) => {
    source.close();
    const whole = parsed(JSON.parse(event.data).html).querySelector("article");
    const rest = [...settled(whole.querySelector(".prose"), told, Infinity)].join(" ");
    keepThought(article, whole);
    keepOpen(article, whole);
    const left = article.querySelector(".questions :focus") !== null;
    article.replaceWith(whole);
    on.done(whole, rest, left);
  });
  source.addEventListener("error", () => {
    // While it is CONNECTING the browser tries again by itself; CLOSED means that the server refused.
    if (source.readyState === EventSource.CLOSED) on.lost();
  });
  return () => source.close();
}

/** What the model thinks, folded away above its answer. */
function think(article, { anew, text }) {
  const template = document.getElementById("thought");
  const thought = article.querySelector(".thought") ?? template.content.firstElementChild.cloneNode(true);
  if (!thought.isConnected) article.querySelector(".prose").before(thought);
  const words = thought.querySelector(".thought-text");
  if (anew) words.replaceChildren(text);
  else words.append(text);
}

/** Of a step that came to no end the server keeps no thoughts: they stay until the page is left. */
function keepThought(article, whole) {
  const thought = article.querySelector(".thought");
  if (thought && !whole.querySelector(".thought")) whole.querySelector(".prose").before(thought);
}

/** What the reader unfolded stays so. */
export function keepOpen(old, fresh) {
  const thought = fresh.querySelector(".thought");
  if (thought && old.querySelector(".thought[open]")) thought.open = true;
  for (const call of old.querySelectorAll(".call:has(> details[open])")) {
    const details = fresh.querySelector(`.call[data-call="${call.dataset.call}"] details`);
    if (details) details.open = true;
  }
}

function* settled(prose, from, to) {
  for (const block of [...prose.children].slice(from, to)) yield block.textContent.trim();
}

/** Put the blocks from number `start` on, touching only those that changed: a selection in others stays. */
function replaceFrom(prose, start, html) {
  while (prose.children.length > start + html.length) prose.lastElementChild.remove();
  html.forEach((text, index) => {
    const there = prose.children[start + index];
    if (there?.source === text) return;
    const block = document.createElement("div");
    block.innerHTML = text;
    block.source = text;
    if (there) there.replaceWith(block);
    else prose.append(block);
  });
}
