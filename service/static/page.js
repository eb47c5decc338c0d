// The page's one piece of memory, and who is told of what.

import { clearAnswer, heatMatch, say, selectMatch, showAnswer, watchList } from "./answer.js";
import { Failure, key, localize, read } from "./ask.js";
import { createMap } from "./map.js";
import { watchPhoto } from "./photo.js";
import { readPrior, roundRadius, watchPrior } from "./prior.js";
import { credits, sentence, spokenAnswer } from "./words.js";

const by = (id) => document.getElementById(id);
const form = by("ask");
const LOADING_RETRY_MS = 2000;
const state = { info: null, gallery: null, photo: null, answer: null, asking: null, waitUntil: 0 };

const map = createMap(by("map"), {
  place: (place) => prior.setCentre(place),
  priorMoved: (place) => prior.setCentre(place),
  select: (rank) => select(rank, { reveal: true }),
  hover: heatMatch,
});
const prior = watchPrior(form, map, { onChange: inputsChanged, usualRadiusM });

watchPhoto({ limits: () => state.info?.limits, onChoose: choosePhoto });
watchList();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.asking) state.asking.abort();
  else if (!by("go").disabled) ask();
});
form.addEventListener("change", () => {
  showDirection();
  inputsChanged();
});
by("key-form").addEventListener("submit", useKey);
by("forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});
new ResizeObserver(() => map.resized()).observe(by("map"));
start();

async function start() {
  try {
    state.info = await read("page.json");
    describeService();
    if (state.info.needs_key && !key.get()) askForKey();
    else await loadGallery();
  } catch (problem) {
    if (problem.status === 401 || problem.status === 403) askForKey(problem);
    else if (problem.status === 503) waitForGallery(problem);
    else showFailure(problem);
  }
}

function waitForGallery({ message, hint }) {
  say("busy", "The service is getting ready", sentence([message, hint].filter(Boolean).join(": ")));
  setTimeout(start, LOADING_RETRY_MS);
}

async function loadGallery() {
  const waited = by("answer").dataset.tone === "busy";
  const gallery = await read("gallery");
  gallery.credit = credits(gallery.sources);
  state.gallery = gallery;
  map.showGallery(gallery, state.info);
  by("about").textContent = `${gallery.tiles.toLocaleString("en")} tiles, gallery of ${gallery.created.slice(0, 10)}`;
  by("imagery").textContent = [gallery.credit && `Imagery: ${gallery.credit}.`,
    `Gallery ${gallery.version}, encoder ${gallery.encoder.name}, Crossfix ${state.info.version}.`].filter(Boolean).join(" ");
  if (state.info.views === null) state.info = await read("page.json");
  showDirection();
  if (waited) say("idle", "Choose a photo to begin");
  showButton();
}

function describeService() {
  const { limits, keeps_images: keeps } = state.info;
  by("keeping").textContent = keeps
    ? "This service keeps every photo sent to it, with its answer."
    : "The photo is not kept: it is forgotten once answered.";
  by("keeping").classList.toggle("problem", keeps);
  by("k-help").textContent = `1 to ${limits.max_k}; ${limits.default_k} when left empty.`;
  by("forget").hidden = !key.get();
}

function showDirection() {
  const views = state.info?.views;
  if (!views) return;
  for (const option of form.elements.view) option.disabled = !(option.value in views);
  if (!(form.elements.view.value in views)) form.elements.view.value = Object.keys(views)[0];
  by("direction").hidden = !views[form.elements.view.value].takes_heading;
}

/* The key */

function askForKey(problem) {
  by("key-panel").hidden = false;
  by("key-problem").textContent = problem && key.get() ? sentence(problem.message) : "";
  key.forget();
  by("key").focus();
}

async function useKey(event) {
  event.preventDefault();
  key.set(by("key").value.trim());
  by("key-problem").textContent = "";
  try {
    await loadGallery();
  } catch (problem) {
    if (problem.status === 503) {
      by("key-panel").hidden = true;
      return waitForGallery(problem);
    }
    key.forget();
    by("key-problem").textContent = sentence([problem.message, problem.hint].filter(Boolean).join(": "));
    return by("key").select();
  }
  by("key").value = "";
  by("key-panel").hidden = true;
  by("forget").hidden = false;
  by("spoken").textContent = "The key is accepted";
  by("file").focus();
}

/* The photo and what is known */

function choosePhoto(photo) {
  state.photo = photo;
  inputsChanged();
  if (photo && !state.answer) say("idle", "Ready", "Click the map if you know roughly where it was, then find the place.");
}

function inputsChanged() {
  if (state.answer) by("stale").hidden = false;
  showButton();
}

function showButton() {
  const waiting = state.waitUntil > Date.now();
  by("go").textContent = state.asking ? "Stop" : "Find the place";
  by("go").disabled = !state.asking && (!state.photo || !state.gallery || waiting);
}

function usualRadiusM() {
  const { south, north } = state.gallery?.bounds ?? { south: 0, north: 0.05 };
  return roundRadius(Math.min(Math.max(((north - south) * 111_000) / 4, 100), 20_000));
}

function parameters() {
  const given = {};
  for (const name of ["view", "k", "heading_deg", "hfov_deg"]) {
    const value = form.elements[name].value.trim().replace(",", ".");
    const hidden = by("direction").hidden && name.endsWith("_deg");
    if (value && !hidden) given[name] = value;
  }
  const { whole, wrong, lat, lon, radius_m } = readPrior(form);
  if (wrong.length) {
    const names = { lat: "a latitude (-90 to 90)", lon: "a longitude (-180 to 180)", radius_m: "a radius in metres" };
    form.elements[wrong[0]].focus();
    throw new Failure(0, { message: `the search area lacks ${wrong.map((name) => names[name]).join(" and ")}`,
      hint: "fill it in or clear the search area" });
  }
  return whole ? { ...given, lat, lon, radius_m } : given;
}

/* Asking */

async function ask() {
  const { photo } = state;
  const view = form.elements.view.value;
  forgetAnswer();
  try {
    const wanted = parameters();
    state.asking = new AbortController();
    showButton();
    say("busy", "Looking for the place", "The photo is on its way to the service.");
    by("spoken").textContent = "Looking for the place";
    const answer = await localize(photo, wanted, state.asking.signal);
    state.answer = answer;
    const inArea = "radius_m" in wanted;
    showAnswer(answer, { view, inArea, photo, onSelect: select, onHover: (rank) => map.heat(rank) });
    map.resized();
    map.showAnswer(answer);
    by("map-help").textContent = "Numbers: the places in the list. Ring: the estimate and its radius.";
    select(1);
    by("spoken").textContent = spokenAnswer(answer, { view, inArea });
    if (answer.gallery.version !== state.gallery.version) loadGallery().catch(() => {});
    revealAnswer();
  } catch (problem) {
    showFailure(problem);
  } finally {
    state.asking = null;
    showButton();
  }
}

/** On a phone the answer is below the form; elsewhere nothing moves. */
function revealAnswer() {
  const { top } = by("answer").getBoundingClientRect();
  if (top > innerHeight * 0.6 || top < 0) by("answer").scrollIntoView({ block: "start" });
}

function forgetAnswer() {
  state.answer = null;
  clearAnswer();
  map.clearAnswer();
  map.resized();
}

function select(rank, { reveal = false } = {}) {
  const { matches } = state.answer;
  selectMatch(matches[rank - 1], matches.length, { reveal });
  map.selectRank(rank);
  map.panTo(rank);
}

function showFailure(problem) {
  if (problem.name === "AbortError") return say("idle", "Stopped", "The photo was not answered.");
  if (!(problem instanceof Failure)) {
    console.error(problem);
    return say("failed", "The page failed", "Reload it. The browser's console has the cause.");
  }
  const words = sentence([problem.message, problem.hint].filter(Boolean).join(": "));
  const known = problem.requestId ? ` Request ${problem.requestId}.` : "";
  say("failed", problem.status ? "No answer" : "Not sent", words + known);
  by("spoken").textContent = `No answer. ${words}`;
  if (problem.status === 401 || problem.status === 403) askForKey(problem);
  if (problem.retryAfterS) countDown(problem.retryAfterS);
  revealAnswer();
}

/** As long as the service asked to be left alone. */
function countDown(seconds) {
  state.waitUntil = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((state.waitUntil - Date.now()) / 1000);
    by("retry").hidden = state.answer !== null;
    by("retry").textContent = left > 0 ? `You can try again in ${left} s.` : "You can try again now.";
    showButton();
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
}
