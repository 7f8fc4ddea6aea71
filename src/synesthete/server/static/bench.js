// A word on a photo: each letter is answered by the model, and switching a neuron off swings the answer at once.

import share from "./share.js";

const WAIT = 120, SLOW = 400; // milliseconds after the last letter; until the page says that the model is being loaded

export default function bench(form) {
  const part = (name) => form.querySelector(`[data-${name}]`);
  const json = form.dataset.json, word = form.elements.word, key = form.elements.image;
  const heading = form.dataset.page ? document.querySelector("h1") : null, site = document.title.split(" · ").pop();
  let state = JSON.parse(part("state").textContent), timer = 0, ready = false, asking = false, again = false;

  const create = (kind, properties, ...inside) => {
    const element = Object.assign(document.createElement(kind), properties);
    element.append(...inside);
    return element;
  };
  const percent = (share) => `${Math.round(share * 100)} %`;
  const boxes = () => [...form.querySelectorAll("[name=off]")];
  const mask = () => boxes().reduce((bits, box, place) => bits | (box.checked << place), 0);

  function bar(one) {
    const meter = (name, value, label) => create("progress", { className: name, max: 1, value, ariaLabel: `${one.label} ${label}` });
    return create("li", {}, create("span", {}, one.label), create("b"), meter("", 0, "now"),
      meter("plain", one.plain, "without the word"), create("small", {}, `without the word ${percent(one.plain)}`));
  }

  function unit(one) {
    const box = create("input", { type: "checkbox", name: "off", value: one.neuron.address, checked: one.off });
    const image = create("img", { src: one.neuron.image, alt: "", width: 192, height: 192 });
    const label = create("label", {}, image, create("span", { className: "bench-name" }, one.neuron.heading || "no concept"), " ",
      create("small", {}, `${percent(one.alone)} without it alone`), " ", create("span", { className: "switch" }, box, " switch off"));
    return create("li", {}, label, " ", create("a", { href: one.neuron.path }, create("small", {}, one.neuron.address)));
  }

  // What follows from the neurons that are off; nothing is asked of the server.
  function swing() {
    if (!state.bars.length) return;
    const bits = mask(), off = boxes().filter((box) => box.checked).length;
    part("says").textContent = state.answers[bits];
    part("now").textContent = `${state.answers[bits]}; ${state.bars[0].label} ${percent(state.bars[0].without[bits])}`;
    part("says").classList.toggle("turned", state.answers[bits] !== state.bars[0].label);
    [...part("bars").children].forEach((row, place) => {
      const share = state.bars[place].without[bits];
      row.querySelector("b").textContent = percent(share);
      row.querySelector("progress").value = share;
    });
    if (state.control.length) {
      part("control").textContent = percent(state.control[Math.max(off, 1) - 1]);
      part("control-note").textContent = off > 1 ? `with ${off} random neurons` : "with a random neuron";
      part("draws").textContent = state.draws;
    }
  }

  // The address and the card hold the state; another photo is another page.
  function address(move = "replaceState") {
    if (!json) return;
    const query = new URLSearchParams([["image", key.value], ["word", state.word]]);
    for (const box of boxes()) if (box.checked) query.append("off", box.value);
    history[move](null, "", `${form.getAttribute("action")}?${query}`);
    part("card").href = `${form.getAttribute("action")}.png?${query}`;
  }

  function show(found, move) {
    const same = found.bars.map((one) => one.label).join("\n") === state.bars.map((one) => one.label).join("\n");
    state = found;
    if (same) [...part("bars").children].forEach((row, place) => {
      row.querySelector(".plain").value = found.bars[place].plain;
      row.querySelector("small").textContent = `without the word ${percent(found.bars[place].plain)}`;
    });
    else part("bars").replaceChildren(...found.bars.map(bar));
    part("units").replaceChildren(...found.units.map(unit));
    part("carry").hidden = !found.units.length;
    part("card").hidden = false;
    part("photo").src = found.photo;
    part("photo").alt = found.alt + (found.word ? `; on it a label: ${found.word}` : "");
    for (const link of form.querySelectorAll("[data-key]")) link.ariaCurrent = link.dataset.key === found.key ? "true" : null;
    part("status").textContent = found.computed === "before" ? "An example, computed when the atlas was recorded." : "";
    // Only now, so that the bars swing from where they were.
    requestAnimationFrame(swing);
    if (heading) {
      heading.textContent = found.title;
      document.title = `${found.title} · ${site}`;
    }
    address(move);
  }

  // One question at a time; what was typed meanwhile is asked next.
  async function load(move) {
    if (asking) { again = true; return; }
    asking = true;
    again = false;
    const query = new URLSearchParams({ image: key.value, word: word.value });
    const slow = setTimeout(() => { part("status").textContent = ready ? "Computing …" : "The model is being loaded; the first answer takes a few seconds."; }, SLOW);
    form.setAttribute("aria-busy", "true");
    const failed = (message) => { part("status").textContent = `${message}${state.word ? ` What is shown is “${state.word}”.` : ""}`; };
    try {
      const answer = await fetch(`${json}?${query}`, { headers: { Accept: "application/json" } });
      const found = await answer.json().catch(() => ({ error: { message: "The server failed at this; its log says why." } }));
      ready ||= answer.ok && found.computed === "now";
      clearTimeout(slow);
      if (again) return;
      if (answer.ok) show(found, move);
      else failed(found.error.message);
    } catch {
      failed("The server does not answer.");
    } finally {
      clearTimeout(slow);
      form.removeAttribute("aria-busy");
      asking = false;
      if (again) load(move);
    }
  }

  const soon = () => { clearTimeout(timer); timer = setTimeout(() => load(), WAIT); };
  form.addEventListener("input", (event) => { if (json && event.target === word) soon(); });
  // The model is loaded while the first letters are typed: the photo without a word asks for it.
  if (json) word.addEventListener("focus", () => {
    if (!ready) fetch(`${json}?${new URLSearchParams({ image: key.value, word: "" })}`).then((answer) => { ready ||= answer.ok; }, () => {});
  }, { once: true });
  form.addEventListener("change", (event) => { if (event.target.name === "off") { swing(); address(); } });
  form.addEventListener("submit", (event) => { event.preventDefault(); if (json) soon(); });
  if (json) form.addEventListener("click", (event) => {
    const link = event.target.closest("[data-key]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    key.value = link.dataset.key;
    word.value = link.dataset.word || word.value;
    load("pushState");
  });
  addEventListener("popstate", () => location.reload());
  share(form); // the address holds the state
  swing();
}
