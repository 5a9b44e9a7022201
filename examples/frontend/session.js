// The session at Latchkey, from a page on another origin. All that a frontend has to get right is here.

/** Where Latchkey is. */
export const server = document.querySelector("meta[name=latchkey]").content;

/** An answer that says no: `code` is one of docs/errors.md, `detail` a sentence for people. */
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? "The server did not answer as it should.");
    this.status = status;
    this.code = problem.code;
    this.field = problem.field;
    this.requestId = problem.request_id;
    // Seconds, with 429 and 503.
    this.retryAfter = retryAfter;
  }
}

// One request, with the cookies of the session. The browser adds Origin, by which Latchkey knows us.
async function send(method, path, body) {
  const options = { method, credentials: "include", headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(server + path, options);
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem, Number(answer.headers.get("Retry-After")) || undefined);
}

// The access token has expired: a new one, once for all requests and tabs that wait for it. The lock spans
// all tabs of this origin; who comes second asks first whether there is a new one by now. (Only the server
// can tell: the cookies are out of reach here, and what a tab writes down, another may see late.)
let renewing;

function renew() {
  renewing ??= navigator.locks.request("latchkey-renew", async () => {
    const answer = await fetch(`${server}/auth/me`, { credentials: "include" });
    if (!answer.ok) await send("POST", "/auth/refresh");
  }).finally(() => (renewing = undefined));
  return renewing;
}

/** A request of the signed-in person; refreshes the session once. Throws `Refused`, or a network error. */
export async function call(method, path, body) {
  try {
    return await send(method, path, body);
  } catch (error) {
    if (error.code !== "unauthenticated") throw error;
  }
  await renew();
  return send(method, path, body);
}

// Nobody is signed in. The last one: no cookie of Latchkey's came at all, so nobody ever was, in this
// browser; or it keeps them back, if that comes right after a sign-in.
const SIGNED_OUT = ["unauthenticated", "session_ended", "cookies_not_sent"];

/** The person who is signed in, or `null`. */
export async function me() {
  try {
    return await (await call("GET", "/auth/me")).json();
  } catch (error) {
    if (SIGNED_OUT.includes(error.code)) return null;
    throw error;
  }
}

/** A request that needs no session: the choice of a name, a list, the end. */
export const plain = send;

/** The address that signs in by a provider and then leads to `returnTo`. */
export function signInAddress(provider, returnTo, wishes = {}) {
  const query = new URLSearchParams({ return_to: returnTo, ...wishes });
  return `${server}/auth/${provider}?${query}`;
}

/** The address that connects a further provider. A link to follow, never a fetch. */
export function linkAddress(provider, returnTo) {
  const query = new URLSearchParams({ return_to: returnTo });
  return `${server}/auth/link/${provider}?${query}`;
}
