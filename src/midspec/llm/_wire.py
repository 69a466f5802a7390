"""What both providers share of the way over the wire: which failures may be repeated, keys, quiet logs, JSON bodies."""

from __future__ import annotations

import gc
import json
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._types import Access, Outcome, OutcomeKind, Request

if TYPE_CHECKING:
    import httpx2

# What the SDKs' low-level `post` is told about a body that is JSON already.
HOW_JSON_IS_SENT: Any = {"headers": {"content-type": "application/json"}}
# A connection that idles longer is the one that a server closes just as it is used again.
KEPT_ALIVE_S = 4.0
_LONGEST_NOTE = 300
_BUSY = {429, 503, 529}
_REFUSED_FOR_GOOD = {401, 402, 403, 404}
_FORM_WORDS = ("response_format", "json_schema", "output_config", "output_format", "structured output", "guided")
_FILTERED = ("content filtering policy", "content_filter", "content_policy")
_FLAGGED = ("flagged", "moderation")  # a router says 403 of a single prompt
_NO_MONEY = ("insufficient_quota", "credit balance", "billing_hard_limit")
# Debug lines of these hold URLs, headers and bodies, or come once a request: they are for their own developers.
_LOGGERS = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "aiohttp.client")


class AgainError(Exception):
    """An attempt that came to nothing and may be repeated: a 5xx, a reset, a refused connection, a torn reply.

    Args:
        words: what the server or the system said, cut to one short line.
        wait_s: how long the server asks to be left alone; `None` where it does not say.
    """

    def __init__(self, words: str, *, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.words = " ".join(words.split())[:_LONGEST_NOTE]
        self.wait_s = wait_s


class UnreachableError(AgainError):
    """No connection: the request never left."""


class BusyError(AgainError):
    """The server takes no more for now (429, 503, 529)."""


class LateError(AgainError):
    """No answer within the deadline."""


class TornError(AgainError):
    """The request was sent, and no whole reply came of it; it may have been billed."""


class FormError(Exception):
    """The server does not know the field that carries the schema."""


class TokenFieldError(Exception):
    """The server knows the cap of the reply by its other name."""


def api_key(variable: str, access: Access) -> str:
    """The key in the environment variable `variable`, or `none` for a server of one's own that needs none.

    Raises:
        ConfigError: there is no key and the server is the provider's own.
    """
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    if access.base_url is None:
        raise ConfigError("no key is set", where=variable, hint=f"Set the environment variable {variable}")
    return "none"


def hush() -> None:
    """Keep the SDKs' own log lines (requests, headers, bodies) out of every log, whatever OPENAI_LOG says."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is looked for inside: of the hundreds of modules of an SDK all stays, and the search is a sixth."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache
def tls() -> ssl.SSLContext:
    """The one TLS context of all clients; reading the system's certificates takes as long as many requests."""
    import httpx2

    return httpx2.create_ssl_context()


def timeout(access: Access) -> httpx2.Timeout:
    """How long the SDKs wait for a connection and for bytes."""
    import httpx2

    return httpx2.Timeout(access.deadline_s, connect=access.connect_s, pool=None)


def transport(access: Access) -> dict[str, Any]:
    """How the SDKs' aiohttp client is made: with a pool that never is the limit, and explicit times to wait."""
    import httpx2

    limits = httpx2.Limits(max_connections=most_connections(access), keepalive_expiry=KEPT_ALIVE_S)
    return {"limits": limits, "timeout": timeout(access), "verify": tls()}


def when_used(make: Callable[[], httpx2.AsyncClient]) -> httpx2.AsyncClient:
    """A client that is made when something is first sent through it.

    Single requests never are (see `Line`), and what it loads takes as long as a hundred of them.
    """
    import httpx2

    class Later(httpx2.AsyncBaseTransport):
        made: httpx2.AsyncClient | None = None

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.made = self.made or make()
            return await self.made.send(request, stream=True)

        async def aclose(self) -> None:
            if self.made is not None:
                await self.made.aclose()

    return httpx2.AsyncClient(transport=Later(), follow_redirects=True)


def most_connections(access: Access) -> int:
    """So many that the pool never is the limit."""
    return max(1000, 4 * access.concurrency)


def without_telemetry(headers: Mapping[str, Any], omit: Any) -> dict[str, Any]:
    """The SDK's headers about this machine, left out: half of all headers, and a tenth of a request's CPU."""
    return {name: omit for name in headers if is_telemetry(name)}


def is_telemetry(name: str) -> bool:
    """Whether a header of the SDK's only tells about this machine."""
    return name.lower().startswith("x-stainless")


def joined(request: Request) -> str:
    """The prefix as it is sent, set off from the prompt by an empty line."""
    prefix = request.prefix
    return prefix if not prefix or prefix.endswith("\n") else prefix + "\n\n"


def json_text(value: JsonValue | Mapping[str, Any]) -> str:
    """`value` as JSON in ASCII: a lone surrogate in a reply that is sent back is escaped rather than an error."""
    return json.dumps(value, separators=(",", ":"))


def looks_like_json(text: str) -> bool:
    """Whether a reply begins as JSON does, a fence around it allowed."""
    return text.lstrip().removeprefix("```json").lstrip()[:1] in {"{", "["}


# Failures ------------------------------------------------------------------------------------------------------
def words_of(content: bytes, key: str) -> str:
    """What a server said of an error, on one line of at most 300 characters, never with the key in it."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    for field in ("error", "message", "detail"):
        if isinstance(body, dict) and field in body:
            body = body[field]
    if isinstance(body, dict):
        body = body.get("message") or body
    words = body if isinstance(body, str) else json.dumps(body)
    if key and key != "none":
        words = words.replace(key, "[key]")
    return " ".join(words.split())[:_LONGEST_NOTE]


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            continue
    return None


def failed_status(
    status: int, headers: Mapping[str, str], content: bytes, *, where: str, key: str, has_form: bool, url: str = ""
) -> Exception | Outcome:
    """What an error status means: an exception to raise, or an outcome where the server will never take the request.

    Args:
        status: the HTTP status, 400 or above.
        headers: of the response.
        content: of the response.
        where: the model's name, for messages.
        key: what must never be in a message.
        has_form: the request carried a schema, which the server may not know.
        url: the server's base URL, for messages.
    """
    words = words_of(content, key)
    low = content.decode("utf-8", "replace").lower()
    if status < 500 and any(sign in low for sign in _NO_MONEY):
        hint = "Add credit; the same command goes on from here"
        return MidspecError(f"the account has no credit left ({words})", where=where, hint=hint)
    if status == 403 and any(sign in low for sign in _FLAGGED):
        return Outcome(kind="filtered", stop_reason="403", note=f"403: {words}")
    if status in _REFUSED_FOR_GOOD:
        return _refusal(status, words, where, url)
    if status in _BUSY:
        return BusyError(f"{status}: {words}", wait_s=retry_after_s(headers))
    if status >= 500 or status in {408, 409, 425}:
        return AgainError(f"{status}: {words}", wait_s=retry_after_s(headers))
    if "max_completion_tokens" in low and "max_tokens" in low:
        return TokenFieldError(words)
    if has_form and any(sign in low for sign in _FORM_WORDS):
        return FormError(words)
    kind: OutcomeKind = "filtered" if any(sign in low for sign in _FILTERED) else "failed"
    return Outcome(kind=kind, stop_reason=str(status), note=f"{status}: {words}")


def _refusal(status: int, words: str, where: str, url: str) -> MidspecError:
    if status == 401:
        # A server may repeat a part of the key in its words.
        return ConfigError("the server does not accept the key (401)", where=where, hint="Check the key")
    if status == 404:
        what = f"the server at {url} knows no such model or address (404: {words})"
        return ConfigError(what, where=where, hint=f"Check the model's name and the base URL{_hint(where, url)}")
    return ConfigError(f"the server denies access ({status}: {words})", where=where, hint="Check the account's rights")


def _hint(where: str, url: str) -> str:
    is_short = where.startswith("openai/") and not url.rstrip("/").endswith("/v1")
    return " (most servers of this protocol have theirs at .../v1)" if is_short else ""


def failed_connection(error: BaseException) -> AgainError:
    """What a failure below HTTP means: too late, or broken and worth repeating at once."""
    import aiohttp

    # The SDKs call every broken connection a timeout; the true reasons are further down the chain.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    words = f"{type(chain[-1]).__name__}: {chain[-1]}"
    if any(isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for link in chain):
        return UnreachableError(words)
    if any(isinstance(link, aiohttp.SocketTimeoutError) for link in chain):
        return LateError(words)
    return TornError(words)


def refused(failure: Exception | Outcome) -> Outcome:
    """The outcome of a request that the server will never take; every other failure is raised."""
    if isinstance(failure, Exception):
        raise failure from None
    return failure


def not_json(content: bytes) -> TornError:
    """A reply that says 200 and is not JSON: torn on the way, or not of this protocol."""
    return TornError("the reply is not JSON: " + content[:80].decode("utf-8", "replace"))
