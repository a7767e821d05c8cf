// An OpenID provider for the tests: `oidc-provider`, people who are told on the command line, and a form that
// asks for nothing but a name. Usage:
// node provider.mjs '{"issuer": …, "key": PATH, "certificate": PATH, "clients": […], "people": {…}}'
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

// The packages are installed in a cache folder, not beside this file.
const require = createRequire(join(process.cwd(), "package.json"));
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const { issuer, key, certificate, clients, people } = JSON.parse(process.argv[2]);
const CLAIMS = {
  openid: ["sub"],
  email: ["email", "email_verified"],
  profile: ["name", "preferred_username"],
  groups: ["groups"],
};

const provider = new Provider(issuer, {
  clients,
  claims: CLAIMS,
  scopes: ["openid", "email", "profile", "groups"],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (context, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (context, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, ...people[id] }),
  }),
  // Everybody has agreed already.
  loadExistingGrant: async (context) => {
    const grant = new context.oidc.provider.Grant({
      clientId: context.oidc.client.clientId,
      accountId: context.oidc.session.accountId,
    });
    grant.addOIDCScope(Object.keys(CLAIMS).join(" "));
    await grant.save();
    return grant;
  },
});

const FORM = `<!doctype html><html lang="en"><title>Who are you?</title><link rel="icon" href="data:,">
<form method="post"><label>Name at the provider <input name="name" autofocus></label>
<button>Continue</button> <button name="cancel" value="1">Cancel</button></form></html>`;

async function interaction(request, response) {
  if (request.method === "GET") {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(FORM);
    return;
  }
  let body = "";
  for await (const chunk of request) body += chunk;
  const form = new URLSearchParams(body);
  const known = Object.hasOwn(people, form.get("name"));
  const result =
    form.has("cancel") || !known
      ? { error: "access_denied", error_description: "The person did not sign in." }
      : { login: { accountId: form.get("name") } };
  await provider.interactionFinished(request, response, result);
}

const answer = provider.callback();
createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (request, response) => {
  if (!request.url.startsWith("/interaction/")) {
    answer(request, response);
    return;
  }
  interaction(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
}).listen(Number(new URL(issuer).port), new URL(issuer).hostname);
