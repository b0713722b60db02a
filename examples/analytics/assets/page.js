"use strict";

// The page works without this script, which only generates traffic and updates the counts.

const traffic = document.getElementById("traffic");
const button = traffic.querySelector("button");
const status = traffic.querySelector("[role=status]");
const counts = document.getElementById("counts"); // on the page with the statistics
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const any = (choices) => choices[Math.floor(Math.random() * choices.length)];

const visits = [
  ...Array(8).fill(() => fetch(`/hello/${any(["ada", "grace", "linus", "<b>"])}`)),
  ...Array(8).fill(() => fetch(`/search?q=${any(["tea", "green tea", "a very dark chocolate", "x"])}`)),
  ...Array(3).fill(() => fetch("/download")),
  ...Array(3).fill(() => fetch("/basket", { method: "POST" })),
  ...Array(2).fill(() => fetch("/teapot")),
  () => fetch("/search"), // without a word: 400
  () => fetch("/nowhere"),
  () => fetch("/broken"),
  () => fetch("/countdown"),
  () => fetch("/countdown", { signal: AbortSignal.timeout(350) }), // the visitor leaves
];

async function makeTraffic(total) {
  let begun = 0;
  const visitor = async () => {
    while (begun < total) {
      status.textContent = `${++begun} of ${total} requests`;
      try {
        await (await any(visits)()).arrayBuffer();
      } catch {
        // Some of these requests are aborted on purpose.
      }
    }
  };
  await Promise.all(Array.from({ length: 5 }, visitor));
  status.textContent = `${total} requests made`;
}

async function showCounts() {
  const html = await (await fetch(location.href)).text();
  const page = new DOMParser().parseFromString(html, "text/html");
  counts.replaceChildren(...page.getElementById("counts").childNodes);
}

button.addEventListener("click", async () => {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true"; // not `disabled`, which would drop the focus
  let busy = makeTraffic(100).then(() => { busy = null; });
  try {
    while (busy) {
      await Promise.race([busy, sleep(1000)]);
      if (counts) await showCounts();
    }
    await sleep(300); // the last jobs are behind the last responses
    if (counts) await showCounts();
  } catch {
    status.textContent = "The site does not answer.";
  }
  button.ariaDisabled = "false";
});

traffic.hidden = false;
