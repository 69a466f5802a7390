"""HTTP to one endpoint: a ready body goes in, and a status, headers and the reply's bytes come out.

It is aiohttp itself, with the address, the headers and the key that the SDK's client has. The SDK's `post` builds
options, URL, headers and reply models anew for every request, and its HTTP client is one more layer over the same
aiohttp: the two together cost more CPU than the request.
"""

from __future__ import annotations

import gc
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from midspec.core.errors import ConfigError
from midspec.llm._errors import read_connection_error
from midspec.llm._types import Access

if TYPE_CHECKING:
    import aiohttp
    import httpx2

# What the SDKs' low-level `post` is told about a body that is JSON already.
JSON_OPTIONS: Any = {"headers": {"content-type": "application/json"}}
# A connection that idles longer is the one that a server closes just as it is used again.
_KEEP_ALIVE_S = 4.0
# Debug lines of these hold URLs, headers and bodies, or come once a request: they are for their own developers.
_SDK_LOGGERS = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "aiohttp.client")
# aiohttp says itself what it can unpack, and how long a body is.
_SET_BY_AIOHTTP = {"accept-encoding", "connection", "content-length", "host"}


class Response(NamedTuple):
    """What a server answered, whatever its status."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class HttpTransport:
    """Sends bodies to one endpoint. Connections are opened in the event loop that sends the first.

    Args:
        url: the endpoint.
        headers: the SDK's headers, its key among them; what the SDK omits is left out.
        access: how many connections there may be, and how long is waited.
    """

    def __init__(self, url: str, headers: Mapping[str, Any], access: Access) -> None:
        self._url, self._access = url, access
        self._headers = {
            name: value
            for name, value in headers.items()
            if isinstance(value, str) and not _is_telemetry(name) and name.lower() not in _SET_BY_AIOHTTP
        }
        parts = urlsplit(url)
        self._proxy: str | None = None
        if not proxy_bypass(parts.netloc.rpartition("@")[2]):
            proxies = getproxies()
            self._proxy = proxies.get(parts.scheme) or proxies.get("all")
        self._session: aiohttp.ClientSession | None = None
        self._options: dict[str, Any] = {}

    async def post(
        self, body: bytes, read: Callable[[aiohttp.ClientResponse], Awaitable[bytes]] | None = None
    ) -> Response:
        """Send `body` (JSON) and return the response, whatever its status; `read` takes in what it holds.

        Raises:
            RetryableError: there was no response.
        """
        import aiohttp

        session = self._session or self._open()
        try:
            async with session.post(data=body, **self._options) as response:
                content = await (response.read() if read is None else read(response))
                return Response(response.status, response.headers, content)
        except (aiohttp.ClientError, OSError) as error:
            raise read_connection_error(error) from None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp
        from multidict import CIMultiDict
        from yarl import URL

        access = self._access
        connector = aiohttp.TCPConnector(
            limit=_max_connections(access),
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=_tls() if self._url.startswith("https:") else True,
        )
        # Made once: what is handed over as text would be taken apart again for every request.
        self._options = {
            "url": URL(self._url),
            "headers": CIMultiDict(self._headers),
            "timeout": aiohttp.ClientTimeout(sock_connect=access.connect_s, sock_read=access.deadline_s),
            "proxy": self._proxy,
        }
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()


def api_key(variable: str, access: Access) -> str:
    """Return the key in the environment variable `variable`, or `none` for a server of one's own that needs none.

    Raises:
        ConfigError: there is no key and the server is the provider's own.
    """
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    if access.base_url is None:
        raise ConfigError("no key is set", where=variable, hint=f"Set the environment variable {variable}")
    return "none"


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector: an SDK's hundreds of modules all stay, and the search is a sixth of the import."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def sdk_options(access: Access, http_client: Callable[[], Callable[..., httpx2.AsyncClient]]) -> dict[str, Any]:
    """Return what both SDKs' clients are made with: no retries of their own, aiohttp below, and explicit timeouts.

    Also keeps the SDKs' own log lines (requests, headers, bodies) out of every log, whatever OPENAI_LOG says.

    Args:
        access: how the model is reached.
        http_client: gives the class of the SDK's aiohttp client, when something is first sent through it. Single
            requests never are (see `HttpTransport`), and what it loads takes as long as a hundred of them.
    """
    import httpx2

    for name in _SDK_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
    timeout = httpx2.Timeout(access.deadline_s, connect=access.connect_s, pool=None)
    limits = httpx2.Limits(max_connections=_max_connections(access), keepalive_expiry=_KEEP_ALIVE_S)

    class LazyTransport(httpx2.AsyncBaseTransport):
        client: httpx2.AsyncClient | None = None

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.client = self.client or http_client()(limits=limits, timeout=timeout, verify=_tls())
            return await self.client.send(request, stream=True)

        async def aclose(self) -> None:
            if self.client is not None:
                await self.client.aclose()

    client = httpx2.AsyncClient(transport=LazyTransport(), follow_redirects=True)
    return {"base_url": access.base_url, "max_retries": 0, "timeout": timeout, "http_client": client}


@cache
def _tls() -> ssl.SSLContext:
    """Return the one TLS context of all clients; reading the system's certificates takes as long as many requests."""
    import httpx2

    return httpx2.create_ssl_context()


def _max_connections(access: Access) -> int:
    """Return so many that the pool never is the limit."""
    return max(1000, 4 * access.concurrency)


def without_telemetry(headers: Mapping[str, Any], omit: Any) -> dict[str, Any]:
    """Omit the SDK's headers about this machine: half of all headers, and a tenth of a request's CPU."""
    return {name: omit for name in headers if _is_telemetry(name)}


def _is_telemetry(name: str) -> bool:
    return name.lower().startswith("x-stainless")
