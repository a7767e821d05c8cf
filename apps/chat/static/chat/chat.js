// The chat page: what its buttons do, and what other tabs did.

import { branch, closeEditor, edit, retry } from "./branches.js";
import { toQuestion } from "./calls.js";
import { cancel, prefill, stop, submit } from "./composer.js";
import { refresh, actions as sidebarActions } from "./sidebar.js";
import { complain, hush, say } from "./tell.js";
import { earlier, pickUp, redraw, session, thread, toEnd } from "./thread.js";
import { inOrder, listen } from "./turns.js";

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
  branch,
  cancel,
  "close-editor": closeEditor,
  dismiss: hush,
  earlier,
  edit,
  retry,
  "send-now": () => submit({ now: true }),
  starter: (button) => prefill(button.textContent),
  stop,
  "to-end": toEnd,
  "to-question": toQuestion,
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

/** What another tab, or another device, did here while this one was not looked at. */
async function catchUp() {
  if (document.hidden || !session()) return;
  try {
    await inOrder(() => redraw());
  } catch (error) {
    complain(error);
  }
}

thread.addEventListener("asked", () => refresh().catch(complain)); // the list tells which chats wait
document.addEventListener("visibilitychange", catchUp);
listen((changed) => changed === session() && catchUp());
addEventListener("popstate", () => location.reload());
addEventListener("pageshow", (event) => event.persisted && location.reload());

toEnd();
pickUp();
