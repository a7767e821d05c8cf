// What the page tells: to screen readers politely, and to everybody what went wrong.

const status = document.getElementById("status");
const problem = document.getElementById("problem");

export function say(text) {
  status.textContent = text;
}

export function complain(error) {
  problem.querySelector("p").textContent = error.message;
  problem.hidden = false;
}

export function hush() {
  problem.hidden = true;
}
