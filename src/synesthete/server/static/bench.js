// The edit bench answers at once: every tick, picture and word is sent, and the newest answer is shown.

export default function bench(form) {
  const answers = form.querySelector("[data-answers]"), frame = form.querySelector("[data-picture]");
  const held = form.elements.held, leaning = form.querySelector("[data-leaning]");
  let newest = 0;

  const made = (kind, properties, ...inside) => {
    const element = Object.assign(document.createElement(kind), properties);
    element.append(...inside);
    return element;
  };
  const percent = (share) => `${(share * 100).toFixed(1)} %`;
  const cell = (kind, text, name = "") => made(kind, { className: name }, text);

  function table(found) {
    const top = found.answers.reduce((best, one) => (one.before > best.before ? one : best), found.answers[0]);
    const head = made("tr", {}, cell("th", "concept"), cell("th", "before", "n"), cell("th", "after", "n"));
    const rows = found.answers.map((one, place) => {
      const link = made("a", { href: one.path }, one.concept);
      // The answer, after; another one than before is what the bench is for.
      const name = cell("td", place === 0 ? made("strong", {}, link) : link);
      if (place === 0 && one !== top) name.append(" ", made("small", { className: "changed" }, `instead of ${top.concept}`));
      return made("tr", {}, name, cell("td", percent(one.before), "n"), cell("td", percent(one.after), "n"));
    });
    return made("table", {}, made("thead", {}, head), made("tbody", {}, ...rows));
  }

  function row(neuron, checked, note) {
    const box = made("input", { type: "checkbox", name: "unit", value: neuron.address, checked });
    const image = made("img", { src: neuron.picture, alt: "", width: 40, height: 40 });
    const called = made("span", {}, neuron.called || "no concept", note ? " " : "", note ? made("small", {}, note) : "");
    return made("li", {}, made("label", {}, box, " ", image, " ", called), " ", made("a", { href: neuron.path }, made("small", {}, neuron.address)));
  }

  // Lists are laid out anew with a new picture or word only, so that nothing moves under the pointer.
  function layOut(found) {
    leaning.hidden = !found.leaning.length;
    leaning.querySelector("ul").replaceChildren(...found.leaning.map((one) => row(one.neuron, false, `alone off: ${percent(one.without)}`)));
    form.querySelector("[data-units]").replaceChildren(...found.units.map((one) => row(one.neuron, one.edited)));
    form.querySelector("[data-listed]").replaceChildren(
      ...found.units.map((one) => made("input", { type: "hidden", name: "listed", value: one.neuron.address })));
    form.querySelector("[data-laid]").textContent = "On the bench";
  }

  function show(found, fresh) {
    const note = found.control === null ? "Nothing is ticked."
      : `Control: with as many random neurons instead, the first answer keeps ${percent(found.control)}.`;
    answers.replaceChildren(table(found), made("p", { className: "note" }, note));
    held.value = found.held;
    const image = frame.querySelector("img") ?? frame.appendChild(Object.assign(new Image(320, 320), { alt: "The picture as the model sees it" }));
    image.src = found.picture;
    if (fresh) layOut(found);
  }

  async function send(fresh) {
    const data = new FormData(form), mine = ++newest;
    data.delete("more");
    // What is on the bench already is not sent again.
    if (fresh !== "image") data.delete("image");
    if (fresh !== "picture") data.delete("picture");
    if (!["image", "picture"].includes(fresh) && !held.value) return;
    answers.setAttribute("aria-busy", "true");
    const answer = await fetch(form.dataset.twin, { method: "POST", body: data, headers: { Accept: "application/json" } });
    const found = await answer.json();
    if (mine !== newest) return;
    answers.removeAttribute("aria-busy");
    if (answer.ok) { show(found, fresh); return; }
    answers.replaceChildren(made("p", { className: "none" }, found.error.message));
  }

  form.addEventListener("change", (event) => {
    const name = event.target.name;
    if (name === "more") return;
    if (name === "picture") for (const one of form.querySelectorAll("[name=image]")) one.checked = false;
    if (name === "image") form.elements.picture.value = "";
    send(["image", "picture", "label"].includes(name) ? name : "");
  });
}
