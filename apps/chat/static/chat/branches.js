// Other ways for a conversation to go: edit what was said, answer it anew, read another version.

import { box, write } from "./boxes.js";
import { focusInput } from "./composer.js";
import { complain, hush, say } from "./tell.js";
import { openAnswer, redraw, session, thread } from "./thread.js";
import { goTo, inOrder, retryTurn, submitTurn } from "./turns.js";

// -- editing ------------------------------------------------------------------------------------------------

export function edit(button) {
  closeEditor();
  const said = button.closest("article");
  said.append(document.getElementById("editor").content.cloneNode(true));
  said.classList.add("editing");
  const form = said.querySelector("form");
  const area = form.querySelector("textarea");
  box(area, { send: () => form.requestSubmit(), changed: () => showState(form, area) });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    replace(said, area).catch(complain);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    closeEditor();
  });
  write(area, said.querySelector(".said-text").textContent);
  area.focus({ preventScroll: true });
  area.setSelectionRange(area.value.length, area.value.length);
  form.scrollIntoView({ block: "nearest" });
}

function showState(form, area) {
  const send = form.querySelector("[type=submit]");
  send.disabled = !area.value.trim();
  send.textContent = openAnswer() ? "Stop the answer and send" : "Send";
}

thread.addEventListener("busy", () => {
  const form = thread.querySelector(".editing form");
  if (form) showState(form, form.querySelector("textarea"));
});

/** Leave what was said as it is. */
export function closeEditor() {
  const said = thread.querySelector(".editing");
  if (!said) return;
  said.querySelector("form").remove();
  said.classList.remove("editing");
  said.querySelector("[data-action=edit]").focus({ preventScroll: true });
}

async function replace(said, area) {
  if (!area.value.trim()) return;
  hush();
  const body = { input: area.value, session_id: session(), replaces: said.dataset.message, on_busy: "interrupt" };
  const buttons = [...said.querySelectorAll("form button")];
  for (const button of buttons) button.disabled = true;
  area.readOnly = true;
  try {
    await inOrder(async () => {
      const turn = await submitTurn(body);
      say("The answer is being written.");
      await redraw({ near: said, to: turn.input_message_id, turn: turn.id });
    });
  } catch (error) {
    for (const button of buttons) button.disabled = false;
    area.readOnly = false;
    throw error;
  }
  focusInput();
}

// -- answering anew -----------------------------------------------------------------------------------------

export async function retry(button) {
  const { turn } = button.closest("article").dataset;
  button.disabled = true;
  hush();
  try {
    await inOrder(() => answerAnew(turn, button));
  } catch (error) {
    if (error.code !== "session_busy") throw error;
    throw new Error("Another answer is being written in this chat, maybe on another version of it. Wait for it, or stop it.");
  } finally {
    button.disabled = false;
  }
  focusInput();
}

async function answerAnew(turn, button) {
  if (!button.isConnected) return; // what was done just before led away from this answer
  const { id } = await retryTurn(turn, session());
  say("The answer is being written.");
  await redraw({ turn: id });
}

// -- going to another version -------------------------------------------------------------------------------

export async function branch(button) {
  const { to } = button.dataset;
  const forward = button.matches(":last-of-type");
  hush();
  button.disabled = true;
  const place = await inOrder(async () => {
    if (!button.isConnected) return null;
    await goTo(to, session());
    return redraw({ near: button.closest(".fork"), to });
  });
  const fork = place?.querySelector(".fork");
  if (!fork) return;
  const buttons = [...fork.querySelectorAll("button:not(:disabled)")];
  (forward ? buttons.at(-1) : buttons[0]).focus({ preventScroll: true });
  say(`${fork.getAttribute("aria-label")}.`);
}
