// The edit bench answers at once: every tick, picture and word is sent, and the newest answer is shown.

export default function bench(form) {
  const answers = form.querySelector("[data-answers]"), frame = form.querySelector("[data-picture]");
  const held = form.elements.held;
  let newest = 0;

  const percent = (share) => `${(share * 100).toFixed(1)} %`;
  const cell = (text, kind) => Object.assign(document.createElement("td"), { textContent: text, className: kind ?? "" });

  function table(found) {
    const made = document.createElement("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    for (const [text, kind] of [["concept", ""], ["before", "n"], ["after", "n"]]) {
      head.append(Object.assign(document.createElement("th"), { textContent: text, className: kind }));
    }
    for (const one of found.answers) {
      const row = body.insertRow(), link = Object.assign(document.createElement("a"), { textContent: one.concept, href: one.path });
      row.append(cell(""), cell(percent(one.before), "n"), cell(percent(one.after), "n"));
      row.firstChild.append(link);
    }
    return made;
  }

  function show(found) {
    const note = Object.assign(document.createElement("p"), { className: "note" });
    note.textContent = found.control === null ? "Nothing is ticked."
      : `Control: with as many random neurons instead, the first answer keeps ${percent(found.control)}.`;
    answers.replaceChildren(table(found), note);
    held.value = found.held;
    const image = frame.querySelector("img") ?? frame.appendChild(Object.assign(new Image(320, 320), { alt: "The picture as the model sees it" }));
    image.src = found.picture;
  }

  async function send(fresh) {
    const data = new FormData(form), mine = ++newest;
    data.delete("more");
    // What is on the bench already is not sent again.
    if (fresh !== "image") data.delete("image");
    if (fresh !== "picture") data.delete("picture");
    if (!fresh && !held.value) return;
    answers.setAttribute("aria-busy", "true");
    const answer = await fetch(form.dataset.twin, { method: "POST", body: data, headers: { Accept: "application/json" } });
    const found = await answer.json();
    if (mine !== newest) return;
    answers.removeAttribute("aria-busy");
    if (answer.ok) { show(found); return; }
    answers.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: found.error.message }));
  }

  form.addEventListener("change", (event) => {
    const name = event.target.name;
    if (name === "more") return;
    if (name === "picture") for (const one of form.querySelectorAll("[name=image]")) one.checked = false;
    if (name === "image") form.elements.picture.value = "";
    send(["image", "picture"].includes(name) ? name : "");
  });
}
