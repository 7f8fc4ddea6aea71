// The edit page answers at once: every tick, image and word is sent, and the newest answer is shown.

export default function edit(form) {
  const answers = form.querySelector("[data-answers]"), frame = form.querySelector("[data-image]");
  const held = form.elements.held, support = form.querySelector("[data-support]");
  let newest = 0;

  const create = (kind, properties, ...inside) => {
    const element = Object.assign(document.createElement(kind), properties);
    element.append(...inside);
    return element;
  };
  const percent = (share) => `${(share * 100).toFixed(1)} %`;
  const cell = (kind, text, name = "") => create(kind, { className: name }, text);

  function table(found) {
    const top = found.answers.reduce((best, one) => (one.before > best.before ? one : best), found.answers[0]);
    const head = create("tr", {}, cell("th", "concept"), cell("th", "before", "n"), cell("th", "after", "n"));
    const rows = found.answers.map((one, place) => {
      const link = create("a", { href: one.path }, one.concept);
      // The answer, after; another one than before is what the page is for.
      const name = cell("td", place === 0 ? create("strong", {}, link) : link);
      if (place === 0 && one !== top) name.append(" ", create("small", { className: "changed" }, `instead of ${top.concept}`));
      return create("tr", {}, name, cell("td", percent(one.before), "n"), cell("td", percent(one.after), "n"));
    });
    return create("table", {}, create("thead", {}, head), create("tbody", {}, ...rows));
  }

  function row(neuron, checked, note) {
    const box = create("input", { type: "checkbox", name: "unit", value: neuron.address, checked });
    const image = create("img", { src: neuron.image, alt: "", width: 40, height: 40 });
    const called = create("span", {}, neuron.heading || "no concept", note ? " " : "", note ? create("small", {}, note) : "");
    return create("li", {}, create("label", {}, box, " ", image, " ", called), " ", create("a", { href: neuron.path }, create("small", {}, neuron.address)));
  }

  // Lists are drawn again with a new image or word only, so that nothing moves under the pointer.
  function layOut(found) {
    support.hidden = !found.support.length;
    support.querySelector("ul").replaceChildren(...found.support.map((one) => row(one.neuron, false, `alone off: ${percent(one.without)}`)));
    form.querySelector("[data-units]").replaceChildren(...found.units.map((one) => row(one.neuron, one.edited)));
    form.querySelector("[data-listed]").replaceChildren(
      ...found.units.map((one) => create("input", { type: "hidden", name: "listed", value: one.neuron.address })));
    form.querySelector("[data-list-title]").textContent = "In the list";
  }

  function show(found, fresh) {
    const note = found.control === null ? "Nothing is ticked."
      : `Control: with as many random neurons instead, the first answer keeps ${percent(found.control)}.`;
    answers.replaceChildren(table(found), create("p", { className: "note" }, note));
    held.value = found.held;
    const image = frame.querySelector("img") ?? frame.appendChild(Object.assign(new Image(320, 320), { alt: "The image as the model sees it" }));
    image.src = found.image;
    if (fresh) layOut(found);
  }

  async function send(fresh) {
    const data = new FormData(form), mine = ++newest;
    data.delete("more");
    // What was sent before is not sent again.
    if (fresh !== "image") data.delete("image");
    if (fresh !== "file") data.delete("file");
    if (!["image", "file"].includes(fresh) && !held.value) return;
    answers.setAttribute("aria-busy", "true");
    const answer = await fetch(form.dataset.json, { method: "POST", body: data, headers: { Accept: "application/json" } });
    const found = await answer.json();
    if (mine !== newest) return;
    answers.removeAttribute("aria-busy");
    if (answer.ok) { show(found, fresh); return; }
    answers.replaceChildren(create("p", { className: "none" }, found.error.message));
  }

  form.addEventListener("change", (event) => {
    const name = event.target.name;
    if (name === "more") return;
    if (name === "file") for (const one of form.querySelectorAll("[name=image]")) one.checked = false;
    if (name === "image") form.elements.file.value = "";
    send(["image", "file", "label"].includes(name) ? name : "");
  });
}
