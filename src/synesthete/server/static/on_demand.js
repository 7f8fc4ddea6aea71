// What a page lacks is computed in the background: the form is sent, its bar shows how far it is, and in the end the page is loaded again.

const SECOND = 1000, text = new Intl.NumberFormat("en");

export default function onDemand(form) {
  const bar = form.querySelector("progress"), status = form.querySelector("[role=status]"), button = form.querySelector("button");

  function show(job) {
    const active = job.state === "waiting" || job.state === "running";
    button.disabled = active; bar.hidden = !active;
    if (job.total) { bar.max = job.total; bar.value = job.done; } else bar.removeAttribute("value");
    if (job.state === "waiting") status.textContent = "waiting for another computation";
    else if (job.state === "running") status.textContent = job.total ? `${text.format(job.done)} of ${text.format(job.total)}` : "loading the model";
    else status.textContent = job.message || "The server was started again meanwhile.";
    return active;
  }

  async function answered(path, options) {
    const response = await fetch(`${path}.json`, options), found = await response.json();
    if (!response.ok) throw new Error(found.error.hint ? `${found.error.message} (${found.error.hint})` : found.error.message);
    return found;
  }

  async function follow(first) {
    try {
      // What is there is no longer on demand.
      for (let job = first; ; job = (await answered(form.dataset.page)).on_demand[form.elements.kind.value]) {
        if (!job || job.state === "done") { location.reload(); return; }
        if (!show(job)) return;
        await new Promise((go) => { setTimeout(go, SECOND); });
      }
    } catch (error) { show({ state: "failed", message: error.message }); }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = new FormData(form);
    button.disabled = true;
    try { await follow(await answered(form.getAttribute("action"), { method: "POST", body })); } catch (error) { show({ state: "failed", message: error.message }); }
  });
  if ("active" in form.dataset) follow({ state: "running", done: bar.value, total: bar.hasAttribute("value") ? bar.max : 0 });
}
