// The calls of tools that an answer makes: what ran, folded away, and what waits for the reader's word.

import { focusInput } from "./composer.js";
import { part, post } from "./net.js";
import { complain, hush, say } from "./tell.js";
import { openAnswer, session, showCalls, thread } from "./thread.js";
import { answered, inOrder } from "./turns.js";

/** Answer a question: its form is sent, and the calls shown as they are then. */
async function answer(form) {
  const [question, article] = [form.closest(".question"), form.closest("article")];
  const buttons = [...question.querySelectorAll("[type=submit]")];
  if (buttons[0].disabled) return;
  const body = new URLSearchParams(new FormData(form));
  hush();
  fault(question, form, "");
  for (const button of buttons) button.disabled = true;
  try {
    await inOrder(async () => {
      const calls = await post(form.dataset.answer, body);
      say(body.get("decision") === "deny" ? "Denied." : "Approved.");
      showCalls(article, calls);
      answered(session());
      thread.dispatchEvent(new Event("unasked"));
    });
  } catch (error) {
    for (const button of buttons) button.disabled = false;
    if (error.code === "already_answered") {
      complain(error);
      showCalls(article, await part(form.dataset.answer));
    } else if (question.isConnected) fault(question, form, error.message);
    else complain(error);
  }
}

function fault(question, form, text) {
  const area = form.querySelector("textarea");
  question.querySelector(".field-error").textContent = text;
  area?.setAttribute("aria-invalid", String(text !== ""));
  if (text) (area ?? form.querySelector("button")).focus();
}

thread.addEventListener("submit", (event) => {
  if (!event.target.dataset.answer) return;
  event.preventDefault();
  answer(event.target).catch(complain);
});

// What was opened to be filled in is ready to be written in.
thread.addEventListener("toggle", focusField, true);

function focusField(event) {
  const way = event.target;
  if (way.open && way.matches(".question details")) way.querySelector("input:not([type=hidden]), textarea").focus();
}

export function toQuestion() {
  const question = openAnswer()?.querySelector(".question");
  question?.scrollIntoView({ block: "center" });
  question?.focus({ preventScroll: true });
}

// Where the focus was on something that is gone: the next question, else the message box.
thread.addEventListener("unasked", () => {
  if (openAnswer()?.querySelector(".question")) toQuestion();
  else focusInput();
});

// -- the time that is left ----------------------------------------------------------------------------------

const words = new Intl.RelativeTimeFormat("en");

function showTimes() {
  for (const time of thread.querySelectorAll(".question-time time")) {
    const minutes = (Date.parse(time.dateTime) - Date.now()) / 60_000;
    const left = minutes < 1 ? "in less than a minute" : minutes < 100 ? words.format(Math.floor(minutes), "minute") : words.format(Math.floor(minutes / 60), "hour");
    time.title ||= time.textContent;
    time.textContent = minutes > 0 ? left : "now: nobody answered in time";
  }
}

thread.addEventListener("busy", showTimes);
setInterval(showTimes, 20_000);
