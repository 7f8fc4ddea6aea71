// What every page has: light or dark, forms that remember, and the parts that some pages need.

const root = document.documentElement;
const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private windows */ } };

const theme = stored("theme");
if (theme) root.dataset.theme = theme;
const button = document.querySelector(".theme");
button.hidden = false;
button.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  store("theme", root.dataset.theme);
  document.dispatchEvent(new Event("themechange"));
});

// On a phone the pages' names do not fit: the one that is open is brought into view.
const pages = document.querySelector(".top nav");
const current = pages?.querySelector("[aria-current]");
if (current) document.fonts.ready.then(() => {
  pages.scrollLeft = current.offsetLeft - pages.offsetLeft - (pages.clientWidth - current.clientWidth) / 2;
});

for (const input of document.querySelectorAll("[data-remember]")) {
  const key = `remember-${input.dataset.remember}`;
  input.value ||= stored(key) ?? "";
  input.addEventListener("change", () => {
    store(key, input.value);
    for (const other of document.querySelectorAll(`[data-remember="${input.dataset.remember}"]`)) other.value = input.value;
  });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, [contenteditable], canvas");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const field = document.querySelector(".search input");
    if (field) { event.preventDefault(); field.focus(); }
  }
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel=${rel}]`);
  if (link) location.href = link.href;
});

// An element that a module makes alive names it: data-module="map" is map.js. It comes after the page, and data-alive says when.
for (const element of document.querySelectorAll("[data-module]")) {
  const name = element.dataset.module;
  const wake = async (module) => { await module(element); element.dataset.alive = ""; };
  import(`./${name}.js`).then((loaded) => wake(loaded.default));
}
