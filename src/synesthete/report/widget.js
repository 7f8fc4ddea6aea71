// Goes through the neurons of an atlas in a notebook: a search, what it found, and the card of the neuron that is chosen.
// The state is Python's (widget.py): this shows it, and sends back a query or an address.

function make(name, properties = {}, parent = null) {
  const element = Object.assign(document.createElement(name), properties);
  if (parent) parent.append(element);
  return element;
}

function send(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

function render({ model, el }) {
  const root = make("div", { className: "synesthete-browse" }, el);
  const form = make("form", {}, root);
  const label = make("label", { textContent: "Concept or name " }, form);
  const query = make("input", { type: "search", value: model.get("query") }, label);
  make("button", { type: "submit", textContent: "Find" }, form);
  const status = make("p", {}, root);
  status.setAttribute("role", "status");
  const list = make("ul", {}, root);
  const card = make("img", {}, root);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(model, "query", query.value);
  });

  const drawList = () => {
    const chosen = model.get("address");
    list.replaceChildren();
    for (const neuron of model.get("found")) {
      const button = make("button", { type: "button" }, make("li", {}, list));
      make("strong", { textContent: neuron.heading }, button);
      make("span", { textContent: ` ${neuron.address}` }, button);
      button.setAttribute("aria-pressed", String(neuron.address === chosen));
      button.addEventListener("click", () => send(model, "address", neuron.address));
    }
  };
  const drawCard = () => {
    card.src = model.get("card");
    card.alt = model.get("title");
  };
  const drawMessage = () => {
    status.textContent = model.get("message");
  };

  const draws = [
    ["change:found", drawList],
    ["change:address", drawList],
    ["change:card", drawCard],
    ["change:message", drawMessage],
  ];
  for (const [event, draw] of draws) {
    draw();
    model.on(event, draw);
  }
  return () => draws.forEach(([event, draw]) => model.off(event, draw));
}

export default { render };
