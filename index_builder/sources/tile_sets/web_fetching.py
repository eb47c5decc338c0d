"""Tiles from a server: paced, retried, limited in size and time, and from that server only.

What is worth another try and how long to wait is decided by urllib3's `Retry`.
"""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry, Timeout

from crossfix import __version__
from crossfix.errors import SourceError
from index_builder.sources.tile_sets.web_pacing import Pacer

USER_AGENT = f"crossfix-index-builder/{__version__} (image galleries from map tiles)"
MAX_TILE_BYTES = 8_000_000
MAX_REDIRECTS = 3
MAX_PAUSE_S = 300.0
_CHUNK_BYTES = 65_536
_NO_TILE = (204, 404, 410)
_WORTH_A_RETRY = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)


class _Failed(HTTPError):
    """The server answered, but not usefully."""


@dataclass(frozen=True)
class _Answer:
    status: int
    location: str
    retry_after: str
    body: bytes


class WebFetcher:
    """Gets images from one server. May be used from several threads.

    Args:
        host: scheme, host and port, for messages and proxies.
        pacer: shared turns; retries and redirects wait for theirs as well.
        retries: tries after the first.
        backoff_s: first pause; doubled with every further one.
        time_limit_s: for each wait, and for the whole of a body.
    """

    def __init__(
        self,
        host: str,
        pacer: Pacer,
        *,
        retries: int = 5,
        backoff_s: float = 1.0,
        time_limit_s: float = 30.0,
    ) -> None:
        self._host = host
        self._pacer = pacer
        self._time_limit_s = time_limit_s
        self._backoff_s = backoff_s
        self._retry = Retry(
            total=retries,
            backoff_factor=backoff_s,
            backoff_max=MAX_PAUSE_S,
            backoff_jitter=backoff_s / 4,
            status_forcelist=_WORTH_A_RETRY,
        )
        self._pool = _open_pool(urlsplit(host), time_limit_s)

    def fetch(self, url: str) -> bytes | None:
        """The answer's body, or None where the server has no such tile (404, 410, 204).

        Raises:
            SourceError: refused, redirected elsewhere, or still failing after all retries.
        """
        retry = self._retry
        for _ in range(MAX_REDIRECTS + 1):
            answer, retry = self._ask(url, retry)
            if answer.status not in _REDIRECTS:
                return self._accept(answer)
            url = self._follow(url, answer.location)
        raise SourceError(
            f"tile server {self._host} redirects in circles", hint="check the address"
        )

    def _ask(self, url: str, retry: Retry) -> tuple[_Answer, Retry]:
        """One answer that is worth no further try, and what is left of the tries."""
        while True:
            self._pacer.wait()
            asked_pause_s = 0.0
            try:
                answer = self._request(url)
                if not retry.is_retry("GET", answer.status):
                    return answer, retry
                problem: HTTPError = _Failed(f"it answered with status {answer.status}")
                asked_pause_s = _read_retry_after(retry, answer.retry_after)
            except HTTPError as caught:
                problem = caught
            try:
                retry = retry.increment("GET", url, error=problem)
            except HTTPError as last:
                raise SourceError(
                    f"tile server {self._host} failed {len(retry.history) + 1} times, "
                    f"lastly: {problem}",
                    hint="try again later (what was fetched is kept), or lower requests_per_s",
                ) from last
            backoff_s = max(self._backoff_s, retry.get_backoff_time())
            self._pacer.pause(min(MAX_PAUSE_S, max(asked_pause_s, backoff_s)))

    def _request(self, url: str) -> _Answer:
        """Raises: HTTPError (urllib3's) for anything that broke on the way."""
        response = self._pool.request(
            "GET", url, retries=False, redirect=False, preload_content=False
        )
        try:
            return _Answer(
                status=response.status,
                location=response.headers.get("Location", ""),
                retry_after=response.headers.get("Retry-After", ""),
                body=self._read_body(response),
            )
        finally:
            response.close()  # gives it back where it was read to its end, else drops it

    def _read_body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """Never more than a tile can have, nor longer than the limit, however it trickles."""
        end_s = time.monotonic() + self._time_limit_s
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > MAX_TILE_BYTES or time.monotonic() > end_s:
                if len(body) > MAX_TILE_BYTES:
                    raise SourceError(
                        f"tile server {self._host} sent more than {MAX_TILE_BYTES} bytes",
                        hint="this is no map tile; check the address",
                    )
                raise _Failed(f"it needed more than {self._time_limit_s:g} s for one tile")
        return bytes(body)

    def _follow(self, url: str, location: str) -> str:
        """The new address, where it is on the same server; others were not agreed to."""
        new = urljoin(url, location)
        before, after = urlsplit(url), urlsplit(new)
        if not location or _origin(before) != _origin(after):
            raise SourceError(
                f"tile server {self._host} redirects to another server "
                f"({after.scheme}://{after.netloc.rpartition('@')[2]})",
                hint="give that server's address, if its terms allow it",
            )
        return new

    def _accept(self, answer: _Answer) -> bytes | None:
        if answer.status in _NO_TILE:
            return None
        if answer.status != 200:
            raise SourceError(
                f"tile server {self._host} refuses: it answered with status {answer.status}",
                hint="check the address, the zoom, its key and its terms of use",
            )
        return answer.body

    def close(self) -> None:
        """Closes idle connections."""
        self._pool.clear()


def _open_pool(host: SplitResult, time_limit_s: float) -> urllib3.PoolManager:
    """Connections, through the proxy that the environment names for this host."""
    options: dict[str, Any] = {
        "headers": {"User-Agent": USER_AGENT, "Accept": "image/*", "Accept-Encoding": "identity"},
        "timeout": Timeout(connect=min(10.0, time_limit_s), read=time_limit_s),
        "maxsize": 16,
    }
    proxy = getproxies().get(host.scheme)
    if proxy and not proxy_bypass(host.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def _read_retry_after(retry: Retry, header: str) -> float:
    """Seconds from a header that may be a number or a date, or nonsense."""
    try:
        return retry.parse_retry_after(header) if header else 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    default = {"http": 80, "https": 443}.get(address.scheme)
    return address.scheme, address.hostname, address.port or default
