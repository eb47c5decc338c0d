// Everything the page asks of the service: with the API key where one is needed.

const KEY = "crossfix-api-key";

/** A failure in the service's own words. */
export class Failure extends Error {
  constructor(status, { code = "", message, hint = "", request_id: requestId = "" }, retryAfterS = 0) {
    super(message);
    Object.assign(this, { status, code, hint, requestId, retryAfterS });
  }
}

/** The key of this tab; "" without one. Never leaves the tab's own storage. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

async function send(address, options = {}) {
  let response;
  try {
    response = await fetch(address, { ...options, headers: headers(options.headers) });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Failure(0, { message: "the service cannot be reached", hint: "check the connection and try again" });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const told = answer.error ?? { message: `the service answered ${response.status}` };
  throw new Failure(response.status, told, Number(response.headers.get("Retry-After")) || 0);
}

/** A JSON document of the service. */
export async function read(address) {
  return (await send(address)).json();
}

/** Where was this photo taken? Parameters as in the API. */
export async function localize(photo, parameters, signal) {
  const response = await send(`localize?${new URLSearchParams(parameters)}`, {
    method: "POST", body: photo, signal, headers: { "Content-Type": "application/octet-stream" } });
  return response.json();
}

/** Shows a picture of the service in an <img>; with a key it is fetched, since <img> sends none. */
export async function showPicture(image, address, signal) {
  image.dataset.address = address;
  if (!key.get()) {
    image.src = address;
    return;
  }
  const blob = await (await send(address, { signal })).blob();
  if (image.dataset.address !== address) return; // another one was asked for meanwhile
  const own = URL.createObjectURL(blob);
  const release = () => URL.revokeObjectURL(own);
  image.addEventListener("load", release, { once: true });
  image.addEventListener("error", release, { once: true });
  image.src = own;
}

const lazily = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    lazily.unobserve(target);
    showPicture(target, target.dataset.wanted).catch(() => {});
  }
}, { rootMargin: "300px" });

/** Shows a picture once it is nearly in sight. */
export function showPictureLazily(image, address) {
  image.dataset.wanted = address;
  lazily.observe(image);
}
