"use strict";

// The page works without this script: links choose what it shows, and a reload shows what has changed. The script shows
// each change as it happens.

const byId = (id) => document.getElementById(id);
const live = byId("live");
const pause = byId("pause");
const source = new URL(document.currentScript.dataset.events, location.href);

let feed = null;
let isPaused = false;
let lost = 0;
let again = 0;

// -- sections ----------------------------------------------------------------------------------

// The HTML comes from the templates that the page itself is made of, which escape what they show.
function show(section, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const focused = document.activeElement;
  morph(byId(section), template.content);
  // An element that has moved has lost it.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

const key = (node) => node.dataset?.key;

// Makes the children of `old` those of `next`, and keeps each element that is in both, with its focus.
function morph(old, next) {
  const kept = new Map();
  for (const child of old.children) if (key(child)) kept.set(key(child), child);
  let at = old.firstChild;
  for (const wanted of [...next.childNodes]) {
    const known = kept.get(key(wanted));
    if (known) {
      if (known === at) at = at.nextSibling;
      else old.insertBefore(known, at);
      kept.delete(key(wanted));
      update(known, wanted);
    } else if (at && !key(at) && !key(wanted) && at.nodeName === wanted.nodeName) {
      const same = at;
      at = at.nextSibling;
      update(same, wanted);
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
    time.textContent = day + date.toLocaleTimeString();
    time.title = date.toLocaleString();
  }
}

// -- events ------------------------------------------------------------------------------------

function liveness(state, text) {
  live.dataset.state = state;
  if (live.textContent !== text) live.textContent = text;
}

function connect() {
  feed?.close();
  clearTimeout(again);
  if (document.hidden) return;
  source.search = location.search;
  feed = new EventSource(source);
  feed.onopen = () => {
    clearTimeout(lost);
    lost = 0;
  };
  feed.onmessage = (event) => {
    for (const [section, html] of Object.entries(JSON.parse(event.data))) show(section, html);
    localize(document.body);
    if (isPaused) disconnect();
    else liveness("on", "live");
  };
  // The server ends each stream after a while, and the browser connects again at once.
  feed.onerror = () => {
    lost ||= setTimeout(() => liveness("lost", "not connected, trying again"), 2000);
    clearTimeout(again);
    if (feed.readyState === EventSource.CLOSED) again = setTimeout(() => isPaused || connect(), 2000);
  };
}

function disconnect() {
  feed?.close();
  clearTimeout(again);
  clearTimeout(lost);
  lost = 0;
  liveness("paused", "paused");
}

pause.hidden = false;
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", isPaused);
  pause.textContent = isPaused ? "Go on" : "Pause";
  if (isPaused) disconnect();
  else connect();
});

// A hidden page needs no events.
document.addEventListener("visibilitychange", () => {
  if (isPaused) return;
  if (document.hidden) disconnect();
  else connect();
});

// -- links and buttons -------------------------------------------------------------------------

// Links to another view of this page change it in place.
document.querySelector("main").addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='?']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href") === "?" ? location.pathname : link.href);
  connect();
});
addEventListener("popstate", connect);

document.querySelector("main").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  button.disabled = true;
  const body = new URLSearchParams([[button.name, button.value]]);
  try {
    const headers = { "x-dashboard-script": "" };
    const response = await fetch(location.href, { method: "POST", headers, body, redirect: "manual" });
    if (response.status === 204) {
      button.textContent = "Will run again";
      return;
    }
    const isRedirect = response.type === "opaqueredirect";
    button.textContent = isRedirect ? "Reload the page to log in" : (await response.text()).trim();
  } catch {
    button.textContent = "The service cannot be reached";
  }
  button.disabled = false;
});

localize(document.body);
connect();
