// The conversation: keeps its end in sight, follows the answer that is being written, brings it up to date.

import { follow, keepOpen } from "./live.js";
import { part } from "./net.js";
import { complain, say } from "./tell.js";

const main = document.getElementById("main");
const scroller = document.getElementById("scroller");
const toEndButton = document.querySelector(".to-end");
const PATIENCE = 5; // how often a refused stream is asked for again: servers that roll over answer 502 for a while

/**
 * It hears `busy` whenever an answer begins, ends, asks or is told; `asked` when questions of approval came or went;
 * `unasked` when one that had the focus is gone.
 */
export const thread = document.getElementById("thread");

export const session = () => main.dataset.session;

/** The answer that is being written, else the first of those that wait; null where there is none. */
export const openAnswer = () => thread.querySelector("article.answer[aria-busy=true]");

// -- keeping the end in sight -------------------------------------------------------------------------------

let atEnd = true;

export function toEnd() {
  atEnd = true;
  scroller.scrollTop = scroller.scrollHeight;
}

function look() {
  atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
  toEndButton.hidden = atEnd;
}

scroller.addEventListener("scroll", look);
new ResizeObserver(() => (atEnd ? toEnd() : look())).observe(thread);

/** Scroll so that an element's top is where another's was. */
function keepAt(element, top) {
  scroller.scrollTop += element.getBoundingClientRect().top - top;
  look();
}

// -- the answer that is being written -----------------------------------------------------------------------

let followed = null; // {article, stop}
let refused = 0;

export function pickUp() {
  const article = openAnswer();
  if (followed?.article !== article) leave();
  thread.dispatchEvent(new Event("busy"));
  if (followed || !article?.dataset.turn) return;
  followed = { article, stop: follow(article, { changed, calls, settled: say, done, lost }) };
}

function leave() {
  followed?.stop();
  followed = null;
}

function changed() {
  refused = 0;
  followed.article.classList.remove("waiting");
  if (atEnd) toEnd();
}

function calls(fresh) {
  showCalls(followed.article, fresh, { aloud: true });
  changed();
}

function done(whole, rest, left) {
  refused = 0;
  const asked = followed.article.querySelector(".question") !== null;
  leave();
  tellEnd(whole, rest);
  openAnswer()?.classList.remove("waiting");
  pickUp();
  if (asked) thread.dispatchEvent(new Event("asked"));
  if (left) thread.dispatchEvent(new Event("unasked"));
  if (atEnd) toEnd();
}

function tellEnd(answer, text) {
  const notice = answer.querySelector(".notice, .stopped");
  say([text, notice ? notice.textContent.trim() : "The answer is complete."].join(" "));
}

function lost() {
  leave();
  refused += 1;
  if (refused < PATIENCE) setTimeout(pickUp, 1000 * refused);
  else complain(new Error("The answer can no longer be followed. Reload the page to see it."));
}

/** Show calls of tools as they are now. What somebody fills in, or has unfolded, stays as it is. */
export function showCalls(article, fresh, { aloud = false } = {}) {
  const before = article.querySelectorAll(".question").length;
  const news = [];
  let left = false;
  for (const item of [...fresh.querySelectorAll("[data-call]")]) {
    const there = article.querySelector(`[data-call="${item.dataset.call}"]`);
    if (there?.dataset.mark === item.dataset.mark) continue;
    if (there) keepOpen(there.parentElement, item.parentNode);
    left ||= there?.matches(".question:focus-within") ?? false;
    there?.remove();
    const list = article.querySelector(item.matches(".question") ? ".questions" : ".calls");
    const behind = [...list.children].find((other) => other.dataset.call > item.dataset.call);
    list.insertBefore(item, behind ?? null);
    news.push(item);
  }
  // What is asked must not be talked over by what else goes on.
  const asks = article.querySelector(".question") !== null;
  const told = news.filter((item) => !asks || item.matches(".question"));
  if (aloud && told.length) say(told.map((item) => item.dataset.says).join(" "));
  thread.dispatchEvent(new Event("busy"));
  if (article.querySelectorAll(".question").length !== before) thread.dispatchEvent(new Event("asked"));
  if (left) thread.dispatchEvent(new Event("unasked"));
}

// -- what is shown ------------------------------------------------------------------------------------------

/** Show at once what was said, and that it will be answered; gives both articles. */
export function pending(text, { waits }) {
  const shown = [...document.getElementById("pending").content.cloneNode(true).children];
  const [said, answer] = shown;
  said.querySelector(".said-text").textContent = text;
  answer.classList.toggle("waiting", waits);
  for (const article of shown) article.dataset.unsent = "";
  thread.querySelector(".welcome, :scope > .empty")?.remove();
  thread.append(...shown);
  toEnd();
  return shown;
}

/** What was shown as pending has become a turn. */
export function accepted([said, answer], turn, { waits }) {
  said.dataset.message = turn.input_message_id;
  answer.dataset.turn = turn.id;
  answer.classList.toggle("waiting", waits);
  for (const article of [said, answer]) delete article.dataset.unsent;
}

/**
 * Show the conversation as the server has it. `near`: an article, or its fork, whose place on the screen is for
 * that of message `to`. `turn`: one that has just begun. Gives the article of `to`.
 */
export async function redraw({ near, to, turn } = {}) {
  const fresh = await part(`/chats/${session()}/entries/`);
  const top = near?.isConnected ? near.getBoundingClientRect().top : null;
  if (top !== null) atEnd = false;
  show(fresh);
  const place = to && thread.querySelector(`[data-message="${to}"]`);
  if (place && top !== null) keepAt(near.matches(".fork") ? place.querySelector(".fork") : place, top);
  const over = turn && thread.querySelector(`[data-turn="${turn}"]:not([aria-busy])`);
  if (over) tellEnd(over, over.querySelector(".prose").textContent.trim());
  pickUp();
  return place;
}

const articles = (root) => [...root.children].filter((child) => child.matches("article:not([data-unsent])"));
const key = (article) => article.dataset.turn || article.dataset.message;
const busy = (article) => article.getAttribute("aria-busy") === "true";

/** Put these articles in the place of those from the first of them on, touching only what changed. */
function show(fresh) {
  const unsent = [...thread.querySelectorAll("[data-unsent]")];
  const news = articles(fresh);
  const shown = articles(thread);
  const begin = news.length ? shown.findIndex((article) => key(article) === key(news[0])) : -1;
  if (begin < 0) {
    thread.replaceChildren(fresh, ...unsent);
    return;
  }
  const old = shown.slice(begin);
  news.forEach((article, place) => {
    if (!old[place]) thread.insertBefore(article, unsent[0] ?? null);
    else if (!stays(old[place], article)) old[place].replaceWith(article);
  });
  for (const article of old.slice(news.length)) article.remove();
}

function stays(old, article) {
  const kept = old.cloneNode(true);
  const thought = kept.querySelector(".thought");
  if (article.querySelector(".thought")) thought?.removeAttribute("open");
  else thought?.remove(); // of a step that is not done the server keeps none
  for (const open of kept.querySelectorAll(".call > details[open]")) open.open = false;
  if (kept.isEqualNode(article)) return true;
  if (key(old) !== key(article)) return false;
  if (busy(old) && busy(article)) {
    old.className = article.className;
    showCalls(old, article);
    return true;
  }
  keepOpen(old, article);
  return old.matches(".editing");
}

export async function earlier(button) {
  button.disabled = true;
  const before = scroller.scrollHeight - scroller.scrollTop;
  button.closest(".earlier").replaceWith(await part(button.dataset.url));
  scroller.scrollTop = scroller.scrollHeight - before;
  thread.querySelector("article").scrollIntoView({ block: "nearest" });
}
