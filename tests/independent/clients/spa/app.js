// Signs in with `oidc-client-ts`. Whoever serves this file puts the two values in.

import { UserManager } from "oidc-client-ts";

const manager = new UserManager({
  authority: "https://auth.example.com",
  client_id: "CLIENT_ID",
  redirect_uri: `${location.origin}/callback`,
  post_logout_redirect_uri: `${location.origin}/`,
  scope: "openid profile email",
  loadUserInfo: true,
});

function onClick(id, action) {
  document.getElementById(id).addEventListener("click", () => action().catch(tell));
}

function tell(error) {
  document.getElementById("trouble").textContent = String(error);
}

async function show() {
  const user = await manager.getUser();
  document.getElementById("user").textContent = JSON.stringify(user ?? {});
  document.getElementById("state").textContent = user ? "Signed in" : "Signed out";
}

async function comeBack() {
  await manager.signinCallback();
  history.replaceState(null, "", "/");
}

onClick("sign-in", () => manager.signinRedirect({ nonce: crypto.randomUUID() }));
onClick("renew", () => manager.signinSilent().then(show));
onClick("give-back", () => manager.revokeTokens().then(show));
onClick("sign-out", () => manager.signoutRedirect());

if (location.pathname === "/callback") await comeBack().catch(tell);
await show();
