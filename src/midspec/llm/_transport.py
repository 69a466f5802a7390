"""The way to one endpoint: a ready body goes in, and a status, headers and the reply's bytes come out.

It is aiohttp itself, with the address, the headers and the key that the SDK's client has. The SDK's `post` builds
options, URL, headers and reply models anew for every request, and its HTTP client is one more layer over the same
aiohttp: the two together cost more CPU than the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from midspec.llm._types import Access
from midspec.llm._wire import KEPT_ALIVE_S, failed_connection, is_telemetry, most_connections, tls

if TYPE_CHECKING:
    import aiohttp

# aiohttp says itself what it can unpack, and how long a body is.
_OF_THE_TRANSPORT = {"accept-encoding", "connection", "content-length", "host"}


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
            if isinstance(value, str) and not is_telemetry(name) and name.lower() not in _OF_THE_TRANSPORT
        }
        self._proxy = _proxy_for(url)
        self._session: aiohttp.ClientSession | None = None
        self._how: dict[str, Any] = {}

    async def post(self, body: bytes) -> Response:
        """The response to `body` (JSON), whatever its status.

        Raises:
            AgainError: there was none.
        """
        import aiohttp

        session = self._session or self._opened()
        try:
            async with session.post(data=body, **self._how) as response:
                return Response(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise failed_connection(error) from None

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp
        from multidict import CIMultiDict
        from yarl import URL

        access = self._access
        connector = aiohttp.TCPConnector(
            limit=most_connections(access),
            keepalive_timeout=KEPT_ALIVE_S,
            ssl=tls() if self._url.startswith("https:") else True,
        )
        # Made once: what is handed over as text would be taken apart again for every request.
        self._how = {
            "url": URL(self._url),
            "headers": CIMultiDict(self._headers),
            "timeout": aiohttp.ClientTimeout(sock_connect=access.connect_s, sock_read=access.deadline_s),
            "proxy": self._proxy,
        }
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
