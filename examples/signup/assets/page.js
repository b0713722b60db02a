"use strict";

// The page works without this script: the form submits itself, and a reload shows the state of
// the mails. The script keeps the page in place, and shows every change as it happens.

const byId = (id) => document.getElementById(id);
const list = byId("signups");
const shown = new Map(); // what the server last sent of each row, by the row's id

// -- rows ------------------------------------------------------------------------------------

const number = (row) => Number(row.id.slice("signup-".length));

// The HTML comes from the page's own template, which escapes user input.
function show(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const row = template.content.firstElementChild;
  const old = byId(row.id);
  if (shown.get(row.id) === html) return;
  shown.set(row.id, html);
  prepare(row);
  if (old) {
    if (old.dataset.mail !== row.dataset.mail) announce(row);
    old.replaceWith(row);
    return;
  }
  row.classList.add("new");
  const later = [...list.children].find((other) => number(other) < number(row));
  list.insertBefore(row, later ?? null);
  while (list.children.length > 50) {
    shown.delete(list.lastElementChild.id);
    list.lastElementChild.remove();
  }
}

function prepare(row) {
  const time = row.querySelector("time");
  const date = new Date(time.dateTime);
  time.textContent = date.toDateString() === new Date().toDateString()
    ? date.toLocaleTimeString()
    : date.toLocaleDateString();
  // Counted from when the row arrived, because the clocks of server and browser may differ.
  const clock = row.querySelector(".clock");
  if (clock) clock.since = performance.now() - Number(clock.dataset.ms);
}

function announce(row) {
  const name = row.querySelector(".name").textContent;
  if (row.dataset.mail === "sent") byId("news").textContent = `The mail to ${name} was sent.`;
  if (row.dataset.mail === "given-up") byId("news").textContent = `The mail to ${name} could not be sent.`;
}

setInterval(() => {
  for (const clock of list.querySelectorAll(".clock")) {
    const seconds = (performance.now() - clock.since) / 1000;
    clock.textContent = `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  }
}, 100);

for (const row of list.children) prepare(row);

// -- live feed -------------------------------------------------------------------------------

const live = byId("live");

function liveness(state, text) {
  live.hidden = false;
  live.dataset.state = state;
  live.textContent = text;
}

const feed = new EventSource("/events");
feed.onopen = () => liveness("on", "live");
feed.onerror = () => liveness("lost", "not connected, trying again");
feed.onmessage = (event) => show(JSON.parse(event.data));

// -- form ------------------------------------------------------------------------------------

const form = byId("form");
const button = form.querySelector("button");

function tellMistakes(mistakes) {
  for (const field of ["name", "email", "form"]) {
    const mistake = mistakes.find((mistake) => (mistake.field ?? "form") === field);
    byId(`${field}-mistake`).textContent = mistake?.message ?? "";
    if (field !== "form") {
      if (mistake) byId(field).setAttribute("aria-invalid", "true");
      else byId(field).removeAttribute("aria-invalid");
    }
  }
  const first = mistakes.find((mistake) => mistake.field);
  if (first) byId(first.field).focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  byId("answer").textContent = "";
  tellMistakes([]);
  const name = form.elements.name.value;
  try {
    const begun = performance.now();
    const response = await fetch(form.action, {
      method: "POST",
      headers: { accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    const waited = Math.max(1, Math.round(performance.now() - begun));
    if (response.ok) {
      byId("answer").textContent = `Welcome, ${name.trim()}. Your browser waited ${waited} ms for this answer.`;
      form.reset();
      byId("name").focus();
    } else if (response.headers.get("content-type")?.startsWith("application/json")) {
      tellMistakes((await response.json()).errors);
    } else {
      tellMistakes([{ field: null, message: await response.text() }]);
    }
  } catch {
    tellMistakes([{ field: null, message: "The service cannot be reached. Please try again." }]);
  } finally {
    button.ariaDisabled = null;
  }
});
