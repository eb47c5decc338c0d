// The search area: three number fields, a slider, and the map, all telling the same.

const SMALLEST_M = 25;
const LARGEST_M = 50_000;

/** Keeps fields, slider and map in step.
 *
 * `map` needs `showPrior(prior | null)` and `centre()`; it calls `moved` when somebody drags or
 * clicks. `onChange` is told after every change.
 */
export function watchPrior(form, map, { onChange, usualRadiusM }) {
  const { lat, lon, radius_m: radius } = form.elements;
  const slider = document.getElementById("radius-slider");
  const clear = document.getElementById("prior-clear");

  function changed({ fromMap = false } = {}) {
    const prior = readPrior(form);
    clear.disabled = ![lat, lon].some((field) => field.value.trim());
    if (prior.whole || !fromMap) map.showPrior(prior.whole ? prior : null);
    for (const field of [lat, lon, radius]) {
      field.setAttribute("aria-invalid", String(prior.wrong.includes(field.name)));
    }
    onChange();
  }

  function setRadius(metres) {
    radius.value = String(roundRadius(metres));
    slider.value = String(toSlider(metres));
    slider.setAttribute("aria-valuetext", `${radius.value} metres`);
  }

  function setCentre(place) {
    lat.value = place.lat.toFixed(6);
    lon.value = place.lon.toFixed(6);
    if (!(Number(radius.value) > 0)) setRadius(usualRadiusM());
    changed({ fromMap: true });
  }

  slider.addEventListener("input", () => {
    setRadius(fromSlider(Number(slider.value)));
    changed();
  });
  radius.addEventListener("input", () => {
    if (Number(radius.value) > 0) slider.value = String(toSlider(Number(radius.value)));
    changed();
  });
  for (const field of [lat, lon]) field.addEventListener("input", () => changed());
  document.getElementById("prior-here").addEventListener("click", () => setCentre(map.centre()));
  clear.addEventListener("click", () => {
    lat.value = lon.value = radius.value = "";
    changed();
    lat.focus();
  });
  return { setCentre };
}

/** The search area as it stands in the fields; `wrong` names fields that hold no such number. */
export function readPrior(form) {
  const texts = ["lat", "lon", "radius_m"].map((name) => [name, form.elements[name].value.trim().replace(",", ".")]);
  const placed = texts.slice(0, 2).some(([, text]) => text);
  const limits = { lat: [-90, 90], lon: [-180, 180], radius_m: [1, 20_100_000] };
  const wrong = placed
    ? texts.filter(([name, text]) => !inside(text, limits[name])).map(([name]) => name)
    : [];
  const [lat, lon, radiusM] = texts.map(([, text]) => Number(text));
  return { lat, lon, radius_m: radiusM, whole: placed && !wrong.length, wrong };
}

function inside(text, [low, high]) {
  return text !== "" && Number(text) >= low && Number(text) <= high;
}

function fromSlider(step) {
  return SMALLEST_M * (LARGEST_M / SMALLEST_M) ** (step / 100);
}

function toSlider(metres) {
  const share = Math.log(metres / SMALLEST_M) / Math.log(LARGEST_M / SMALLEST_M);
  return Math.round(100 * Math.min(Math.max(share, 0), 1));
}

/** Two figures are plenty for a guess. */
export function roundRadius(metres) {
  return Number(metres.toPrecision(2));
}
