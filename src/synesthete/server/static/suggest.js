// Type-ahead of a search field: neurons, concepts and families that are called so far what was typed; arrows choose, Enter opens, Escape closes.

let number = 0;
// What a neuron may have been found by.
const names = (one) => [one.called, one.heading, one.name, one.concept];

export default function suggest(form) {
  const field = form.querySelector("input[name=q]"), list = document.createElement("div"), url = `${form.getAttribute("action")}.json`;
  let options = [], active = -1, last = "", waiting = 0;
  number += 1;
  list.id = `suggestions-${number}`; list.className = "suggestions"; list.hidden = true;
  list.setAttribute("role", "listbox"); list.setAttribute("aria-label", "Suggestions");
  form.append(list);
  for (const [key, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id })) field.setAttribute(key, value);

  function close() {
    list.hidden = true; active = -1;
    field.setAttribute("aria-expanded", "false"); field.removeAttribute("aria-activedescendant");
  }

  function mark(place) {
    active = place;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === active)));
    if (active < 0) field.removeAttribute("aria-activedescendant"); else field.setAttribute("aria-activedescendant", list.children[active].id);
  }

  function show(found) {
    options = [
      ...found.neurons.map((one) => ({ text: names(one).find((name) => name?.toLowerCase().includes(last.toLowerCase())) ?? (one.heading || "no concept"), kind: one.address, path: one.path, image: one.image })),
      ...found.concepts.slice(0, 3).map((one) => ({ text: one.name, kind: "concept", path: one.path })),
      ...found.families.slice(0, 2).map((one) => ({ text: one.name, kind: "family", path: one.path })),
    ];
    list.replaceChildren(...options.map(({ text, kind, image }, i) => {
      const option = document.createElement("div"), name = document.createElement("span"), small = document.createElement("small");
      option.id = `${list.id}-${i}`; option.setAttribute("role", "option"); option.setAttribute("aria-selected", "false");
      if (image) option.append(Object.assign(document.createElement("img"), { src: image, alt: "", width: 32, height: 32 }));
      name.textContent = text; small.textContent = kind;
      option.append(name, small);
      // Before the field loses the focus, which closes the list.
      option.addEventListener("pointerdown", (event) => { event.preventDefault(); location.href = options[i].path; });
      return option;
    }));
    if (!options.length || document.activeElement !== field) { close(); return; }
    list.hidden = false; active = -1;
    field.setAttribute("aria-expanded", "true");
  }

  field.addEventListener("input", () => {
    clearTimeout(waiting);
    const wanted = last = field.value.trim();
    if (!wanted) { close(); return; }
    waiting = setTimeout(async () => {
      try {
        const response = await fetch(`${url}?${new URLSearchParams({ q: wanted, limit: 6 })}`);
        // What was typed meanwhile has its own answer.
        if (response.ok && wanted === last) show(await response.json());
      } catch { close(); }
    }, 80);
  });
  field.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      // Before the first and behind the last is the field itself.
      const places = options.length + 1;
      mark(((active + 1 + step + places) % places) - 1);
    }
    if (event.key === "Escape") { event.preventDefault(); close(); }
    if (event.key === "Enter" && active >= 0) { event.preventDefault(); location.href = options[active].path; }
  });
  field.addEventListener("blur", close);
}
