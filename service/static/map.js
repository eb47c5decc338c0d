// The map: the gallery's imagery, the search area, and an answer's footprints and estimate.

import { key, showPicture } from "./ask.js";
import { inkOn, rankColour } from "./words.js";

const LABELLED = 20; // more numbers than this hide what they stand on
const PRIOR_STEP_PX = 12;
const NEAR_TILES = 4; // sides of a tile around an estimate that are shown at first
const CASING = { color: "#fff", opacity: 0.85, fill: false, interactive: false }; // lines show on any imagery
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Map tiles fetched by us, so that the API key goes with them. */
const FetchedTiles = L.GridLayer.extend({
  initialize(template, options) {
    L.GridLayer.prototype.initialize.call(this, options);
    this.template = template;
  },
  createTile(coords, done) {
    const image = document.createElement("img");
    image.alt = "";
    image.stop = new AbortController();
    showPicture(image, L.Util.template(this.template, coords), image.stop.signal)
      .then(() => done(null, image), (problem) => done(problem, image));
    return image;
  },
});

/** The map in `container`; `on` is told of clicks: `place`, `priorMoved`, `select`, `hover`. */
export function createMap(container, on) {
  const map = L.map(container, { minZoom: 2, worldCopyJump: true, zoomAnimation: !still,
    fadeAnimation: !still, markerZoomAnimation: !still });
  map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
  L.control.scale({ imperial: false }).addTo(map);
  map.setView([0, 0], 2);
  map.on("click", ({ latlng }) => on.place(placeOf(latlng)));
  container.leafletMap = map;

  const base = L.layerGroup().addTo(map);
  const prior = priorLayer(map, on);
  const answer = answerLayer(map, on);
  let home = null;

  return {
    centre: () => placeOf(map.getCenter()),
    showPrior: prior.show,
    ...answer,
    showGallery(gallery, info) {
      base.clearLayers();
      drawBase(base, gallery, info);
      map.setMaxZoom(nativeZoom(gallery) + 2);
      const first = !home;
      home = boxOf(gallery.bounds);
      if (first) map.fitBounds(home, { animate: false, padding: [12, 12] });
    },
    resized() {
      map.invalidateSize({ animate: false });
    },
    showPriorArea() {
      if (prior.bounds()) map.fitBounds(prior.bounds(), { animate: !still, padding: [30, 30] });
    },
  };
}

function placeOf(latlng) {
  const { lat, lng } = latlng.wrap();
  return { lat: Math.min(Math.max(lat, -90), 90), lon: lng };
}

function boxOf({ west, south, east, north }, near = west) {
  const right = east < west ? east + 360 : east;
  const around = 360 * Math.round((near - (west + right) / 2) / 360); // footprints beyond 180 degrees
  return L.latLngBounds([south, west + around], [north, right + around]);
}

/** Where a map pixel is about a picture's pixel; beyond it tiles are only enlarged. */
function nativeZoom({ bounds, tile_sizes_m: sizes }) {
  const middle = ((bounds.south + bounds.north) / 2) * (Math.PI / 180);
  const finest = Math.min(...sizes) / 256;
  return Math.min(20, Math.max(3, Math.ceil(Math.log2((156543 * Math.cos(middle)) / finest))));
}

function drawBase(group, gallery, info) {
  const options = { maxNativeZoom: nativeZoom(gallery), maxZoom: 22, attribution: escaped(gallery.credit),
    bounds: gallery.bounds.west <= gallery.bounds.east ? boxOf(gallery.bounds) : undefined };
  if (info.map_url) {
    L.tileLayer(info.map_url, { maxZoom: 22, maxNativeZoom: 19, attribution: escaped(info.map_attribution) }).addTo(group);
  }
  const address = `map/{z}/{x}/{y}?v=${encodeURIComponent(gallery.version)}`;
  const tiles = key.get() ? new FetchedTiles(address, options) : L.tileLayer(address, options);
  tiles.on("tileunload", ({ tile }) => tile.stop?.abort());
  group.addLayer(tiles);
  const outline = gallery.coverage ? L.geoJSON(gallery.coverage, { interactive: false })
    : L.rectangle(boxOf(gallery.bounds), { interactive: false });
  outline.setStyle({ className: "coverage", weight: 2, fillOpacity: 0.06 });
  group.addLayer(outline);
}

function escaped(text) {
  return Object.assign(document.createElement("i"), { textContent: text ?? "" }).innerHTML;
}

/** The estimate and the places around it; all places where there is no estimate to trust. */
function worthSeeing({ estimate, matches }) {
  const { lat, lon } = estimate;
  const reach = estimate.refused ? Infinity : Math.max(NEAR_TILES * matches[0].size_m, 1.2 * estimate.radius_m);
  const box = L.latLng(lat, lon).toBounds(2 * (estimate.radius_m ?? matches[0].size_m));
  for (const match of matches) {
    const bounds = boxOf(match.bounds, lon);
    if (bounds.getCenter().distanceTo([lat, lon]) <= reach) box.extend(bounds);
  }
  return box;
}

function priorLayer(map, on) {
  const icon = L.divIcon({ className: "prior-point", iconSize: [24, 24] });
  const casing = L.circle([0, 0], { radius: 1, ...CASING, weight: 6 });
  const circle = L.circle([0, 0], { radius: 1, interactive: false, className: "prior-area", weight: 3,
    dashArray: "9 6", fillOpacity: 0.05 });
  const point = L.marker([0, 0], { icon, draggable: true, keyboard: true, autoPan: true, zIndexOffset: 900,
    title: "Centre of the search area", alt: "Centre of the search area: arrow keys move it" });
  point.on("drag", () => [casing, circle].forEach((one) => one.setLatLng(point.getLatLng())));
  point.on("dragend", () => on.priorMoved(placeOf(point.getLatLng())));
  point.on("keydown", ({ originalEvent: event }) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const at = map.latLngToContainerPoint(point.getLatLng()).add(L.point(step).multiplyBy(PRIOR_STEP_PX));
    on.priorMoved(placeOf(map.containerPointToLatLng(at)));
  });
  let shown = false;
  return {
    bounds: () => (shown ? circle.getBounds() : null),
    show(prior) {
      shown = prior !== null;
      if (!shown) {
        for (const layer of [casing, circle, point]) layer.remove();
        return;
      }
      for (const one of [casing, circle]) {
        one.setLatLng([prior.lat, prior.lon]).setRadius(prior.radius_m).addTo(map);
      }
      point.setLatLng([prior.lat, prior.lon]).addTo(map);
    },
  };
}

function answerLayer(map, on) {
  const group = L.layerGroup().addTo(map);
  let footprints = [];
  let selected = 1;

  function style(rank, hot) {
    const { box, label, colour } = footprints[rank - 1];
    const chosen = rank === selected;
    box.setStyle({ weight: chosen || hot ? 5 : 2, fillOpacity: chosen || hot ? 0.16 : 0 });
    box.options.casing.setStyle({ weight: chosen || hot ? 9 : 4 });
    label?.getElement()?.classList.toggle("chosen", chosen);
    if (chosen || hot) {
      box.options.casing.bringToFront();
      box.bringToFront();
    }
    return colour;
  }

  function footprint(match, count, near) {
    const colour = rankColour(match.rank, count);
    const bounds = boxOf(match.bounds, near);
    const casing = L.rectangle(bounds, { color: "#000", opacity: 0.55, weight: 4, fill: false, interactive: false });
    const box = L.rectangle(bounds, { color: colour, weight: 2, fillOpacity: 0, casing, bubblingMouseEvents: false });
    box.on("click", () => on.select(match.rank));
    box.on("mouseover", () => on.hover(match.rank));
    box.on("mouseout", () => on.hover(null));
    group.addLayer(casing).addLayer(box);
    if (match.rank > LABELLED) return { box, colour };
    const label = L.marker(bounds.getNorthWest(), { interactive: false, keyboard: false, zIndexOffset: 500 - match.rank,
      icon: L.divIcon({ className: "rank-label", iconSize: [20, 20], html: String(match.rank) }) });
    group.addLayer(label);
    Object.assign(label.getElement().style, { background: colour, color: inkOn(colour) });
    label.getElement().setAttribute("aria-hidden", "true");
    return { box, label, colour };
  }

  function estimate({ lat, lon, radius_m: radius, refused }) {
    const className = refused ? "estimate refused" : "estimate";
    if (radius) {
      group.addLayer(L.circle([lat, lon], { radius, ...CASING, weight: 7 }));
      group.addLayer(L.circle([lat, lon], { radius, className, weight: 4, fillOpacity: refused ? 0 : 0.1,
        interactive: false, dashArray: refused ? "3 9" : undefined }));
    }
    group.addLayer(L.marker([lat, lon], { interactive: false, keyboard: false, zIndexOffset: 800,
      alt: "", icon: L.divIcon({ className: `estimate-point${refused ? " refused" : ""}`, iconSize: [18, 18] }) }));
  }

  return {
    clearAnswer() {
      group.clearLayers();
      footprints = [];
    },
    showAnswer(answer) {
      this.clearAnswer();
      const near = answer.estimate.lon;
      // The worst first, so that better ones lie on top.
      footprints = [...answer.matches].reverse().map((match) => footprint(match, answer.matches.length, near)).reverse();
      estimate(answer.estimate);
      this.selectRank(1);
      map.fitBounds(worthSeeing(answer), { animate: !still, padding: [28, 28], maxZoom: map.getMaxZoom() - 2 });
    },
    selectRank(rank) {
      selected = rank;
      footprints.forEach((_, i) => style(i + 1, false));
      if (footprints[rank - 1]) style(rank, false);
    },
    heat(rank) {
      footprints.forEach((_, i) => style(i + 1, i + 1 === rank));
      if (footprints[selected - 1]) style(selected, false);
    },
    panTo(rank) {
      const bounds = footprints[rank - 1]?.box.getBounds();
      if (bounds && !map.getBounds().contains(bounds)) map.panInsideBounds(bounds, { animate: !still });
      if (bounds && !map.getBounds().contains(bounds)) map.fitBounds(bounds, { animate: !still, maxZoom: map.getZoom() });
    },
  };
}
