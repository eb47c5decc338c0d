// Choosing a photo: by file, drop, paste or camera; and showing it where the browser can.

import { megabytes } from "./words.js";

const by = (id) => document.getElementById(id);
const IMAGE_NAME = /\.(jpe?g|png|webp|tiff?|hei[cf])$/i;

/** Calls `onChoose` with every usable photo, or with null and says why. */
export function watchPhoto({ limits, onChoose }) {
  const choose = (file) => file && onChoose(look(file, limits()) ? file : null);
  for (const id of ["file", "camera"]) {
    by(id).addEventListener("change", () => choose(by(id).files[0]));
  }
  // Only devices held in a hand have a camera that is worth offering.
  const hand = matchMedia("(pointer: coarse)").matches;
  by("take").hidden = by("camera").hidden = !hand;
  watchDrop(choose);
  document.addEventListener("paste", (event) => choose(firstImage(event.clipboardData)));
}

function watchDrop(choose) {
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      by("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") choose(event.dataTransfer.files[0]);
    });
  }
}

function firstImage(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
}

/** Shows the photo and its size; whether it can be sent. */
function look(file, limits) {
  const named = file.name || "Pasted photo";
  clearPreview();
  if (!file.type.startsWith("image/") && !IMAGE_NAME.test(file.name)) {
    note(`${named} is not a photo. Choose a JPEG, PNG, WebP, TIFF or HEIC.`, true);
    return false;
  }
  if (limits && file.size > limits.max_body_bytes) {
    note(`${named} has ${megabytes(file.size)}; this service takes ${megabytes(limits.max_body_bytes)} at most.`, true);
    return false;
  }
  note(`${named}, ${megabytes(file.size)}`);
  by("preview").onload = () => {
    by("preview").hidden = false;
    by("drop").classList.add("filled");
    note(`${named}, ${by("preview").naturalWidth} × ${by("preview").naturalHeight}, ${megabytes(file.size)}`);
  };
  by("preview").onerror = () => {
    const kind = /hei[cf]/i.test(file.type + file.name) ? "HEIC" : /tif/i.test(file.type + file.name) ? "TIFF" : "such";
    clearPreview(`No preview: this browser cannot show ${kind} photos. The service reads them all the same.`);
  };
  by("preview").src = URL.createObjectURL(file);
  return true;
}

function clearPreview(words = "") {
  const preview = by("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.onload = preview.onerror = null;
  preview.removeAttribute("src");
  preview.hidden = true;
  by("drop").classList.toggle("filled", false);
  by("invitation").replaceChildren(...(words ? [words] : [part("b", "Choose a photo"), part("span", "or drop or paste one here")]));
}

function part(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

function note(text, failed = false) {
  by("photo-note").textContent = text;
  by("photo-note").classList.toggle("problem", failed);
}
