// Search in a site without a server: an index of all neurons, concepts and families, filtered as one types.

export default function search(place) {
  const field = document.querySelector("main input[name=q]");
  const index = window.synestheteIndex ?? [];
  const list = document.createElement("ul");
  list.className = "found";
  list.setAttribute("aria-live", "polite");
  place.append(list);
  field.form.addEventListener("submit", (event) => event.preventDefault());

  function show() {
    const wanted = field.value.trim().toLowerCase();
    list.replaceChildren();
    if (!wanted) return;
    const rank = (one) => { const at = one.text.toLowerCase().indexOf(wanted); return at < 0 ? 9 : one.text.toLowerCase() === wanted ? 0 : at === 0 ? 1 : 2; };
    const found = index.map((one) => [rank(one), one]).filter(([r]) => r < 9).sort((a, b) => a[0] - b[0] || a[1].order - b[1].order).slice(0, 60);
    for (const [, one] of found) {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = one.path; link.textContent = one.label;
      if (one.image) link.prepend(Object.assign(document.createElement("img"), { src: one.image, alt: "", width: 48, height: 48, loading: "lazy" }));
      item.append(link); list.append(item);
    }
    if (!found.length) list.append(Object.assign(document.createElement("li"), { textContent: `Nothing is called “${field.value.trim()}”.` }));
  }

  field.value ||= new URLSearchParams(location.search).get("q") ?? "";
  field.addEventListener("input", show);
  show();
}
