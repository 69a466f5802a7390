"""What a provider's error means: to be repeated, final for one request, or the end of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._limits import Refusal, read_refusal, retry_after_s
from midspec.llm._types import Outcome, OutcomeKind

_LONGEST_NOTE = 300
_BUSY = {429, 503, 529}
_DENIED = {
    402: ("the server asks for payment", "See the account's credit and billing; the same command goes on from here"),
    403: ("the server denies access", "Check the account's rights"),
}
_SCHEMA_WORDS = ("response_format", "json_schema", "output_config", "output_format", "structured output", "guided")
_FILTERED = ("content filtering policy", "content_filter", "content_policy")
_FLAGGED = ("flagged", "moderation")  # a router says 403 of a single prompt
_NO_MONEY = ("insufficient_quota", "credit balance", "billing_hard_limit")


class RetryableError(Exception):
    """An attempt that came to nothing and may be repeated: a 5xx, a reset, a refused connection, a torn reply.

    Args:
        reason: what the server or the system said, cut to one short line.
        wait_s: how long the server asks to be left alone; `None` where it does not say.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())[:_LONGEST_NOTE]
        self.wait_s = wait_s


class ConnectError(RetryableError):
    """No connection: the request never left."""


class RateLimitError(RetryableError):
    """The server takes no more for now (429, 503, 529).

    Args:
        reason: what the server said, cut to one short line.
        wait_s: how long the server asks to be left alone; `None` where it does not say.
        refusal: what its words say of the limit that they stand for.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None, refusal: Refusal | None = None) -> None:
        super().__init__(reason, wait_s=wait_s)
        self.refusal = refusal


class DeadlineError(RetryableError):
    """No answer within the deadline."""


class BrokenReplyError(RetryableError):
    """The request was sent, and no whole reply came back; it may have been billed."""


class SchemaUnsupportedError(Exception):
    """The server does not know the field that carries the reply's schema."""


class CapFieldError(Exception):
    """The server knows the cap of the reply by its other name."""


def error_text(content: bytes, key: str) -> str:
    """Return what a server said of an error, on one line of at most 300 characters, never with the key in it."""
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


def read_error_status(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    where: str,
    key: str,
    has_schema: bool,
    url: str = "",
    url_hint: str = "",
) -> Exception | Outcome:
    """Return what an error status means: an exception to raise, or an outcome if the server will never take it.

    Args:
        status: the HTTP status, 400 or above.
        headers: of the response.
        content: of the response.
        where: the model's name, for messages.
        key: what must never be in a message.
        has_schema: the request carried a schema, which the server may not know.
        url: the server's base URL, for messages.
        url_hint: what to add to the hint where the server knows no such address.
    """
    words = error_text(content, key)
    text = content.decode("utf-8", "replace").lower()
    if status < 500 and any(sign in text for sign in _NO_MONEY):
        hint = "Add credit; the same command goes on from here"
        return MidspecError(f"the account has no credit left ({words})", where=where, hint=hint)
    if status == 403 and any(sign in text for sign in _FLAGGED):
        return Outcome(kind="filtered", stop_reason="403", note=f"403: {words}")
    if status == 401:
        # A server may repeat a part of the key in its words.
        return ConfigError("the server does not accept the key (401)", where=where, hint="Check the key")
    if status == 404:
        what = f"the server at {url} knows no such model or address (404: {words})"
        return ConfigError(what, where=where, hint=f"Check the model's name and the base URL{url_hint}")
    if status in _DENIED:
        what, hint = _DENIED[status]
        return ConfigError(f"{what} ({status}: {words})", where=where, hint=hint)
    if status in _BUSY:
        return RateLimitError(f"{status}: {words}", wait_s=retry_after_s(headers), refusal=read_refusal(text))
    if status >= 500 or status in {408, 409, 425}:
        return RetryableError(f"{status}: {words}", wait_s=retry_after_s(headers))
    if "max_completion_tokens" in text and "max_tokens" in text:
        return CapFieldError(words)
    if has_schema and any(sign in text for sign in _SCHEMA_WORDS):
        return SchemaUnsupportedError(words)
    kind: OutcomeKind = "filtered" if any(sign in text for sign in _FILTERED) else "failed"
    return Outcome(kind=kind, stop_reason=str(status), note=f"{status}: {words}")


def read_connection_error(error: BaseException) -> RetryableError:
    """Return what a failure below HTTP means: no connection, too late, or broken on the way."""
    import aiohttp

    # The SDKs call every broken connection a timeout; the true reasons are further down the chain.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    words = f"{type(chain[-1]).__name__}: {chain[-1]}"
    if any(isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for link in chain):
        return ConnectError(words)
    if any(isinstance(link, aiohttp.SocketTimeoutError) for link in chain):
        return DeadlineError(words)
    return BrokenReplyError(words)


def not_json_error(content: bytes) -> BrokenReplyError:
    """Return the error for a reply of status 200 that is not JSON: cut on the way, or of another protocol."""
    return BrokenReplyError("the reply is not JSON: " + content[:80].decode("utf-8", "replace"))
