// How answers are put into words, numbers and colours. No page here: every function is pure.

const RANK_STOPS = ["#d6006c", "#e8590c", "#f2b01e", "#7fc8d8", "#5c86b0"];

/** Metres for people: "58 m", "1.4 km". */
export function distance(metres) {
  if (metres < 1000) return `${Math.round(metres)} m`;
  return `${(metres / 1000).toFixed(metres < 10000 ? 1 : 0)} km`;
}

/** "42.163612, -3.029934": latitude first, as maps expect it. */
export function pair({ lat, lon }) {
  return `${lat.toFixed(6)}, ${lon.toFixed(6)}`;
}

/** "42.16361 north, 3.02993 west", to be spoken. */
export function spokenPlace({ lat, lon }) {
  const northing = `${Math.abs(lat).toFixed(5)} ${lat < 0 ? "south" : "north"}`;
  return `${northing}, ${Math.abs(lon).toFixed(5)} ${lon < 0 ? "west" : "east"}`;
}

/** What an estimate is worth, with a word about parts of the gallery that did not answer. */
export function verdict(estimate, { view, inArea, gallery }) {
  const said = worth(estimate, { view, inArea });
  const missing = missingParts(gallery);
  if (!missing) return said;
  return { ...said, tone: said.tone === "sure" ? "unsure" : said.tone, detail: `${missing} ${said.detail}` };
}

/** "Only 3 of 4 parts of the gallery answered ..."; empty where all did. */
export function missingParts(gallery) {
  if (!gallery || !(gallery.shards_answered < gallery.shards_asked)) return "";
  return `Only ${gallery.shards_answered} of ${gallery.shards_asked} parts of the gallery answered: `
    + "the place may lie in what is missing. Try again in a minute.";
}

/**
 * What an estimate is worth: a tone for the eye, a headline, and a sentence that explains it.
 * With a search area all of it holds only if the photo was taken there.
 */
function worth(estimate, { view, inArea }) {
  if (estimate.confidence === null) {
    const by = view === "drone" ? "drone photos" : "photos from the ground";
    return { tone: "refused", headline: "Unknown: do not use this as a location",
      detail: `This encoder is not calibrated for ${by}, so nobody knows how often such answers are right. `
        + "The best tile is shown for you to judge." };
  }
  const often = inArea
    ? `If the photo was taken in the search area: ${frequency(estimate.confidence).replace(/^./, (first) => first.toLowerCase())}`
    : frequency(estimate.confidence);
  if (estimate.refused) {
    return { tone: "refused", headline: "Not sure: do not use this as a location",
      detail: `${sentence(estimate.reason ?? "the confidence is too low")} ${often}` };
  }
  const within = `within ${distance(estimate.radius_m)}`;
  if (inArea && estimate.confidence >= 0.7) {
    return { tone: "sure", headline: `In this area, ${estimate.confidence >= 0.9 ? "very likely" : "likely"} ${within} of this point`, detail: often };
  }
  if (estimate.confidence >= 0.9) return { tone: "sure", headline: `Very likely ${within} of this point`, detail: often };
  if (estimate.confidence >= 0.7) return { tone: "sure", headline: `Likely ${within} of this point`, detail: often };
  return { tone: "unsure", headline: `Perhaps ${within} of this point: compare the pictures`, detail: often };
}

/** "About 93 of 100 answers like this are right." */
export function frequency(confidence) {
  const right = Math.round(confidence * 100);
  if (right >= 100) return "More than 99 of 100 answers like this are right.";
  if (right < 1) return "Fewer than 1 of 100 answers like this are right.";
  return `About ${right} of 100 answers like this ${right === 1 ? "is" : "are"} right.`;
}

/** Starts large, ends with a full stop. */
export function sentence(text) {
  const trimmed = text.trim();
  const end = /[.!?]$/.test(trimmed) ? "" : ".";
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + end;
}

/** The whole answer in a sentence or two, for those who do not see the page. */
export function spokenAnswer({ estimate, matches, gallery }, asked) {
  const { headline, detail } = verdict(estimate, { ...asked, gallery });
  const what = estimate.refused ? "Best guess" : "Place";
  return `${headline}. ${what}: ${spokenPlace(estimate)}. ${detail} ${matches.length} places are listed, best first.`;
}

/** The colour of a rank among so many: the best is the hottest. */
export function rankColour(rank, count) {
  const share = count > 1 ? (rank - 1) / (count - 1) : 0;
  const at = share * (RANK_STOPS.length - 1);
  const low = Math.min(Math.floor(at), RANK_STOPS.length - 2);
  const [from, to] = [RANK_STOPS[low], RANK_STOPS[low + 1]].map(channels);
  return `#${from.map((value, i) => Math.round(value + (to[i] - value) * (at - low))
    .toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever reads better on a colour (WCAG 2.2 contrast ratio). */
export function inkOn(colour) {
  const [red, green, blue] = channels(colour).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
}

function channels(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
}

/** A `geo:` address (RFC 5870) with the radius as its uncertainty. */
export function geoUri({ lat, lon, radius_m }) {
  return `geo:${lat.toFixed(6)},${lon.toFixed(6)}${radius_m ? `;u=${Math.round(radius_m)}` : ""}`;
}

/** The answer as a FeatureCollection (RFC 7946), as the service itself would send it. */
export function geojson({ matches, estimate, ...rest }) {
  const { lat, lon, ...worth } = estimate;
  const point = { type: "Feature", geometry: { type: "Point", coordinates: [lon, lat] },
    properties: { role: "estimate", ...worth } };
  const footprints = matches.map(({ bounds, ...match }) => ({ type: "Feature",
    geometry: { type: "Polygon", coordinates: [ring(bounds)] }, properties: { role: "match", ...match } }));
  return { type: "FeatureCollection", features: [point, ...footprints], ...rest };
}

function ring({ west, south, east, north }) {
  return [[west, south], [east, south], [east, north], [west, north], [west, south]];
}

/** Bytes as megabytes: "3.2 MB". */
export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;
}

/** Those who made the imagery, each once. */
export function credits(items) {
  const named = items.map(({ attribution, licence }) => [attribution, licence].filter(Boolean).join(", "));
  return [...new Set(named.filter(Boolean))].join("; ");
}
