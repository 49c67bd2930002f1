// A page whose form starts some seconds of work, until the next page is made: asks how many rows are done, and
// shows it.
"use strict";
(function () {
  const form = document.querySelector("form[data-progress]");
  const shown = document.getElementById("progress"), bar = document.getElementById("progress-bar");
  const told = document.getElementById("progress-told");
  const EVERY_MS = 500;
  // A second click of one person. Shorter, and a slow double click sends the form twice; longer, and somebody who
  // stopped the sending (Esc) waits so long until the button works again.
  const ONE_CLICK_MS = 3000;
  let sentAt = -Infinity;

  async function ask() {
    try {
      const answer = await fetch(form.dataset.progress, { headers: { Accept: "application/json" } });
      const work = answer.ok ? await answer.json() : {};
      if (work.told) {  // nothing before the work begins: a bar without an end until then
        bar.max = Math.max(work.whole, 1);
        bar.value = work.done;
        told.textContent = work.told;
      }
    } catch {
      // The next page has come, or the server was busy: asked again if this page is still there.
    }
    setTimeout(ask, EVERY_MS);
  }

  form.addEventListener("submit", (sent) => {
    if (Date.now() - sentAt < ONE_CLICK_MS) {
      sent.preventDefault();
      return;
    }
    sentAt = Date.now();
    if (shown.hidden) setTimeout(ask, EVERY_MS);  // once: it asks on by itself
    shown.hidden = false;
  });
  // Somebody who comes back finds the page as it was before.
  addEventListener("pageshow", (came) => { if (came.persisted) location.reload(); });
})();
