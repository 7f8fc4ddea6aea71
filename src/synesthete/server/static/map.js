// The map of neurons: dots drawn by WebGL2, or as SVG without it. Move, zoom, search, colour, filter; a dot shows its images and leads to its page.

const COLOURS = ["#0b8a92", "#d97a1e", "#8658c9", "#3273d6", "#c2417c", "#5d8a1f", "#b0452c", "#7a6f00", "#4a7a8c", "#9a5fb0"];
const NONE = "#9a9ba3", MODALITIES = { photo: 0, drawing: 1, symbol: 2, word: 3 }, VERDICTS = [0, 2, 1, -1, -1];
const STEPS = 65535, MARGIN = 24, REACH = 18, DEEPEST = 64, CELLS = 256, NAMED = 40;
const SVG = "http://www.w3.org/2000/svg";

// The columns that `GET /map.bin` gives, or that stand in the page of a static site.
async function read(frame) {
  const held = document.getElementById("points");
  const bytes = held ? Uint8Array.from(atob(held.textContent), (letter) => letter.charCodeAt(0)).buffer
    : await (await fetch(frame.dataset.points)).arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  let at = 4 + length;
  for (const [kind, names] of [[Uint32Array, ["unit", "heading"]], [Uint16Array, ["x", "y", "family", "kind"]], [Uint8Array, ["verdict", "modality"]]]) {
    for (const name of names) { data[name] = new kind(bytes, at, data.count); at += data.count * kind.BYTES_PER_ELEMENT; }
  }
  return data;
}

// By what dots can be coloured: of each dot its category, of each category its name and colour. At most 16 categories.
function waysToColour(data) {
  const own = COLOURS.length;
  // The largest have a colour each.
  const largest = (codes, texts, one, many) => {
    const top = texts.slice(1, own + 1);
    return {
      of: Uint8Array.from(codes, (code) => (code > own ? own : code ? code - 1 : own + 1)),
      names: [...top, ...new Array(own - top.length).fill(""), `${texts.length - 1 - own} smaller ${many}`, `no ${one}`],
      colours: [...COLOURS, "#6d6e78", NONE],
    };
  };
  return {
    family: largest(data.family, data.families, "family", "families"),
    kind: largest(data.kind, data.kinds, "kind", "kinds"),
    verdict: { of: data.verdict, names: data.verdicts, colours: VERDICTS.map((i) => COLOURS[i] ?? NONE) },
    modality: {
      of: Uint8Array.from(data.modality, (code) => Math.min(code, 15)),
      names: ["passes in none", ...data.modalities.slice(0, 15).map((name) => `best as ${name}`)],
      colours: [NONE, ...data.modalities.map((name, i) => COLOURS[MODALITIES[name] ?? 4 + (i % 6)])],
    },
  };
}

// The dots by cells of a grid, so that those of a window are found without looking at all.
function indexed(data) {
  const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
  const of = (i) => (data.y[i] >> 8) * CELLS + (data.x[i] >> 8);
  const start = new Uint32Array(CELLS * CELLS + 1), order = new Uint32Array(data.count);
  for (let i = 0; i < data.count; i += 1) start[of(i) + 1] += 1;
  for (let i = 0; i < CELLS * CELLS; i += 1) start[i + 1] += start[i];
  const next = start.slice();
  for (let i = 0; i < data.count; i += 1) order[next[of(i)]++] = i;
  return {
    // Dots of the cells that a window touches; none where there are more than `most`.
    within(left, top, right, bottom, most) {
      const dots = [], [first, last] = [cell(left), cell(right)];
      for (let row = cell(top); row <= cell(bottom); row += 1) {
        const from = start[row * CELLS + first], to = start[row * CELLS + last + 1];
        if (dots.length + to - from > most) return [];
        for (let place = from; place < to; place += 1) dots.push(order[place]);
      }
      return dots;
    },
  };
}

const VERTEX = `#version 300 es
in float x; in float y; in uint of; in uint mark;
uniform vec2 window, origin; uniform float k, size, ratio; uniform uint shown; uniform vec4 colours[16];
out vec4 colour; flat out vec2 radius;
void main() {
  vec2 at = ${MARGIN}.0 + (vec2(x, y) - origin) * k * (window - ${2 * MARGIN}.0);
  bool seen = ((shown >> of) & 1u) == 1u;
  bool ring = (mark & 1u) == 1u, dim = (mark & 2u) == 2u;
  gl_Position = seen ? vec4(at / window * vec2(2, -2) + vec2(-1, 1), 0, 1) : vec4(2, 2, 2, 1);
  float r = (ring ? size + 1.0 : size) * ratio;
  radius = vec2(r, ring && !dim ? r + 2.0 * ratio : 0.0);
  gl_PointSize = 2.0 * (max(radius.x, radius.y) + ratio);
  colour = colours[of]; colour.a *= dim ? 0.1 : 1.0;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour; flat in vec2 radius; uniform vec4 ink; uniform float ratio; out vec4 pixel;
void main() {
  float d = length(gl_PointCoord - 0.5) * 2.0 * (max(radius.x, radius.y) + ratio);
  float dot = colour.a * (1.0 - smoothstep(radius.x - 0.5, radius.x + 0.5, d));
  float ring = radius.y > 0.0 ? 1.0 - smoothstep(0.5 * ratio, ratio, abs(d - radius.y)) : 0.0;
  float alpha = max(dot, ring);
  if (alpha < 0.01) discard;
  pixel = vec4(mix(colour.rgb, ink.rgb, ring), 1) * alpha;
}`;

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
const multimodal = (data, i) => data.verdict[i] < 2;

// All dots in one call; moving and zooming changes numbers alone. Null where there is no WebGL2.
function withGL(canvas, data) {
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: false });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.BLEND); gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const place = {};
  for (const name of ["window", "origin", "k", "size", "ratio", "shown", "colours", "ink"]) place[name] = gl.getUniformLocation(program, name);
  const column = (name, values, kind) => {
    const at = gl.getAttribLocation(program, name), buffer = gl.createBuffer();
    gl.enableVertexAttribArray(at);
    const fill = (more) => { gl.bindBuffer(gl.ARRAY_BUFFER, buffer); gl.bufferData(gl.ARRAY_BUFFER, more, gl.STATIC_DRAW); };
    fill(values);
    if (kind === gl.UNSIGNED_SHORT) gl.vertexAttribPointer(at, 1, kind, true, 0, 0); else gl.vertexAttribIPointer(at, 1, kind, 0, 0);
    return fill;
  };
  const empty = new Uint8Array(data.count);
  column("x", data.x, gl.UNSIGNED_SHORT); column("y", data.y, gl.UNSIGNED_SHORT);
  const of = column("of", empty, gl.UNSIGNED_BYTE), mark = column("mark", empty, gl.UNSIGNED_BYTE);
  return {
    name: "webgl2",
    resize(wide, high) {
      const ratio = devicePixelRatio || 1;
      canvas.width = wide * ratio; canvas.height = high * ratio;
      gl.viewport(0, 0, canvas.width, canvas.height);
    },
    data(codes, found, searching, colours) {
      of(codes);
      mark(Uint8Array.from(codes, (_, i) => (multimodal(data, i) ? 1 : 0) | (searching && !found[i] ? 2 : 0)));
      const all = new Float32Array(64);
      colours.forEach((one, i) => all.set([...rgb(one), one === NONE ? 0.45 : 0.9], 4 * i));
      gl.uniform4fv(place.colours, all);
    },
    paint({ view, wide, high, shown, size, ink }) {
      gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(place.window, wide, high); gl.uniform2f(place.origin, view.x, view.y);
      gl.uniform1f(place.k, view.k); gl.uniform1f(place.size, size); gl.uniform1f(place.ratio, devicePixelRatio || 1);
      gl.uniform1ui(place.shown, shown); gl.uniform4f(place.ink, ...rgb(ink), 1);
      gl.drawArrays(gl.POINTS, 0, data.count);
    },
  };
}

// A path for each colour, of dots as lines of no length, in thousandths of the map; moving and zooming changes what part is seen.
function withSVG(drawing, data) {
  let paths = [];
  return {
    name: "svg",
    resize() { /* it fits the frame */ },
    data(codes, found, searching, colours) {
      const parts = new Map();
      for (let i = 0; i < data.count; i += 1) {
        const dim = searching && !found[i], dot = `M${data.x[i] / 65.535} ${data.y[i] / 65.535}h0`;
        for (const kind of multimodal(data, i) && !dim ? ["ring", "gap", "dot"] : [dim ? "dim" : "dot"]) {
          const key = `${kind} ${codes[i]}`;
          if (!parts.has(key)) parts.set(key, []);
          parts.get(key).push(dot);
        }
      }
      const order = ["dim", "ring", "gap", "dot"];
      paths = [...parts].map(([key, dots]) => [...key.split(" "), dots]).sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0])).map(([kind, code, dots]) => {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("class", `dot-${kind}`);
        path.setAttribute("d", dots.join(""));
        if (kind === "dot" || kind === "dim") path.style.stroke = colours[code];
        return { path, kind, code };
      });
      drawing.replaceChildren(...paths.map((one) => one.path));
    },
    paint({ view, wide, high, shown, size }) {
      const across = (wide - 2 * MARGIN) * view.k / 1000, down = (high - 2 * MARGIN) * view.k / 1000;
      drawing.setAttribute("viewBox", [view.x * 1000 - MARGIN / across, view.y * 1000 - MARGIN / down, wide / across, high / down].join(" "));
      for (const { path, kind, code } of paths) {
        path.style.display = (shown >> code) & 1 ? "" : "none";
        path.style.strokeWidth = `${2 * size + ({ ring: 6, gap: 3 }[kind] ?? 0)}px`;
      }
    },
  };
}

export default async function map(frame) {
  const data = await read(frame), { count } = data;
  const canvas = frame.querySelector("canvas"), card = frame.querySelector(".map-card"), labels = frame.querySelector(".map-labels");
  const zoom = frame.querySelector(".map-zoom"), drawing = frame.querySelector(".map-drawing");
  const tools = document.querySelector(".map-tools"), legend = document.querySelector(".map-legend"), status = tools.querySelector("[role=status]");
  const places = JSON.parse(document.getElementById("places")?.textContent ?? "null");
  const path = (i) => (places ? places[i].path : frame.dataset.base + data.unit[i]);
  const image = (i) => (places ? places[i].image : `${frame.dataset.base}${data.unit[i]}.webp`);
  const ways = waysToColour(data), index = indexed(data);
  const found = new Uint8Array(count).fill(1);
  let painter = withGL(canvas, data) ?? withSVG(drawing, data);
  let way = "family", shown = 0xffff, searching = false, chosen = -1, wide = 0, high = 0, due = 0;
  const view = { x: 0, y: 0, k: 1 };
  for (const one of [canvas, zoom, tools]) one.hidden = false;

  // Where a place (0 to 1) is on the screen, and which place is there.
  const across = (u) => MARGIN + (u - view.x) * view.k * (wide - 2 * MARGIN);
  const down = (v) => MARGIN + (v - view.y) * view.k * (high - 2 * MARGIN);
  const back = (x, y) => [view.x + (x - MARGIN) / view.k / (wide - 2 * MARGIN), view.y + (y - MARGIN) / view.k / (high - 2 * MARGIN)];
  const spot = (i) => [across(data.x[i] / STEPS), down(data.y[i] / STEPS)];
  const visible = (i) => (shown >> ways[way].of[i]) & 1 && (!searching || found[i]);
  const size = () => Math.min(9, (count > 20000 ? 1.2 : count > 4000 ? 2.2 : 4) * view.k ** 0.4);

  function recolour() {
    const { of, colours } = ways[way];
    painter.data(of, found, searching, colours);
    later();
  }

  function paint() {
    due = 0;
    if (!wide || !high) return;
    painter.paint({ view, wide, high, shown, size: size(), ink: getComputedStyle(frame).getPropertyValue("--ink").trim() });
    name();
    follow();
  }
  const later = () => { due ||= requestAnimationFrame(paint); };

  function measure() {
    if (frame.clientWidth === wide && frame.clientHeight === high) return;
    wide = frame.clientWidth; high = frame.clientHeight;
    painter.resize(wide, high);
    paint();
  }

  // What has a label: regions of the level that the zoom has come to; from near, the dots themselves. What would overlap has none.
  const spans = [];
  function name() {
    const level = view.k < 2 ? 0 : view.k < 4 ? 1 : 2, taken = [];
    let used = 0;
    const put = (text, x, y, kind) => {
      const half = text.length * (kind ? 3.4 : 4.4), tall = kind ? 8 : 11;
      if (x < half || x > wide - half || y < tall || y > high - tall) return;
      if (taken.some(([a, b, c, d]) => Math.abs(a - x) < c + half && Math.abs(b - y) < d + tall)) return;
      taken.push([x, y, half, tall]);
      const span = spans[used] ?? labels.appendChild(spans[used] = document.createElement("span"));
      used += 1;
      if (span.textContent !== text) span.textContent = text;
      span.className = kind; span.hidden = false;
      span.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    };
    for (const one of data.regions) if (one.level <= level) put(one.text, across(one.x / STEPS), down(one.y / STEPS), "");
    if (view.k >= 3) {
      const inside = index.within(...back(0, 0), ...back(wide, high), 400).filter(visible);
      inside.sort((a, b) => data.verdict[a] - data.verdict[b]);
      for (const i of inside.slice(0, 120)) {
        const text = data.texts[data.heading[i]], [x, y] = spot(i);
        if (text && used < NAMED) put(text, x, y - size() - 9, "dot");
      }
    }
    for (const span of spans.slice(used)) span.hidden = true;
  }

  function follow() {
    if (chosen < 0) return;
    const [x, y] = spot(chosen);
    card.style.left = `${Math.max(0, Math.min(x + 14, wide - 160))}px`;
    card.style.top = `${Math.max(0, Math.min(y + 14, high - 230))}px`;
  }

  function choose(i, pinned = false) {
    card.classList.toggle("pinned", pinned && i >= 0);
    if (i === chosen) return;
    chosen = i;
    card.hidden = i < 0;
    canvas.style.cursor = i >= 0 && path(i) ? "pointer" : "";
    if (i < 0) return;
    const to = path(i), family = data.families[data.family[i]];
    if (to) card.href = to; else card.removeAttribute("href");
    card.querySelector("img").src = image(i);
    card.querySelector("strong").textContent = data.texts[data.heading[i]] || "no concept";
    card.querySelector("span").textContent = [`${frame.dataset.layer}:${data.unit[i]}`, family, data.verdicts[data.verdict[i]]].filter(Boolean).join(" · ");
    follow();
  }
  const open = (i) => { if (i >= 0 && path(i)) location.href = path(i); };

  function nearest(x, y, reach = REACH) {
    let best = -1, least = reach * reach;
    for (const i of index.within(...back(x - reach, y - reach), ...back(x + reach, y + reach), Infinity)) {
      if (!visible(i)) continue;
      const [a, b] = spot(i), d = (a - x) ** 2 + (b - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  function move(x, y, k) {
    view.k = Math.min(DEEPEST, Math.max(1, k));
    // The middle of the window stays over the map.
    const half = 0.5 / view.k;
    view.x = Math.min(1, Math.max(0, x + half)) - half;
    view.y = Math.min(1, Math.max(0, y + half)) - half;
    if (view.k === 1) view.x = view.y = 0;
    later();
  }

  function zoomBy(factor, x = wide / 2, y = high / 2) {
    const [u, v] = back(x, y), k = Math.min(DEEPEST, Math.max(1, view.k * factor));
    move(u - (x - MARGIN) / k / (wide - 2 * MARGIN), v - (y - MARGIN) / k / (high - 2 * MARGIN), k);
  }

  // To where some dots are, with room around them.
  function fit(dots) {
    if (!dots.length) return;
    let [left, top, right, bottom] = [1, 1, 0, 0];
    for (const i of dots) {
      const u = data.x[i] / STEPS, v = data.y[i] / STEPS;
      left = Math.min(left, u); right = Math.max(right, u); top = Math.min(top, v); bottom = Math.max(bottom, v);
    }
    const k = Math.min(16, 0.7 / Math.max(right - left, bottom - top, 0.01));
    move((left + right) / 2 - 0.5 / k, (top + bottom) / 2 - 0.5 / k, k);
  }

  const pointers = new Map();
  let travelled = 0;
  const local = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, local(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = local(event), before = pointers.get(event.pointerId);
    if (!before) { if (event.pointerType !== "touch") choose(nearest(...now)); return; }
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    pointers.set(event.pointerId, now);
    if (travelled < 4) return;
    const middle = (a) => (other ? [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2] : a);
    const [a, b] = [middle(before), middle(now)];
    move(view.x - (b[0] - a[0]) / view.k / (wide - 2 * MARGIN), view.y - (b[1] - a[1]) / view.k / (high - 2 * MARGIN), view.k);
    if (other) {
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      zoomBy(apart(now) / Math.max(apart(before), 1), ...b);
    }
  });
  const lift = (event) => {
    const still = travelled < 4 && pointers.size === 1 && event.type === "pointerup";
    pointers.delete(event.pointerId);
    if (!still) return;
    const i = nearest(...local(event), event.pointerType === "touch" ? 28 : REACH);
    // A finger does not hover: its first tap shows the dot, the next opens it.
    if (event.pointerType === "touch" && i !== chosen) choose(i, true); else open(i);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", (event) => { if (!pointers.size && event.pointerType !== "touch") choose(-1); });
  canvas.addEventListener("dblclick", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    // The page scrolls until the map is used.
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoomBy(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...local(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter") open(chosen);
    if (event.key === "Escape") choose(-1);
    if (event.key === "+" || event.key === "=") zoomBy(1.5);
    if (event.key === "-") zoomBy(1 / 1.5);
    if (event.key === "0") move(0, 0, 1);
    if (!way) return;
    event.preventDefault();
    const [x, y] = chosen >= 0 ? spot(chosen) : [wide / 2, high / 2];
    let best = chosen, least = Infinity;
    for (let i = 0; i < count; i += 1) {
      if (i === chosen || !visible(i)) continue;
      const a = across(data.x[i] / STEPS) - x, b = down(data.y[i] / STEPS) - y;
      const ahead = a * way[0] + b * way[1], aside = Math.abs(a * way[1]) + Math.abs(b * way[0]);
      if (ahead > 0.5 && aside <= ahead * 1.5 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
    }
    choose(best);
    if (best < 0) return;
    const [a, b] = spot(best);
    if (a < 0 || b < 0 || a > wide || b > high) move(data.x[best] / STEPS - 0.5 / view.k, data.y[best] / STEPS - 0.5 / view.k, view.k);
  });
  const [closer, further, all] = zoom.querySelectorAll("button");
  closer.addEventListener("click", () => zoomBy(1.6));
  further.addEventListener("click", () => zoomBy(1 / 1.6));
  all.addEventListener("click", () => move(0, 0, 1));

  const field = tools.querySelector("input"), select = tools.querySelector("select");
  const hits = () => (searching ? [...found.keys()].filter(visible) : []);
  const inside = ([x, y]) => x >= 0 && y >= 0 && x <= wide && y <= high;
  let pause = 0;
  // Where nothing of what was found is in the window, the window goes there.
  function reveal() {
    const dots = hits();
    if (!dots.some((i) => inside(spot(i)))) fit(dots);
  }
  function search() {
    const wanted = field.value.trim().toLowerCase();
    searching = Boolean(wanted);
    const holds = (text) => text.toLowerCase().includes(wanted);
    const texts = data.texts.map(holds), families = data.families.map(holds), number = wanted.split(":").pop();
    let many = 0;
    for (let i = 0; i < count; i += 1) {
      found[i] = searching && (texts[data.heading[i]] || families[data.family[i]] || String(data.unit[i]) === number) ? 1 : 0;
      many += found[i];
    }
    status.textContent = searching ? `${many.toLocaleString("en")} neuron${many === 1 ? "" : "s"}${many ? `; Enter zooms to ${many === 1 ? "it" : "them"}` : ""}` : "";
    choose(-1);
    recolour();
    clearTimeout(pause);
    pause = setTimeout(reveal, 250);
  }
  field.addEventListener("input", search);
  tools.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(pause); fit(hits()); });
  select.addEventListener("change", () => { way = select.value; shown = 0xffff; keys(); choose(-1); recolour(); });

  function keys() {
    const { of, names, colours } = ways[way], counts = new Array(names.length).fill(0);
    for (let i = 0; i < count; i += 1) counts[of[i]] += 1;
    const every = counts.reduce((bits, many, i) => (many ? bits | (1 << i) : bits), 0);
    shown &= every;
    legend.replaceChildren(...names.map((name, i) => {
      const button = document.createElement("button"), dot = document.createElementNS(SVG, "svg"), circle = document.createElementNS(SVG, "circle");
      dot.setAttribute("viewBox", "0 0 10 10");
      for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 5, fill: colours[i] })) circle.setAttribute(key, value);
      dot.append(circle);
      button.type = "button"; button.hidden = !counts[i];
      button.append(dot, `${name} (${counts[i].toLocaleString("en")})`);
      button.addEventListener("click", () => {
        // The first click shows one alone, further ones add and remove; without any, all are shown again.
        shown = shown === every ? 1 << i : shown ^ (1 << i);
        if (!shown) shown = every;
        press(); choose(-1); later();
      });
      return button;
    }));
    const press = () => [...legend.children].forEach((button, i) => button.setAttribute("aria-pressed", String(Boolean((shown >> i) & 1))));
    press();
  }

  canvas.addEventListener("webglcontextlost", () => { painter = withSVG(drawing, data); painter.resize(wide, high); recolour(); mark(); });
  const mark = () => { frame.dataset.renderer = painter.name; drawing.style.display = painter.name === "svg" ? "" : "none"; };
  mark();
  keys();
  recolour();
  // At once, because until then there is nowhere to go from or to; and whenever its size has become another.
  measure();
  new ResizeObserver(measure).observe(frame);
  document.addEventListener("themechange", later);
}
