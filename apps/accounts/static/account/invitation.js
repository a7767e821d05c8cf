// A link to an invitation carries its token behind “#”, which no server is sent. It is taken out of the address,
// so that it stays in no history, and sent in the body of the form.

function open() {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  const form = document.querySelector("#show-invitation");
  form.elements.token.value = token;
  form.submit();
}

addEventListener("hashchange", open);
open();
