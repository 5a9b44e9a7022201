"use strict";

// Says, while a name is typed, whether it is free. The page does all its work without this.
const PAUSE_MILLISECONDS = 400;

const field = document.getElementById("username");
const live = document.getElementById("username-live");
let timer;
let request = new AbortController();

function say(text, state) {
  live.textContent = text;
  live.dataset.state = state;
}

async function ask(name) {
  request = new AbortController();
  const query = new URLSearchParams({ username: name });
  const response = await fetch(`${live.dataset.address}?${query}`, { signal: request.signal });
  if (!response.ok) return;
  const answer = await response.json();
  if (answer.available) {
    say(live.dataset.free, "free");
    field.removeAttribute("aria-invalid");
    document.getElementById("username-error")?.remove();
  } else if (answer.suggestion) {
    say(live.dataset.takenTry.replace("{name}", answer.suggestion), "taken");
  } else {
    say(answer.detail || live.dataset.taken, "taken");
  }
}

field.addEventListener("input", () => {
  clearTimeout(timer);
  request.abort();
  say("", "");
  const name = field.value.trim();
  if (name === live.dataset.own || name.length < Number(live.dataset.least)) return;
  // An answer that does not come leaves the line empty; the server checks the form anyway.
  timer = setTimeout(() => ask(name).catch(() => {}), PAUSE_MILLISECONDS);
});
