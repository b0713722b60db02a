"use strict";

// The page works without this script: links and forms choose what it shows, and a reload updates it. The script shows each
// change as it happens.

const byId = (id) => document.getElementById(id);
const live = byId("live");
const pause = byId("pause");
const source = new URL(document.currentScript.dataset.events, location.href);

// -- sections ----------------------------------------------------------------------------------

// The latest version of each section: the HTML around its rows, their order, and the parts of each.
const known = new Map();

// Records a change, and shows it. The HTML comes from the page's own templates, which escape
// user input.
function take(id, { frame, order, rows = {} }) {
  const section = byId(id);
  if (!section) return;
  const had = known.get(id) ?? { frame: ["", ""], order: [], rows: new Map() };
  known.set(id, had);
  for (const [key, parts] of Object.entries(rows)) had.rows.set(key, Object.assign(had.rows.get(key) ?? [], parts));
  had.frame = frame ?? had.frame;
  if (order) {
    had.order = order;
    for (const key of had.rows.keys()) if (!order.includes(key)) had.rows.delete(key);
  }
  const focused = document.activeElement;
  if (frame || order) {
    const [before, behind] = had.frame;
    const all = had.order.map((key) => had.rows.get(key).join(""));
    morph(section, parsed(before + all.join("") + behind));
  } else {
    for (const key of Object.keys(rows)) {
      const row = section.querySelector(`[data-key="${CSS.escape(key)}"]`);
      if (row) update(row, parsed(had.rows.get(key).join("")).firstElementChild);
    }
  }
  localize(section);
  keepFocus(section, focused);
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// An element that moved has lost the focus. If it is gone, the focus goes to the title of its section.
function keepFocus(section, focused) {
  if (focused === document.activeElement || focused === document.body) return;
  if (focused.isConnected) return focused.focus({ preventScroll: true });
  const title = section.querySelector("h2");
  title.focus({ preventScroll: true });
  // An empty section is hidden, and its title takes no focus.
  if (document.activeElement !== title) document.querySelector("h1 a").focus({ preventScroll: true });
}

const keyOf = (node) => node.dataset?.key;

// Returns the node to turn into the wanted one: this node, or for an element the next of its kind. Skipped nodes are removed.
function alike(node, wanted) {
  if (keyOf(wanted)) return null;
  const isElement = wanted.nodeType === Node.ELEMENT_NODE;
  for (; node && !keyOf(node); node = node.nextSibling) {
    if (node.nodeName === wanted.nodeName) return node;
    if (!isElement) return null;
  }
  return null;
}

// Makes the children of `old` those of `next`. Keeps elements that are in both, with their focus.
function morph(old, next) {
  const kept = new Map();
  for (const child of old.children) if (keyOf(child)) kept.set(keyOf(child), child);
  let at = old.firstChild;
  for (const wanted of [...next.childNodes]) {
    const same = kept.get(keyOf(wanted));
    if (same) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      kept.delete(keyOf(wanted));
      update(same, wanted);
      continue;
    }
    const behind = alike(at, wanted);
    if (behind) {
      while (at !== behind) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      at = at.nextSibling;
      update(behind, wanted);
    } else {
      old.insertBefore(wanted, at);
    }
  }
  while (at) {
    const rest = at;
    at = at.nextSibling;
    rest.remove();
  }
}

function update(old, wanted) {
  if (old.isEqualNode(wanted)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, wanted);
}

// The server writes times in UTC.
function localize(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    const day = date.toDateString() === today ? "" : `${date.toLocaleDateString()} `;
    const text = day + date.toLocaleTimeString();
    if (time.textContent !== text) time.textContent = text;
    time.title = date.toLocaleString();
  }
}

// -- changes -----------------------------------------------------------------------------------

let reading = null;
let isPaused = false;
let again = 0;
let failures = 0;

// Returns whether changes are requested, now or soon. Otherwise another view needs a new page.
const isAsking = () => !["paused", "ended"].includes(live.dataset.state);

function liveness(state, text) {
  live.dataset.state = state;
  if (live.textContent !== text) live.textContent = text;
}

// Reads changes until the server ends the response, which it does after a while, and then requests more.
async function connect() {
  disconnect();
  if (document.hidden || isPaused) return;
  const mine = (reading = new AbortController());
  source.search = location.search;
  try {
    const answer = await fetch(source, { signal: mine.signal, redirect: "manual", cache: "no-store" });
    if (!isOurs(answer)) return;
    await read(answer.body.getReader());
    failures = 0;
    // A service that is shutting down ends each response at once. The delay prevents a busy loop.
    again = setTimeout(connect, 250);
  } catch {
    if (mine.signal.aborted) return;
    failures += 1;
    if (failures > 1) liveness("lost", "not connected, trying again");
    // Each retry waits a second longer, up to five, so that the page soon notices when the service is back.
    again = setTimeout(connect, Math.min(failures, 5) * 1000);
  }
}

// A user whose login has expired is redirected or refused. Retrying would not help.
function isOurs(answer) {
  const isRefused = answer.type === "opaqueredirect" || [401, 403, 404].includes(answer.status);
  const isPage = answer.ok && !answer.headers.get("content-type")?.includes("ndjson");
  if (isRefused || isPage) {
    liveness("ended", "not live: your login may have expired. Reload the page");
    return false;
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return true;
}

async function read(body) {
  const text = new TextDecoder();
  let rest = "";
  known.clear();
  for (;;) {
    const { value, done } = await body.read();
    if (done) return;
    const lines = (rest + text.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) for (const [id, change] of Object.entries(JSON.parse(line))) take(id, change);
    if (lines.length) {
      failures = 0;
      liveness("on", "live");
    }
  }
}

function disconnect() {
  reading?.abort();
  clearTimeout(again);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", isPaused);
  pause.textContent = isPaused ? "Continue" : "Pause";
  if (isPaused) liveness("paused", "paused");
  connect();
});

// A hidden page needs no changes.
document.addEventListener("visibilitychange", connect);

// -- links and forms ---------------------------------------------------------------------------

// Shows another view of this page in place.
function show(query) {
  history.pushState(null, "", query === "?" ? location.pathname : query);
  connect();
}

document.querySelector("main").addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='?']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  const target = new URL(link.href);
  // The page of one job has different sections.
  if (target.searchParams.has("find") || byId("found") || !isAsking()) return;
  event.preventDefault();
  show(target.search || "?");
  if (target.hash) {
    const title = byId("runs-title");
    title.scrollIntoView({ block: "start" });
    title.focus({ preventScroll: true });
  }
});
addEventListener("popstate", connect);

// Filters while the user is typing.
let typed = 0;
function filter(form) {
  clearTimeout(typed);
  const query = new URLSearchParams(new FormData(form));
  if (!query.get("filter")) query.delete("filter");
  history.replaceState(null, "", `?${query}`);
  connect();
}

document.querySelector("main").addEventListener("input", ({ target }) => {
  if (target.id !== "filter-name" || !isAsking()) return;
  clearTimeout(typed);
  // Each keystroke would start another stream, so this waits for a pause.
  typed = setTimeout(() => filter(target.form), 150);
});
document.querySelector("main").addEventListener("submit", (event) => {
  if (event.target.id !== "filter" || !isAsking()) return;
  event.preventDefault();
  filter(event.target);
});

localize(document.body);
connect();
