// The list of chats: its drawer on narrow screens, the menu of each chat, renaming, archiving, deleting.

import { part, send } from "./net.js";

const list = document.getElementById("sessions");
const sidebar = document.getElementById("sidebar");
const main = document.getElementById("main");
const menu = document.getElementById("session-menu");
let chosen = null; // the list item whose menu is open

/** Show the list anew, as after a chat was begun or named. */
export async function refresh() {
  const archived = list.dataset.archived === "true" ? "?archived" : "";
  list.replaceChildren(await part(`/chats/${archived}`));
  markCurrent();
}

function markCurrent() {
  for (const link of list.querySelectorAll("li.session > a")) {
    if (link.parentElement.dataset.session === main.dataset.session) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function more(button) {
  button.disabled = true;
  const items = await part(button.dataset.url);
  const first = items.querySelector("a");
  button.closest("li").replaceWith(items);
  markCurrent();
  first?.focus();
}

// -- drawer -------------------------------------------------------------------------------------------------

const narrow = matchMedia("(max-width: 48rem)");

function drawer(open) {
  document.body.classList.toggle("drawer-open", open);
  main.inert = open;
  const opener = main.querySelector("[data-action=open-drawer]");
  opener.setAttribute("aria-expanded", String(open));
  (open ? sidebar.querySelector(".new-chat") : opener).focus();
}

const drawerIsOpen = () => document.body.classList.contains("drawer-open");

document.addEventListener("keydown", (event) => {
  const busy = document.querySelector("dialog[open], :popover-open");
  if (event.key === "Escape" && drawerIsOpen() && !busy) drawer(false);
});
narrow.addEventListener("change", () => drawerIsOpen() && drawer(false));

// -- menus --------------------------------------------------------------------------------------------------

function place(popover, anchor) {
  const box = anchor.getBoundingClientRect();
  const height = popover.offsetHeight;
  const below = box.bottom + 4 + height < innerHeight && popover.dataset.menu !== "up";
  popover.style.top = `${below ? box.bottom + 4 : Math.max(8, box.top - height - 4)}px`;
  popover.style.left = `${Math.max(8, Math.min(box.left, innerWidth - popover.offsetWidth - 8))}px`;
}

function openMenu(button) {
  chosen = button.closest(".session");
  menu.querySelector("[data-action=archive] span").textContent =
    chosen.dataset.archived === "true" ? "Bring back" : "Archive";
  menu.showPopover({ source: button });
  place(menu, button);
  menu.querySelector("button").focus();
}

const account = document.getElementById("account-menu");
account.addEventListener("toggle", (event) => {
  if (event.newState !== "open") return;
  place(account, sidebar.querySelector(".account"));
  account.querySelector("a").focus();
});

for (const each of [menu, account]) {
  each.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const items = [...each.querySelectorAll("a, button")];
    const step = event.key === "ArrowDown" ? 1 : items.length - 1;
    items[(items.indexOf(document.activeElement) + step) % items.length].focus();
  });
}

// -- what can be done with a chat ---------------------------------------------------------------------------

/** Show a dialog; true when it was confirmed. Escape, or “Keep it”, leaves all as it was. */
function confirmed(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function rename(id, name) {
  const input = document.getElementById("rename-input");
  input.value = name;
  const answer = confirmed(document.getElementById("rename-dialog"));
  input.select();
  if (!(await answer)) return;
  const { title } = await send("PATCH", `/sessions/${id}`, { title: input.value });
  if (id === main.dataset.session) showTitle(title);
  await refresh();
}

async function archive(id, back) {
  await send("PATCH", `/sessions/${id}`, { archived: !back });
  if (id === main.dataset.session) location.assign(back ? `/chats/${id}/` : "/");
  else await refresh();
}

async function remove(id, name) {
  document.getElementById("delete-name").textContent = name;
  if (!(await confirmed(document.getElementById("delete-dialog")))) return;
  await send("DELETE", `/sessions/${id}`);
  if (id === main.dataset.session) location.assign("/");
  else await refresh();
}

async function onChosen(action) {
  const item = chosen;
  const { session: id, archived } = item.dataset;
  const name = item.querySelector(".session-title").textContent.trim();
  menu.hidePopover();
  await action(id, action === archive ? archived === "true" : name);
  // The item is another one now: the list was rendered anew.
  list.querySelector(`[data-session="${id}"] .icon-button`)?.focus();
}

export function showTitle(title) {
  document.getElementById("title").textContent = title;
  document.title = `${title} · SomaAgent`;
}

export const actions = {
  "open-drawer": () => drawer(true),
  "close-drawer": () => drawer(false),
  "close-dialog": (button) => button.closest("dialog").close(""),
  "session-menu": openMenu,
  "more-sessions": more,
  rename: () => onChosen(rename),
  archive: () => onChosen(archive),
  delete: () => onChosen(remove),
  unarchive: () => archive(main.dataset.session, true),
};
