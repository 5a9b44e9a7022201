// Every page that Latchkey sends people to where `server.frontend_url` is set.

import { Refused, call, linkAddress, me, plain, server, signInAddress } from "/session.js";

const main = document.getElementById("main");

/** An element; text is text, never markup. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function show(heading, ...content) {
  document.title = `${heading} · Example`;
  main.replaceChildren(make("h1", {}, heading), ...content);
}

const list = (items) => make("ul", {}, ...items.map((item) => make("li", {}, item)));
const link = (href, text) => make("a", { href }, text);
const say = (text) => make("p", {}, text);

async function providers() {
  return (await (await plain("GET", "/auth/providers")).json()).items;
}

/** What to say and do about a failure, wherever it came up. */
function failed(error) {
  if (!(error instanceof Refused)) {
    show("No connection", say("The server cannot be reached."), link(location.href, "Try again"));
    return;
  }
  const content = [say(error.message)];
  if (error.retryAfter) content.push(say(`Try again in ${error.retryAfter} s.`));
  if (error.requestId) content.push(make("p", {}, "Request ", make("code", {}, error.requestId)));
  show("That did not work", ...content, link("/", "Go on"));
}

async function login(query) {
  const returnTo = query.get("return_to") ?? `${location.origin}/account`;
  const wishes = {};
  for (const name of ["prompt", "max_age", "login_hint"]) {
    if (query.has(name)) wishes[name] = query.get(name);
  }
  const items = (await providers()).map(({ name, display_name }) => {
    const trouble = query.get("not_answering") === name ? " (not answering just now)" : "";
    return make("span", {},
      link(signInAddress(name, returnTo, wishes), `Continue with ${display_name}`), trouble);
  });
  show("Sign in", list(items));
}

async function onboarding() {
  let setup;
  try {
    setup = await (await plain("GET", "/auth/setup")).json();
  } catch (error) {
    if (error.code === "setup_expired") return location.replace("/login");
    throw error;
  }
  const problem = make("p", { id: "problem", role: "alert" });
  const name = make("input", {
    id: "username", required: "", autocomplete: "username", autocapitalize: "none",
    spellcheck: "false", value: setup.suggested_username ?? "", "aria-describedby": "problem",
  });
  const create = async (event) => {
    event.preventDefault();
    try {
      const answer = await plain("POST", "/auth/setup", { username: name.value });
      location.assign(new URL(answer.headers.get("Location"), server));
    } catch (error) {
      // A refusal leaves the setup as it was: another name can be tried.
      if (!(error instanceof Refused)) return failed(error);
      problem.textContent = error.message;
      name.setAttribute("aria-invalid", "true");
      name.focus();
    }
  };
  show(
    "Choose your name",
    say(`You come from ${setup.provider}${setup.masked_email ? `, as ${setup.masked_email}` : ""}.`),
    make("form", { onsubmit: create },
      make("label", { for: "username" }, "Username"), name, problem,
      make("button", {}, "Use this name")),
  );
}

async function offer() {
  let setup;
  try {
    setup = await (await plain("GET", "/auth/setup")).json();
  } catch (error) {
    if (error.code === "setup_expired") return location.replace("/login");
    throw error;
  }
  // After the sign-in the question is asked by Latchkey's own page.
  const known = (setup.existing_providers ?? []).map((name) =>
    link(signInAddress(name, `${server}/link`), `Sign in with ${name} to connect ${setup.provider}`));
  const content = [say(`${setup.masked_email} belongs to an account here.`), list(known)];
  if (setup.may_sign_up) content.push(link("/onboarding", "Use a separate account"));
  show("You already have an account here", ...content);
}

async function account() {
  const person = await me();
  if (person === null) return location.replace("/login");
  const links = (await (await call("GET", "/auth/me/links")).json()).items;
  const all = await providers();
  const connected = new Set(links.map((item) => item.provider));
  const disconnect = (item) => async () => {
    const query = new URLSearchParams({ subject: item.subject });
    try {
      await call("DELETE", `/auth/link/${item.provider}?${query}`);
      await account();
    } catch (error) {
      if (error.code !== "reauthentication_required") return failed(error);
      const wishes = { prompt: "login", max_age: "900" };
      location.assign(signInAddress(item.provider, location.href, wishes));
    }
  };
  const leave = async () => {
    try {
      await plain("POST", "/auth/logout");
      location.assign("/signed-out");
    } catch (error) {
      failed(error);
    }
  };
  show(
    "Your account",
    make("p", {}, "You are ", make("strong", { id: "name" }, person.username), "."),
    list(links.map((item) => make("span", {}, `${item.provider} `,
      links.length > 1
        ? make("button", { onclick: disconnect(item) }, `Disconnect ${item.provider}`) : ""))),
    list(all.filter(({ name }) => !connected.has(name))
      .map(({ name, display_name }) => link(linkAddress(name, location.href), `Connect ${display_name}`))),
    make("button", { onclick: () => account().catch(failed) }, "Look again"),
    make("button", { onclick: leave }, "Sign out"),
  );
}

const pages = {
  "/": account,
  "/login": login,
  "/onboarding": onboarding,
  "/link": offer,
  "/account": account,
  "/signed-out": async () => show("You are signed out", link("/login", "Sign in again")),
  "/error": async (query) => show(
    "That did not work",
    make("p", {}, "The reason is called ", make("code", {}, query.get("code") ?? "unknown"), "."),
    make("p", {}, "Request ", make("code", {}, query.get("request_id") ?? "unknown")),
    link("/login", "Sign in again"),
  ),
};

const page = pages[location.pathname] ??
  (async () => show("Not found", say("There is nothing at this address."), link("/", "Go on")));
page(new URLSearchParams(location.search)).catch(failed);
