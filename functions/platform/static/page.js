// Shows the API and signs the reader in. Tokens live in this page's memory only, and are renewed a
// minute before they expire. All addresses are relative: the API may stand below any path.

const state = document.getElementById("state");

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  docExpansion: "none",
  filter: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});

async function post(path, body) {
  const answer = await fetch(`api/v1/auth/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const json = await answer.json();
  if (!answer.ok) {
    throw new Error(json.detail ?? json.message ?? answer.statusText);
  }
  return json;
}

function use(pair) {
  ui.preauthorizeApiKey("bearer", pair.access_token);
  setTimeout(() => renew(pair.refresh_token), Math.max(pair.expires_in - 60, 10) * 1000);
}

async function renew(token) {
  try {
    use(await post("refresh", { refresh_token: token }));
  } catch (error) {
    state.value = `Signed out: ${error.message}`;
  }
}

document.getElementById("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { email, password } = Object.fromEntries(new FormData(event.target));
  try {
    use(await post("login", { email, password }));
    state.value = `Signed in as ${email}`;
    event.target.elements.password.value = "";
  } catch (error) {
    state.value = error.message;
  }
});
