"use strict";

const [form, list, section, bar, status, cancel] =
  ["form", "list", "import", "bar", "status", "cancel"].map((id) => document.getElementById(id));

const words = {
  pending: "Waits for its turn.",
  running: "Runs.",
  succeeded: "Done.",
  failed: "Failed.",
  cancelled: "Cancelled.",
  abandoned: "The service was stopped before the end.",
};

let events;

/// Shows the progress of an import until it ends.
function follow(id) {
  events?.close();
  section.hidden = false;
  section.dataset.id = id;
  bar.removeAttribute("value");
  cancel.disabled = false;
  status.textContent = words.pending;
  events = new EventSource(`imports/${id}/progress`);
  events.onmessage = ({ data }) => {
    const { status: word, progress, final } = JSON.parse(data);
    section.dataset.status = word;
    if (progress) {
      bar.max = progress.of;
      bar.value = progress.done;
      const refused = progress.refused ? `, ${progress.refused} refused` : "";
      section.dataset.progress = status.textContent = `${progress.done} of ${progress.of} lines${refused}`;
    } else {
      const last = final && section.dataset.progress ? ` ${section.dataset.progress}.` : "";
      status.textContent = (words[word] ?? word) + last;
    }
    if (final) {
      // Otherwise the browser would reconnect.
      events.close();
      cancel.disabled = true;
    }
  };
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) {
      status.textContent = "Nothing is known of this import any more.";
      cancel.disabled = true;
    }
  };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  delete section.dataset.progress;
  const answer = await fetch("imports", { method: "POST", body: list.value });
  const id = await answer.json();
  // A reload shows the import again.
  location.hash = id;
  follow(id);
});

cancel.addEventListener("click", async () => {
  cancel.disabled = true;
  await fetch(`imports/${section.dataset.id}`, { method: "DELETE" });
});

if (location.hash.length > 1) {
  follow(location.hash.slice(1));
}
