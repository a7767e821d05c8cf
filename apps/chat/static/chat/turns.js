// What the reader does to the conversation: one thing after the other, each once, and told to the other tabs.

import { randomKey, send } from "./net.js";

const tabs = new BroadcastChannel("chats");
let last = Promise.resolve();
let unsent = null; // the request that failed last, and its key: sending the same again cannot say it twice

/** Begin a task when those before it are over; gives what it gives. */
export function inOrder(task) {
  const result = last.then(() => task());
  last = result.catch(() => null); // whoever asked for it hears of it
  return result;
}

/** Say something; gives the turn. */
export async function submitTurn(body) {
  const same = JSON.stringify(body);
  const key = unsent?.same === same ? unsent.key : randomKey();
  unsent = { same, key };
  const turn = await send("POST", "/turns", body, { "Idempotency-Key": key });
  unsent = null;
  tabs.postMessage(turn.session_id);
  return turn;
}

/** Answer the same message again; gives the new turn. */
export async function retryTurn(turn, session) {
  const again = await send("POST", `/turns/${turn}/retry`);
  tabs.postMessage(session);
  return again;
}

export async function cancelTurn(turn, session) {
  await send("POST", `/turns/${turn}/cancel`);
  tabs.postMessage(session);
}

/** A question of approval has its answer. */
export function answered(session) {
  tabs.postMessage(session);
}

/** Make the branch that goes through a message the active one. */
export async function goTo(message, session) {
  await send("PATCH", `/sessions/${session}`, { active_message_id: message });
  tabs.postMessage(session);
}

/** Call `heard` with a session's id when another tab did something to it. */
export function listen(heard) {
  tabs.addEventListener("message", (event) => heard(event.data));
}
