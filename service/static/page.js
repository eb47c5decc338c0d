"use strict";
const by = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let photo = null;

function element(name, text, attributes = {}) {
  const node = document.createElement(name);
  node.textContent = text;
  return Object.assign(node, attributes);
}

function drawing(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function choose(file) {
  if (!file) return;
  photo = file;
  URL.revokeObjectURL(by("preview").src);
  by("preview").src = URL.createObjectURL(file);
  by("preview").hidden = false;
  by("invitation").textContent = `${file.name} (${(file.size / 1e6).toFixed(2)} MB)`;
  by("go").disabled = false;
}

function say(text, failed = false) {
  by("message").textContent = text;
  by("message").hidden = !text;
  by("message").classList.toggle("failed", failed);
}

async function ask(event) {
  event.preventDefault();
  const parameters = new URLSearchParams();
  for (const [name, value] of new FormData(by("ask"))) if (value !== "") parameters.set(name, value);
  by("go").disabled = true;
  by("result").hidden = true;
  say("Looking …");
  try {
    const response = await fetch(`localize?${parameters}`, {
      method: "POST", body: photo, headers: { "Content-Type": "application/octet-stream" } });
    const answer = await response.json();
    if (response.ok) show(answer);
    else say([answer.error.message, answer.error.hint].filter(Boolean).join(": "), true);
  } catch {
    say("The service cannot be reached.", true);
  } finally {
    by("go").disabled = false;
  }
}

function show(answer) {
  say("");
  by("result").hidden = false;
  showEstimate(answer.estimate);
  by("warnings").replaceChildren(...answer.warnings.map((text) => element("li", text)));
  showMap(answer);
  showStages(answer.stage_ms);
  by("matches").replaceChildren(...answer.matches.map(card));
}

function showEstimate(estimate) {
  const place = `${estimate.lat.toFixed(6)}, ${estimate.lon.toFixed(6)}`;
  by("estimate").classList.toggle("refused", estimate.refused);
  const sure = estimate.confidence === null ? "no confidence is known"
    : `within ${estimate.radius_m.toFixed(0)} m with probability ${Math.min(estimate.confidence, 0.99).toFixed(2)}`;
  by("estimate").replaceChildren(
    element("div", estimate.refused ? "No location. Best guess only:" : "Latitude, longitude",
      { className: "quiet" }),
    element("strong", place),
    element("p", estimate.reason ? `${sure}; ${estimate.reason}` : sure));
}

function card(match) {
  const item = element("li", "");
  const text = element("div", "");
  text.append(
    element("b", `${match.rank}. score ${match.score.toFixed(3)}`), element("br", ""),
    `${match.lat.toFixed(5)}, ${match.lon.toFixed(5)}`, element("br", ""),
    element("span", match.rank === 1 ? `tile of ${match.size_m.toFixed(0)} m`
      : `${match.distance_to_best_m.toFixed(0)} m from the best`, { className: "quiet" }));
  item.title = match.tile_id;
  item.append(element("img", "", { src: match.picture_url, alt: `Tile ${match.tile_id}`, loading: "lazy" }), text);
  return item;
}

/* Tiles at their places: one unit is one degree of latitude, longitudes shrunk by cos(lat). */
function showMap({ matches, estimate }) {
  const shrink = Math.cos((estimate.lat * Math.PI) / 180);
  const x = (lon) => (lon - estimate.lon) * shrink;
  const y = (lat) => estimate.lat - lat;
  const boxes = matches.map(({ bounds }) => ({ x: x(bounds.west), y: y(bounds.north),
    width: (bounds.east - bounds.west) * shrink, height: bounds.north - bounds.south }));
  const left = Math.min(...boxes.map((b) => b.x)), top = Math.min(...boxes.map((b) => b.y));
  const right = Math.max(...boxes.map((b) => b.x + b.width));
  const bottom = Math.max(...boxes.map((b) => b.y + b.height));
  const scale = 1000 / Math.max(right - left, bottom - top);
  const scaled = (b) => ({ x: (b.x - left) * scale, y: (b.y - top) * scale,
    width: b.width * scale, height: b.height * scale });
  const map = by("map");
  map.setAttribute("viewBox", `-20 -20 ${(right - left) * scale + 40} ${(bottom - top) * scale + 40}`);
  const tiles = boxes.map((box, i) => [
    drawing("image", { ...scaled(box), href: matches[i].picture_url, preserveAspectRatio: "none" }),
    drawing("rect", { ...scaled(box), class: i === 0 ? "best" : "" })]).reverse().flat();
  const radius = estimate.radius_m === null ? 8 : (estimate.radius_m / 111320) * scale;
  map.replaceChildren(...tiles,
    drawing("circle", { cx: -left * scale, cy: -top * scale, r: Math.max(radius, 4) }));
}

function showStages({ total, ...stages }) {
  const parts = Object.entries(stages).map(([name, ms]) => {
    const part = element("span", `${ms.toFixed(1)} ms`);
    part.prepend(element("b", name));
    part.style.flexGrow = ms / total;
    return part;
  });
  by("stages").replaceChildren(...parts, element("span", `${total.toFixed(1)} ms in all`));
}

by("ask").addEventListener("submit", ask);
by("file").addEventListener("change", () => choose(by("file").files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  by("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    by("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") choose(event.dataTransfer.files[0]);
  });
}
fetch("gallery").then((response) => response.json()).then(({ tiles, version, encoder }) => {
  by("service").textContent = `${tiles.toLocaleString()} tiles, gallery ${version}, encoder ${encoder.name}`;
}).catch(() => {});
