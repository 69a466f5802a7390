"""HTTP to one endpoint: a ready body goes in, and a status, headers and the reply's bytes come out.

It is aiohttp itself, with the address, the headers and the key that the SDK's client has. The SDK's `post` builds
options, URL, headers and reply models anew for every request, and its HTTP client is one more layer over the same
aiohttp: the two together cost more CPU than the request.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._environment import shown_url, takes_bearer, tls, without_query
from midspec.llm._errors import RetryableError, read_connection_error
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
# Files that a run has open beside its connections: the store, what it writes, its libraries, pipes of workers.
_OPEN_FILES = 64
_LOST_ON_THE_WAY = {401, 403, 404, 405}
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
        _silence()
        self._url, self._access = url, access
        self._headers = {
            name: value
            for name, value in headers.items()
            if isinstance(value, str) and not _is_telemetry(name) and name.lower() not in _SET_BY_AIOHTTP
        }
        if (odd := next((name for name, value in self._headers.items() if not value.isprintable()), None)) is not None:
            what = "the header's value holds a line end, a tab or another character that can't be sent"
            raise ConfigError(what, where=odd, hint="Set the variable that it comes from anew, on one line")
        if not takes_bearer(url):
            self._headers = {name: value for name, value in self._headers.items() if name.lower() != "authorization"}
        self._proxy = find_proxy(url)
        self._session: aiohttp.ClientSession | None = None
        self._has_arrived = False  # a request was answered at the very address
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
                is_lost = response.method != "POST" or response.status in _LOST_ON_THE_WAY
                if response.history and is_lost and not self._has_arrived:
                    to = shown_url(str(response.url))
                    what = f"the server redirects to {to}, and on the way a request loses its body or its key"
                    hint = "Give the address that it redirects to as the base URL, if it is the server's own"
                    raise ConfigError(what, where=shown_url(self._url), hint=hint)
                self._has_arrived |= response.status == 200 and not response.history
                return Response(response.status, response.headers, content)
        except (aiohttp.ClientError, OSError) as error:
            raise self._through_proxy(read_connection_error(error)) from None

    def _through_proxy(self, error: RetryableError | MidspecError) -> RetryableError | MidspecError:
        """Say through which proxy a connection goes that failed: the fault may be the proxy's."""
        if self._proxy is None or isinstance(error, MidspecError):
            return error
        error.reason = f"{error.reason}; through the proxy {self._proxy.shown}"
        error.args = (error.reason,)
        return error

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp
        from multidict import CIMultiDict
        from yarl import URL

        access = self._access
        connector = aiohttp.TCPConnector(
            limit=_max_connections(access),
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=tls() if self._url.startswith("https:") else True,
        )
        # Made once: what is handed over as text would be taken apart again for every request.
        self._options = {
            "url": URL(self._url),
            "headers": CIMultiDict(self._headers),
            "timeout": aiohttp.ClientTimeout(sock_connect=access.connect_s, sock_read=access.deadline_s),
            "proxy": self._proxy and self._proxy.url,
        }
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()


class Proxy(NamedTuple):
    """A proxy of the environment: its address, and how it is named in messages (without a login)."""

    url: str
    shown: str


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy that the environment names for `url`, or `None`.

    Raises:
        ConfigError: it is none that this can speak to (SOCKS), or no address.
    """
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    address = proxies.get(kind)
    if not address:
        return None
    variable = next((name for name in os.environ if name.lower() == f"{kind}_proxy"), "the system's settings")
    address = address if "://" in address else f"http://{address}"
    try:
        found = urlsplit(address)
        host = f"{found.hostname or ''}{f':{found.port}' if found.port else ''}"
    except ValueError:
        found, host = urlsplit(""), ""
    hint = f"Unset {variable}, or name the server in NO_PROXY, or give the address of an HTTP proxy"
    if found.scheme.startswith("socks"):
        what = f"names a SOCKS proxy ({found.scheme}://{host}), and midspec speaks to HTTP proxies only"
        raise ConfigError(what, where=variable, hint=hint)
    if found.scheme not in {"http", "https"} or not found.hostname:
        raise ConfigError("is no address of an HTTP proxy", where=variable, hint=hint)
    return Proxy(address, f"{found.scheme}://{host} of {variable}")


def make_room(access: Access) -> None:
    """Raise the process's limit of open files, where it may, to what so many connections need.

    Raises:
        ConfigError: it may not be raised as far.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    n_wanted = access.concurrency + _OPEN_FILES
    if soft == unlimited or soft >= n_wanted:
        return
    if hard != unlimited and hard < n_wanted:
        what = f"{access.concurrency} requests at once need {n_wanted} open files, and the limit is {hard} (ulimit -n)"
        fewer = f", or give --concurrency {hard - _OPEN_FILES}" if hard > _OPEN_FILES else ""
        raise ConfigError(what, where="--concurrency", hint=f"Raise the limit (`ulimit -n 4096`){fewer}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_wanted, hard))


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


def _silence() -> None:
    """Keep log lines of SDKs and aiohttp (requests, headers, bodies) out of every log, whatever OPENAI_LOG says."""
    for name in _SDK_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False


def sdk_options(
    access: Access, url: str, http_client: Callable[[], Callable[..., httpx2.AsyncClient]], *, left_out: str = ""
) -> dict[str, Any]:
    """Return what both SDKs' clients are made with: no retries of their own, aiohttp below, and explicit timeouts.

    Args:
        access: how the model is reached.
        url: the server's base URL; a query of it goes with every request.
        http_client: gives the class of the SDK's aiohttp client, when something is first sent through it. Single
            requests never are (see `HttpTransport`), and what it loads takes as long as a hundred of them.
        left_out: a value of the header Authorization that is not sent.
    """
    import httpx2

    _silence()
    timeout = httpx2.Timeout(access.deadline_s, connect=access.connect_s, pool=None)
    limits = httpx2.Limits(max_connections=_max_connections(access), keepalive_expiry=_KEEP_ALIVE_S)

    class LazyTransport(httpx2.AsyncBaseTransport):
        client: httpx2.AsyncClient | None = None

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.headers.get("authorization") == left_out or not takes_bearer(str(request.url)):
                request.headers.pop("authorization", None)
            self.client = self.client or http_client()(limits=limits, timeout=timeout, verify=tls())
            return await self.client.send(request, stream=True)

        async def aclose(self) -> None:
            if self.client is not None:
                await self.client.aclose()

    client = httpx2.AsyncClient(transport=LazyTransport(), follow_redirects=True)
    base, query = without_query(url)
    options = {"base_url": base, "default_query": query, "max_retries": 0, "timeout": timeout}
    return {**options, "http_client": client}


def _max_connections(access: Access) -> int:
    """Return so many that the pool never is the limit."""
    return max(1000, 4 * access.concurrency)


def without_telemetry(headers: Mapping[str, Any], omit: Any) -> dict[str, Any]:
    """Omit the SDK's headers about this machine: half of all headers, and a tenth of a request's CPU."""
    return {name: omit for name in headers if _is_telemetry(name)}


def _is_telemetry(name: str) -> bool:
    return name.lower().startswith("x-stainless")
