// An answer on the page: what it is worth, the pictures side by side, the ranked list, the times.

import { showPicture, showPictureLazily } from "./ask.js";
import { credits, distance, geojson, geoUri, inkOn, pair, rankColour, spokenPlace, verdict } from "./words.js";

const by = (id) => document.getElementById(id);
const STAGES = ["decode", "queue", "encode", "search", "estimate"];
const STAGE_NAMES = { decode: "read the photo", queue: "wait", encode: "encode", search: "search", estimate: "estimate" };

function element(name, text = "", properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

/** A headline with a tone (`idle`, `busy`, `failed`, `sure`, `unsure`, `refused`) and a sentence. */
export function say(tone, headline, detail = "") {
  by("answer").dataset.tone = tone;
  by("headline").textContent = headline;
  by("detail").textContent = detail;
}

/** Nothing of an earlier answer stays to be mistaken for this one. */
export function clearAnswer() {
  for (const id of ["place", "compare", "ranking", "cost", "retry", "stale"]) by(id).hidden = true;
  by("results").classList.remove("answered");
}

/** Shows everything but the map. */
export function showAnswer(answer, { view, inArea, photo, onSelect, onHover }) {
  const { tone, headline, detail } = verdict(answer.estimate, { view, inArea, gallery: answer.gallery });
  say(tone, headline, detail);
  showPlace(answer);
  showPhoto(photo);
  showList(answer.matches, { onSelect, onHover });
  showCost(answer);
  for (const id of ["place", "compare", "ranking", "cost"]) by(id).hidden = false;
  by("results").classList.add("answered");
}

function showPlace(answer) {
  const { estimate } = answer;
  by("coordinates-label").textContent = estimate.refused ? "Best guess, for looking only" : "Latitude, longitude";
  by("coordinates").textContent = pair(estimate);
  // Whoever may not use it as a location is not helped to.
  by("copy").hidden = by("geo").hidden = estimate.refused;
  by("geo").href = geoUri(estimate);
  by("copy").onclick = () => copy(pair(estimate));
  if (by("download").href) URL.revokeObjectURL(by("download").href);
  const file = new Blob([JSON.stringify(geojson(answer), null, 1)], { type: "application/geo+json" });
  by("download").href = URL.createObjectURL(file);
  by("warnings").replaceChildren(...answer.warnings.map((text) => element("li", text)));
  by("stale").hidden = true;
}

async function copy(text) {
  const button = by("copy");
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  if (!copied) getSelection().selectAllChildren(by("coordinates")); // without https there is no clipboard
  button.textContent = copied ? "Copied" : "Selected: press Ctrl+C";
  by("spoken").textContent = copied ? "Coordinates copied" : "Coordinates selected";
  setTimeout(() => { button.textContent = "Copy coordinates"; }, 2500);
}

function showPhoto(photo) {
  const image = by("asked");
  if (image.src) URL.revokeObjectURL(image.src);
  image.onload = image.onerror = () => {
    image.hidden = !image.naturalWidth;
    by("asked-none").hidden = Boolean(image.naturalWidth);
  };
  image.src = URL.createObjectURL(photo);
}

function showList(matches, { onSelect, onHover }) {
  by("ranking-title").textContent = `${matches.length} ${matches.length === 1 ? "place that looks" : "places that look"} alike`;
  by("matches").replaceChildren(...matches.map((match) => {
    const item = element("li");
    item.append(matchButton(match, matches.length, { onSelect, onHover }));
    return item;
  }));
  const made = credits(matches);
  by("credit").textContent = made ? `Imagery: ${made}` : "";
}

function matchButton(match, count, { onSelect, onHover }) {
  const colour = rankColour(match.rank, count);
  const button = element("button", "", { type: "button", className: "match", title: match.tile_id, tabIndex: -1 });
  button.dataset.rank = match.rank;
  button.style.setProperty("--rank", colour);
  button.style.setProperty("--rank-ink", inkOn(colour));
  const picture = element("img", "", { alt: "", width: 192, height: 192 });
  showPictureLazily(picture, match.picture_url);
  const apart = match.rank === 1 ? "best" : distance(match.distance_to_best_m);
  const place = match.rank === 1 ? "" : " from the best";
  button.append(picture, caption("badge", "Rank ", String(match.rank), ` of ${count}, `),
    caption("score", "similarity ", match.score.toFixed(3), ", "),
    caption("apart", "", apart, `${place}, ${spokenPlace(match)}`));
  button.addEventListener("click", () => onSelect(match.rank));
  button.addEventListener("focus", () => onHover(match.rank));
  button.addEventListener("blur", () => onHover(null));
  button.addEventListener("pointerenter", () => onHover(match.rank));
  button.addEventListener("pointerleave", () => onHover(null));
  return button;
}

/** A short text for the eye, with what makes it a sentence for the ear. */
function caption(className, before, text, after) {
  const node = element("span", "", { className });
  const unseen = (words) => element("span", words, { className: "unseen" });
  node.append(...[before && unseen(before), text, after && unseen(after)].filter(Boolean));
  return node;
}

/** Arrow keys, Home and End go through the list; one stop for Tab. */
export function watchList() {
  by("matches").addEventListener("keydown", (event) => {
    const buttons = [...by("matches").querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
      Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    buttons[Math.min(Math.max(to, 0), buttons.length - 1)].focus();
  });
}

/** Marks a rank in the list and shows its picture beside the photo. */
export function selectMatch(match, count, { reveal = false } = {}) {
  for (const button of by("matches").querySelectorAll("button")) {
    const chosen = Number(button.dataset.rank) === match.rank;
    button.tabIndex = chosen ? 0 : -1;
    if (chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (chosen && reveal) button.scrollIntoView({ block: "nearest" });
  }
  const image = by("chosen");
  image.alt = `Tile of rank ${match.rank}`;
  showPicture(image, match.picture_url).catch(() => {});
  by("chosen-caption").replaceChildren(
    element("b", `Rank ${match.rank} of ${count}`), element("span", `similarity ${match.score.toFixed(3)}`),
    element("span", pair(match)), element("span", [`tile of ${distance(match.size_m)}`, match.date].filter(Boolean).join(", ")),
    element("span", credits([match])));
}

/** Marks a rank in the list while the pointer is on it on the map. */
export function heatMatch(rank) {
  for (const button of by("matches").querySelectorAll("button")) {
    button.classList.toggle("hot", Number(button.dataset.rank) === rank);
  }
}

function showCost({ stage_ms: stages, encoder, gallery, request_id: requestId }) {
  const rows = STAGES.filter((stage) => stage in stages).map((stage) => {
    const row = element("li");
    const bar = element("i");
    bar.style.setProperty("--share", Math.max(stages[stage] / Math.max(stages.total, 1e-9), 0));
    row.append(element("span", STAGE_NAMES[stage]), element("b", milliseconds(stages[stage])), bar);
    return row;
  });
  by("stages").replaceChildren(...rows);
  by("cost-title").textContent = `${milliseconds(stages.total)} in the service`;
  by("versions").textContent = `Gallery ${gallery.version}, ${gallery.tiles.toLocaleString("en")} tiles. `
    + `Encoder ${encoder.name}, space ${encoder.embedding_space_id}. Request ${requestId}.`;
}

function milliseconds(value) {
  return value < 1 ? `${value.toFixed(2)} ms` : value < 100 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
