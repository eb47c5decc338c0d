"""Headers that every answer carries, unless its route says something else."""

from starlette.types import Message

SECURITY_HEADERS: dict[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    # Not `no-referrer`: tile servers of base maps ask for the origin of the page; no more is sent.
    b"referrer-policy": b"strict-origin-when-cross-origin",
    b"x-frame-options": b"DENY",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), geolocation=(self), microphone=(), payment=(), usb=()",
    b"cache-control": b"no-store",
}
_SAME_ORIGIN = (b"cross-origin-resource-policy", b"same-origin")


def complete_headers(
    message: Message,
    *,
    request_id: str,
    private: bool,
    other_origins: bool = False,
    is_last: bool = False,
) -> None:
    """Adds the request's id and what the route has not set to a response's start, in place.

    Args:
        private: readers need a key, so what they may read is not for caches that others share.
        other_origins: pages of some other origins may read answers.
        is_last: the connection ends after this answer.
    """
    headers = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
    if private:
        headers = [
            (name, value.replace(b"public", b"private") if name == b"cache-control" else value)
            for name, value in headers
        ]
    present = {name for name, _ in headers}
    headers += [pair for pair in SECURITY_HEADERS.items() if pair[0] not in present]
    if other_origins:  # CORS decides which; `same-origin` would refuse those it allows as well
        headers = [pair for pair in headers if pair != _SAME_ORIGIN]
        headers.append((_SAME_ORIGIN[0], b"cross-origin"))
    if is_last:
        headers = [pair for pair in headers if pair[0] != b"connection"]
        headers.append((b"connection", b"close"))
    headers.append((b"x-request-id", request_id.encode()))
    message["headers"] = headers
