// The message box: sends what is written; while an answer is being written, lets it wait or sends it now.

import { box, write } from "./boxes.js";
import { refresh, showTitle } from "./sidebar.js";
import { complain, hush, say } from "./tell.js";
import { accepted, openAnswer, pending, pickUp, redraw, session, thread } from "./thread.js";
import { cancelTurn, inOrder, submitTurn } from "./turns.js";

const main = document.getElementById("main");
const composer = document.getElementById("composer");
const input = document.getElementById("composer-input");
const draftKey = () => `draft:${session()}`;

/** Where a keyboard is at hand: elsewhere it would cover half of the screen. */
export function focusInput() {
  if (input && matchMedia("(hover: hover)").matches) input.focus();
}

export function prefill(text) {
  write(input, text);
  input.focus();
}

function showBusy() {
  const busy = openAnswer() !== null;
  const empty = !input.value.trim();
  document.getElementById("composer-asks").hidden = !openAnswer()?.querySelector(".question");
  composer.querySelector(".stop").hidden = !busy;
  composer.querySelector(".send-now").hidden = !busy || empty;
  composer.querySelector(".send").hidden = busy && empty;
  composer.querySelector(".send").disabled = empty;
  document.getElementById("enter-does").textContent = busy ? "lets it wait" : "sends";
}

export function submit({ now = false } = {}) {
  const text = input.value;
  if (!text.trim()) return;
  hush();
  const waits = !now && openAnswer() !== null;
  const shown = pending(text, { waits });
  write(input, "");
  say(waits ? "Your message waits for the answer before it." : "The answer is being written.");
  focusInput();
  inOrder(() => deliver(text, shown, now));
}

async function deliver(text, shown, now) {
  const body = { input: text, on_busy: now ? "interrupt" : "queue" };
  if (session()) body.session_id = session();
  else if (composer.elements.agent) body.agent = composer.elements.agent.value;
  try {
    const turn = await submitTurn(body);
    const waits = !now && turn.state === "queued";
    accepted(shown, turn, { waits });
    pickUp();
    if (!session()) await begun(turn.session_id);
    else if (waits && openAnswer() === shown[1]) await redraw(); // for something that another tab said
  } catch (error) {
    if ("unsent" in shown[0].dataset) takeBack(text, shown);
    complain(error);
  }
}

function takeBack(text, shown) {
  for (const article of shown) article.remove();
  write(input, [text, input.value].filter(Boolean).join("\n"));
  pickUp();
  input.focus();
}

async function begun(id) {
  main.dataset.session = id;
  sessionStorage.removeItem("draft:");
  sessionStorage.setItem(draftKey(), input.value);
  history.pushState(null, "", `/chats/${id}/`);
  const choice = composer.elements.agent;
  if (choice) {
    const badge = document.getElementById("agent");
    badge.textContent = choice.selectedOptions[0].text;
    badge.hidden = false;
    choice.parentElement.remove();
  }
  await refresh();
  const title = document.querySelector("#sessions a[aria-current] .session-title")?.textContent.trim();
  if (title) showTitle(title);
}

/** Stop what is being written. */
export async function stop(button) {
  const turn = openAnswer()?.dataset.turn;
  if (!turn) return;
  button.disabled = true;
  try {
    await cancelTurn(turn, session());
  } finally {
    button.disabled = false;
  }
  focusInput();
}

/** Let a message that waits go unanswered. */
export async function cancel(button) {
  const { turn } = button.closest("article").dataset;
  button.disabled = true;
  await cancelTurn(turn, session());
  say("It will not be answered.");
  await inOrder(() => redraw());
  focusInput();
}

if (composer) {
  box(input, {
    send: (event) => submit({ now: (event.ctrlKey || event.metaKey) && openAnswer() !== null }),
    changed: () => {
      sessionStorage.setItem(draftKey(), input.value);
      showBusy();
    },
  });
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  thread.addEventListener("busy", showBusy);
  const draft = sessionStorage.getItem(draftKey());
  if (draft && !input.value) write(input, draft);
  focusInput();
}
