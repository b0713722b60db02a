"use strict";

// What a button does is asked for in a dialog, and what came of it is said, without leaving the page. Without this script a
// button leads to a page that asks.

const dialog = document.getElementById("ask");
const said = document.getElementById("said");

document.querySelector("main").addEventListener("submit", async (event) => {
  const form = event.target.closest("form.act");
  if (!form) {
    if (event.target.id === "filter") event.preventDefault();
    return;
  }
  event.preventDefault();
  const button = event.submitter;
  // Before the button is disabled, which would leave it out.
  const body = new URLSearchParams(new FormData(form, button));
  if (!(await agrees(form.dataset.question, button.textContent))) return;
  button.disabled = true;
  const { is_done, text } = await post(body);
  button.disabled = false;
  said.dataset.state = is_done ? "done" : "failed";
  said.textContent = text;
  // The button may be gone soon, with what it was for. It keeps the focus until then.
  if (button.isConnected) button.focus();
});

// Asks, and returns whether the answer is yes. The dialog gives the focus back to the button.
function agrees(question, yes) {
  dialog.querySelector("p").textContent = question;
  dialog.querySelector("[value=yes]").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function post(body) {
  try {
    const headers = { "x-dashboard-script": "" };
    const answer = await fetch(location.pathname, { method: "POST", headers, body, redirect: "manual" });
    const is_ours = answer.headers.get("content-type")?.startsWith("text/plain");
    if (answer.type === "opaqueredirect" || answer.status === 401 || !is_ours) {
      return { is_done: false, text: "Nothing was done: your login may have expired. Reload the page." };
    }
    return { is_done: answer.ok, text: (await answer.text()).trim() };
  } catch {
    return { is_done: false, text: "The service cannot be reached. It may have been done or not." };
  }
}
