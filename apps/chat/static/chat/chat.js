// The conversation: sends what is written, follows the answer, stops and retries it, copies from it.

import { follow } from "./live.js";
import { part, randomKey, send } from "./net.js";
import { actions as sidebarActions, refresh, showTitle } from "./sidebar.js";

const main = document.getElementById("main");
const thread = document.getElementById("thread");
const scroller = document.getElementById("scroller");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const composer = document.getElementById("composer");
const input = document.getElementById("composer-input");
const PATIENCE = 5; // how often a refused stream is asked for again: servers that roll over answer 502 for a while
let unfollow = null;
let refused = 0;

// -- keeping the end in sight -------------------------------------------------------------------------------

const toEndButton = document.querySelector(".to-end");
let atEnd = true;

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

scroller.addEventListener("scroll", () => {
  atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
  toEndButton.hidden = atEnd;
});
new ResizeObserver(() => atEnd && toEnd()).observe(thread);

// -- telling ------------------------------------------------------------------------------------------------

function complain(error) {
  problem.querySelector("p").textContent = error.message;
  problem.hidden = false;
}

function say(text) {
  status.textContent = text;
}

// -- the answer that is being written -----------------------------------------------------------------------

const openAnswer = () => thread.querySelector("article.answer[aria-busy=true]");

function showBusy() {
  const busy = openAnswer() !== null;
  if (!composer) return;
  composer.querySelector(".stop").hidden = !busy;
  composer.querySelector(".send").hidden = busy;
  composer.querySelector(".send").disabled = !input.value.trim();
}

function pickUp() {
  unfollow?.();
  unfollow = null;
  const article = openAnswer();
  showBusy();
  if (!article?.dataset.turn) return;
  unfollow = follow(article, {
    changed: () => {
      refused = 0;
      if (atEnd) toEnd();
    },
    settled: say,
    done: (whole, rest) => {
      refused = 0;
      showBusy();
      const notice = whole.querySelector(".notice, .stopped");
      say([rest, notice ? notice.textContent.trim() : "The answer is complete."].join(" "));
      if (atEnd) toEnd();
    },
    lost: () => {
      refused += 1;
      if (refused < PATIENCE) setTimeout(pickUp, 1000 * refused);
      else complain(new Error("The answer can no longer be followed. Reload the page to see it."));
    },
  });
}

function pending(text) {
  const [said, answer] = document.getElementById("pending").content.cloneNode(true).children;
  said.querySelector(".said-text").textContent = text;
  thread.querySelector(".welcome, :scope > .empty")?.remove();
  thread.append(said, answer);
  atEnd = true;
  toEnd();
  return [said, answer];
}

// -- the message box ----------------------------------------------------------------------------------------

const draftKey = () => `draft:${main.dataset.session}`;

function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

function write(text) {
  input.value = text;
  input.dispatchEvent(new Event("input"));
}

let unsent = null; // the request that failed last, and its key: sending the same again cannot say it twice

async function submit() {
  const text = input.value;
  if (!text.trim() || openAnswer()) return;
  problem.hidden = true;
  const shown = pending(text);
  write("");
  showBusy();
  say("The answer is being written.");
  const body = { input: text };
  if (main.dataset.session) body.session_id = main.dataset.session;
  else if (composer.elements.agent) body.agent = composer.elements.agent.value;
  const same = JSON.stringify(body);
  const key = unsent?.same === same ? unsent.key : randomKey();
  try {
    const turn = await send("POST", "/turns", body, { "Idempotency-Key": key });
    unsent = null;
    shown[1].dataset.turn = turn.id;
    pickUp();
    if (!main.dataset.session) await begun(turn.session_id);
  } catch (error) {
    unsent = { same, key };
    shown.forEach((article) => article.isConnected && !article.dataset.turn && article.remove());
    if (!shown[1].dataset.turn) write(text + input.value);
    showBusy();
    complain(error);
    input.focus();
  }
}

async function begun(session) {
  main.dataset.session = session;
  sessionStorage.removeItem("draft:");
  history.pushState(null, "", `/chats/${session}/`);
  const choice = composer.elements.agent;
  if (choice) {
    const badge = document.getElementById("agent");
    badge.textContent = choice.selectedOptions[0].text;
    badge.hidden = false;
    choice.parentElement.remove();
  }
  await refresh();
  const title = document.querySelector("#sessions a[aria-current]")?.textContent.trim();
  if (title) showTitle(title);
}

if (composer) {
  input.addEventListener("input", () => {
    sessionStorage.setItem(draftKey(), input.value);
    fit();
    showBusy();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  const draft = sessionStorage.getItem(draftKey());
  if (draft && !input.value) write(draft);
  if (matchMedia("(hover: hover)").matches) input.focus();
}

// -- buttons ------------------------------------------------------------------------------------------------

async function stop(button) {
  const turn = openAnswer()?.dataset.turn;
  if (!turn) return;
  button.disabled = true;
  try {
    await send("POST", `/turns/${turn}/cancel`);
  } finally {
    button.disabled = false;
  }
  input.focus();
}

async function retry(button) {
  button.disabled = true;
  const failed = button.closest("article");
  try {
    const turn = await send("POST", `/turns/${failed.dataset.turn}/retry`);
    const [said, answer] = pending("");
    said.remove();
    answer.dataset.turn = turn.id;
    if (failed.querySelector("template")) button.remove();
    else failed.replaceWith(answer);
    say("The answer is being written.");
    input.focus();
    pickUp();
  } finally {
    button.disabled = false;
  }
}

async function earlier(button) {
  button.disabled = true;
  const before = scroller.scrollHeight - scroller.scrollTop;
  button.closest(".earlier").replaceWith(await part(button.dataset.url));
  scroller.scrollTop = scroller.scrollHeight - before;
  thread.querySelector("article").scrollIntoView({ block: "nearest" });
}

async function copy(button) {
  const text =
    button.dataset.copy === "code"
      ? button.closest(".code-block").querySelector("code").textContent
      : button.parentElement.querySelector("template").content.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // browsers keep the clipboard from pages that came over plain HTTP
  }
  say("Copied.");
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1500);
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

const actions = {
  ...sidebarActions,
  stop,
  retry,
  earlier,
  "to-end": toEnd,
  dismiss: () => (problem.hidden = true),
  starter: (button) => {
    write(button.textContent);
    input.focus();
  },
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-action], [data-copy]");
  const action = button?.dataset.copy ? copy : actions[button?.dataset.action];
  try {
    await action?.(button);
  } catch (error) {
    if (button.isConnected) button.disabled = false;
    complain(error);
  }
});

// -- other tabs ---------------------------------------------------------------------------------------------

/** What another tab said here while this one was out of sight. */
async function catchUp() {
  if (document.hidden || !main.dataset.session || openAnswer()) return;
  try {
    const { items } = await send("GET", `/turns?session_id=${main.dataset.session}&limit=1`);
    if (!items.length || thread.querySelector(`[data-turn="${items[0].id}"]`)) return;
    thread.replaceChildren(await part(`/chats/${main.dataset.session}/entries/`));
    pickUp();
  } catch (error) {
    complain(error);
  }
}

document.addEventListener("visibilitychange", catchUp);
addEventListener("popstate", () => location.reload());
addEventListener("pageshow", (event) => event.persisted && location.reload());

toEnd();
pickUp();
