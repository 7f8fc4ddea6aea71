// The map of neurons: dots on a canvas, coloured by family; hover or arrow keys show one, click or Enter opens it.

const COLOURS = ["#0b8a92", "#d97a1e", "#8658c9", "#3273d6", "#c2417c", "#5d8a1f", "#b0452c", "#7a6f00", "#4a7a8c", "#9a5fb0"];
const NONE = "#9a9ba3";

export default function map(frame) {
  const canvas = frame.querySelector("canvas");
  const card = frame.querySelector(".map-card");
  const data = JSON.parse(document.getElementById("points").textContent);
  const places = JSON.parse(document.getElementById("places")?.textContent ?? "null");
  const points = data.unit.map((unit, i) => ({
    x: data.x[i], y: data.y[i], multimodal: false, address: `${frame.dataset.layer}:${unit}`,
    heading: data.texts[data.heading[i]], family: data.families[data.family[i]] ?? "",
    path: places ? places[i].path : frame.dataset.base + unit,
    image: places ? places[i].image : `${frame.dataset.base}${unit}.webp`,
  }));
  for (const i of data.multimodal) points[i].multimodal = true;
  const counts = new Map();
  for (const p of points) if (p.family) counts.set(p.family, (counts.get(p.family) ?? 0) + 1);
  const families = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS.length).map(([name]) => name);
  const colour = (p) => COLOURS[families.indexOf(p.family)] ?? NONE;
  const ends = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const [left, right] = ends(data.x), [top, bottom] = ends(data.y), box = { left, right, top, bottom };
  const dots = document.createElement("canvas");
  const size = points.length > 20000 ? 1.2 : points.length > 4000 ? 2.2 : 4;
  let chosen = -1, spots = [], wide = 0, high = 0;

  const inked = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();

  // All dots are painted once, on a canvas beside; what is chosen is drawn over a copy.
  function paint() {
    const ratio = devicePixelRatio || 1;
    wide = canvas.clientWidth; high = canvas.clientHeight;
    dots.width = wide * ratio; dots.height = high * ratio;
    const pen = dots.getContext("2d");
    pen.scale(ratio, ratio);
    const margin = 24;
    const ink = inked();
    const along = (v, low, top, reach) => margin + (top > low ? (v - low) / (top - low) : 0.5) * (reach - 2 * margin);
    spots = points.map((p) => [along(p.x, box.left, box.right, wide), along(p.y, box.top, box.bottom, high)]);
    points.forEach((p, i) => {
      const [x, y] = spots[i];
      pen.globalAlpha = p.family ? 0.9 : 0.45;
      pen.fillStyle = colour(p);
      pen.beginPath(); pen.arc(x, y, p.multimodal ? size + 1 : size, 0, 7); pen.fill();
      if (p.multimodal) { pen.globalAlpha = 1; pen.strokeStyle = ink; pen.lineWidth = 1.2; pen.beginPath(); pen.arc(x, y, size + 3, 0, 7); pen.stroke(); }
    });
    draw();
  }

  function draw() {
    const ratio = devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = dots.width; canvas.height = dots.height;
    if (!dots.width || !dots.height) return;
    pen.drawImage(dots, 0, 0);
    pen.scale(ratio, ratio);
    if (chosen >= 0) { const [x, y] = spots[chosen]; pen.strokeStyle = inked(); pen.lineWidth = 2; pen.beginPath(); pen.arc(x, y, size + 6, 0, 7); pen.stroke(); }
  }

  function choose(index) {
    if (index === chosen) return;
    chosen = index;
    card.hidden = index < 0;
    if (index >= 0) {
      const p = points[index], [x, y] = spots[index];
      if (p.path) card.href = p.path; else card.removeAttribute("href");
      card.querySelector("img").src = p.image;
      card.querySelector("strong").textContent = p.heading || "no concept";
      card.querySelector("span").textContent = [p.address, p.family].filter(Boolean).join(" · ");
      card.style.left = `${Math.min(x + 14, canvas.clientWidth - 160)}px`;
      card.style.top = `${Math.max(0, Math.min(y + 14, canvas.clientHeight - 220))}px`;
    }
    draw();
  }

  function nearest(x, y, reach = 18) {
    let best = -1, least = reach * reach;
    spots.forEach(([a, b], i) => { const d = (a - x) ** 2 + (b - y) ** 2; if (d < least) { least = d; best = i; } });
    return best;
  }

  canvas.addEventListener("pointermove", (event) => choose(nearest(event.offsetX, event.offsetY)));
  canvas.addEventListener("pointerleave", () => choose(-1));
  canvas.addEventListener("click", (event) => { const i = nearest(event.offsetX, event.offsetY); if (points[i]?.path) location.href = points[i].path; });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && points[chosen]?.path) location.href = points[chosen].path;
    if (!way) return;
    event.preventDefault();
    const [x, y] = chosen >= 0 ? spots[chosen] : [canvas.clientWidth / 2, canvas.clientHeight / 2];
    let best = chosen, least = Infinity;
    spots.forEach(([a, b], i) => {
      const ahead = (a - x) * way[0] + (b - y) * way[1], aside = Math.abs((a - x) * way[1]) + Math.abs((b - y) * way[0]);
      if (i !== chosen && ahead > 0.5 && aside <= ahead * 1.5 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
    });
    choose(best);
  });
  // At once, because until then there is nowhere to go from or to; and whenever its size has become another.
  paint();
  new ResizeObserver(() => { if (canvas.clientWidth !== wide || canvas.clientHeight !== high) paint(); }).observe(canvas);
  document.addEventListener("themechange", paint);

  const legend = document.querySelector("[data-families]");
  for (const [i, name] of families.entries()) {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    dot.setAttribute("viewBox", "0 0 10 10");
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 5, fill: COLOURS[i] })) circle.setAttribute(key, value);
    dot.append(circle);
    const entry = document.createElement("span");
    entry.append(dot, `${name} (${counts.get(name)})`);
    legend.append(entry);
  }
}
