"use strict";

// A dialog asks before a button's action, and the result is shown without leaving the page. Without this script, a button leads
// to a page that asks.

const dialog = document.getElementById("ask");
const said = document.getElementById("said");

document.querySelector("main").addEventListener("submit", async (event) => {
  const form = event.target.closest("form.act");
  if (!form) return;
  event.preventDefault();
  const button = event.submitter;
  const section = form.closest("section");
  // Before the button is disabled: a disabled one is not included.
  const body = new URLSearchParams(new FormData(form, button));
  if (!(await agrees(form.dataset.question, button.textContent))) return;
  button.disabled = true;
  const { isDone, text } = await post(body);
  button.disabled = false;
  said.dataset.state = isDone ? "done" : "failed";
  said.textContent = text;
  // Disabling the button took its focus. It may also be gone, together with its row.
  keepFocus(section, button);
});

// Asks, and returns whether the answer is yes. The dialog returns the focus to the button.
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
    const isText = answer.headers.get("content-type")?.startsWith("text/plain");
    // The error of a proxy in front, which does not know what the service did.
    if (answer.status >= 500 && !isText) throw new Error(`status ${answer.status}`);
    if (answer.type === "opaqueredirect" || answer.status === 401 || !isText) {
      return { isDone: false, text: "Nothing was done: your login may have expired. Reload the page." };
    }
    return { isDone: answer.ok, text: (await answer.text()).trim() };
  } catch {
    return { isDone: false, text: "The service cannot be reached. It may have been done or not." };
  }
}
