// Requests to this server. What goes wrong becomes an Error whose message a person can read.

const token = () => document.querySelector("[name=csrfmiddlewaretoken]").value;

export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new Error("The server cannot be reached. Check the connection and try again.");
  }
  if (response.redirected && new URL(response.url).pathname === "/sign-in/") {
    location.assign(`/sign-in/?next=${encodeURIComponent(location.pathname)}`);
    throw new Error("You were signed out. Sign in again.");
  }
  return response;
}

/** Why the server refused, as an Error; `code` is the API's, where it gave one. */
async function refusal(response) {
  if (response.status === 401) return new Error("You were signed out. Reload the page to sign in again.");
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
    const { code, detail } = await response.json();
    return Object.assign(new Error(detail), { code });
  }
  return new Error(`The server answered with an error (${response.status}). Try again.`);
}

/** Send JSON to the API; gives the JSON that comes back, or null. */
export async function send(method, path, body, headers = {}) {
  const response = await ask(`/api/v1${path}`, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRFToken": token(), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : response.json();
}

/** A part of the page, rendered by the server. */
export async function part(url) {
  const response = await ask(url);
  return shown(response);
}

/** Send a form; gives the part of the page that comes back. */
export async function post(url, form) {
  return shown(await ask(url, { method: "POST", headers: { "X-CSRFToken": token() }, body: form }));
}

async function shown(response) {
  if (!response.ok) throw await refusal(response);
  return parsed(await response.text());
}

/** HTML of the server's as nodes. */
export function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}
