"""What a provider's error means: to be repeated, final for one request, or the end of the run."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Collection, Mapping

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._environment import shown_url
from midspec.llm._limits import Refusal, read_refusal, retry_after_s
from midspec.llm._server_words import (
    LONGEST_NOTE,
    error_text,
    is_about_schema,
    is_filtered,
    is_full,
    is_models_fault,
    is_over_spending_limit,
    is_passing,
    is_prompts_length,
    is_shut,
    is_unpaid,
    is_unrouted,
    server_words,
)
from midspec.llm._types import Outcome, OutcomeKind, Usage

_ADDRESS = re.compile(r"https?://[^\s'\"<>()\[\]{}]+", re.IGNORECASE)
_PROXY_LOGIN = "Write it into the proxy's address: http://USER:PASSWORD@HOST:PORT"
# By OpenSSL's codes: not valid yet, expired, for another host, for another address.
_CERTIFICATE_HINTS = {
    **dict.fromkeys((9, 10), "Have it renewed, or set this machine's clock"),
    **dict.fromkeys((62, 64), "Give the base URL the name that the certificate is for"),
}
_UNTRUSTED = (
    "Set SSL_CERT_FILE to a PEM file with the certificate of the server's authority (or its own, if self-signed)"
)
# The status of a request that is too large.
TOO_LARGE = "413"
BUSY = {429, 503, 529}
_PASSING_STATUSES = {408, 409, 424, 425, 499}
_THROTTLED = (
    "throttlingexception",
    "allocated quota exceeded",
    "too many requests",
    "ratelimiterror",
    "rate limit exceeded",
    "rate_limit_exceeded",
    "please wait before trying",
    "secondary rate limit",
    "rpm limit exceeded",
    "tpm limit exceeded",
)
_BAD_KEY = re.compile(
    r"api[ _]key (?:is |has )?(?:not valid|invalid|expired)|api_key_invalid|(?:invalid|incorrect) api[ _]key"
    r"|\bexpiredtokenexception|\bunrecognizedclientexception|security token included in the request is"
)
# The account, or the place it is used from, has no access (AWS by gateways, Google, OpenAI).
_NO_ACCESS = re.compile(
    r"\baccessdeniedexception|\buser location is not supported"
    r"|\borgani[sz]ation (?:must be verified|has been restricted)"
    r"|\b(?:api|tier|service|model)\b[^.]{0,40} not available in your country"
)
_NO_MODEL = re.compile(
    r"\bmodel_not_found\b|(?<!of this )(?<!of the )(?<!for this )(?<!for the )"
    r"\bmodel (?:[`'\"]?[^`'\"\s]{1,100}[`'\"]? )?(?:does not exist"
    r"|(?:was |is )?not found(?! in (?:\w+ )?(?:field|request|body|input)\b)"
    r"|has been (?:decommissioned|retired|removed))|[\"']model_(?:not_(?:supported|available)|decommissioned)[\"']"
    r"|\bonly for api versions\b|not a valid model"
    r"|\bmodel identifier is invalid|on-demand throughput isn[’']t supported"
    r"|\bmodel (?:\S{1,100} )?is (?:supported only|only supported) in v1/\w+|\binvalid model(?: name|_name)?\b"
    r"|operation does not work with the specified model|\bno such model\b|\bunknown model\b"
)
_BALANCE = re.compile("insufficient balance|余额不足")
_FLAGGED = ("flagged", "moderation")  # a router says 403 of a single prompt
# What servers say of a field that they do not take, whatever its value (OpenAI, Anthropic, vLLM, transformers).
_REFUSES = re.compile(
    r"unsupported|not support|n't support|deprecated|not permitted|not allowed|unknown|unrecogni[sz]ed|unexpected"
    r"|extra (?:inputs?|fields?|keys?)|only (?:the )?default|(?:can ?not|can't) (?:both|be (?:used|set|specified))"
    r"|(?:can|may|must) only be|only [\d.]+ (?:is|are) (?:allowed|supported)|must be [\d.]+ for this|no longer"
    r"|not available|does not (?:exist|take|accept)|incompatible"
)
# Fields that decide how is sampled and not what is asked: a model that refuses one answers without it.
SAMPLING_FIELDS = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "logit_bias"),
)


class RetryableError(Exception):
    """An attempt that came to nothing and may be repeated: a 5xx, a reset, a refused connection, a torn reply.

    Args:
        reason: what the server or the system said, cut to one short line.
        wait_s: how long the server asks to be left alone; `None` where it does not say.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())[:LONGEST_NOTE]
        self.wait_s = wait_s


class ConnectError(RetryableError):
    """No connection: the request never left."""


class ServerFaultError(RetryableError):
    """The server broke down over the request (500, 501, 502, 504)."""


class NoReplyError(RetryableError):
    """Status 200 and no model's reply: a proxy's page, a login form, an error in words. Nothing was billed."""


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
    """The request was sent, and no whole reply came back; it may have been billed.

    Args:
        reason: what was seen.
        usage: what the server counted, where it said so all the same.
    """

    def __init__(self, reason: str, *, usage: Usage | None = None) -> None:
        super().__init__(reason)
        self.usage = usage


class FailedGenerationError(BrokenReplyError):
    """The server refuses what the model wrote (no JSON, a tool that is none), which may be good the next time."""


class UnknownFieldError(Exception):
    """The server takes the request without a field, or with another in its place.

    Args:
        words: the server's own.
        fields: those that it does not take.
    """

    def __init__(self, words: str, fields: Collection[str] = ()) -> None:
        super().__init__(words)
        self.fields = tuple(fields)


class SchemaUnsupportedError(UnknownFieldError):
    """The server does not know the field that carries the reply's schema."""


class CapFieldError(UnknownFieldError):
    """The server knows the cap of the reply by its other name."""


class SamplingFieldError(UnknownFieldError):
    """The model takes no such sampling parameter (`temperature`, `top_p`, ...)."""


def read_error_status(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    where: str,
    key: str,
    has_schema: bool,
    sent: Collection[str] = (),
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
        sent: names of the fields that it carried.
        url: the server's base URL, for messages.
        url_hint: what to add to the hint where the server knows no such address.
    """
    words = error_text(content, key)
    text = server_words(content)
    # Bedrock's 400, behind a gateway that has one status for all.
    status = 400 if status == 500 and "(validationexception) when calling" in text else status
    ended = _end_of_run(status, text, words, where=where, url=url, url_hint=url_hint)
    if ended is not None and not (has_schema and is_unrouted(text)):
        return ended
    if status in BUSY or _is_throttled(status, text):
        return RateLimitError(f"{status}: {words}", wait_s=retry_after_s(headers), refusal=read_refusal(text))
    if status in {403, 451}:
        return Outcome(kind="filtered", stop_reason=str(status), note=f"{status}: {words}")
    if status < 500 and is_models_fault(text):
        return FailedGenerationError(f"{status}: {words}")
    if (wrong := _wrong_request(status, text, words, has_schema=has_schema, sent=sent)) is not None:
        return wrong
    if status < 500 and is_full(text):
        return RateLimitError(f"{status}: {words}", wait_s=retry_after_s(headers), refusal=read_refusal(text))
    if has_schema and status in {500, 501} and is_about_schema(text, is_refusal=False):
        return SchemaUnsupportedError(words, ("response_format",))
    if status >= 500 or is_passing(text):
        return ServerFaultError(f"{status}: {words}", wait_s=retry_after_s(headers))
    if status < 400 or status in _PASSING_STATUSES:
        return RetryableError(f"{status}: {words}", wait_s=retry_after_s(headers))
    return Outcome(kind="failed", stop_reason=str(status), note=f"{status}: {words}")


def _wrong_request(
    status: int, text: str, words: str, *, has_schema: bool, sent: Collection[str]
) -> UnknownFieldError | Outcome | None:
    """Return what a server says is wrong with this very request, whatever else it says of its own state."""
    if status >= 500 or status < 400 or status in _PASSING_STATUSES:
        return None
    if (unknown := _unknown_field(text, words, has_schema=has_schema, sent=sent)) is not None:
        return unknown
    if (was_filtered := is_filtered(text)) or str(status) == TOO_LARGE or is_prompts_length(text):
        kind: OutcomeKind = "filtered" if was_filtered else "failed"
        return Outcome(kind=kind, stop_reason=str(status), note=f"{status}: {words}")
    return None


def _is_throttled(status: int, text: str) -> bool:
    """Return whether a server speaks of a limit under a status that is for other things."""
    return status in {400, 403, 500, 502} and any(sign in text for sign in _THROTTLED)


def _end_of_run(status: int, text: str, words: str, *, where: str, url: str, url_hint: str) -> MidspecError | None:
    """Return the error of a status that every other request would meet too, or `None`."""
    if is_unpaid(text) and (status < 500 or (status == 500 and _BALANCE.search(text))):  # MiniMax
        hint = "Add credit; the same command goes on from here"
        return MidspecError(f"the account has no credit left ({words})", where=where, hint=hint)
    if status < 500 and is_over_spending_limit(text):
        hint = "Raise it, or wait until it is free again; the same command goes on from here"
        return MidspecError(f"a limit of what may be spent is reached ({words})", where=where, hint=hint)
    if status == 403 and (
        any(sign in text for sign in _FLAGGED)
        or (is_filtered(text) and not is_shut(text))
        or _is_throttled(status, text)
    ):
        return None
    if status == 400 or (status == 500 and "exception) when calling" in text):  # gateways to Bedrock say it of all
        named = {401: _BAD_KEY, 403: _NO_ACCESS, 404: _NO_MODEL}  # some servers say so of what others have a status for
        status = next((one for one, words_of in named.items() if words_of.search(text)), status)
    what, hint = {
        # A server may repeat a part of the key in its words.
        401: (
            "the server does not accept the key (401)",
            "Check the key: `midspec doctor` lists the variables of keys",
        ),
        402: (
            f"the server wants to be paid first (402: {words})",
            "Look at the account's credit and limits; the same command goes on from here",
        ),
        403: (f"the server denies access (403: {words})", "Check the account's rights"),
        404: (
            f"the server at {url} knows no such model or address (404: {words})",
            f"Check the model's name and the base URL{url_hint}",
        ),
        405: (
            f"the server at {url} takes no such requests (405: {words})",
            f"Check the base URL{url_hint}, and that it is https where the server wants that",
        ),
        407: (f"the proxy wants a login (407: {words})", _PROXY_LOGIN),
    }.get(status, ("", ""))
    return ConfigError(what, where=where, hint=hint) if what else None


def _unknown_field(text: str, words: str, *, has_schema: bool, sent: Collection[str]) -> UnknownFieldError | None:
    if "max_completion_tokens" in text and "max_tokens" in text and "maximum" not in text:
        return CapFieldError(words)
    is_refused = _REFUSES.search(text) is not None
    if is_refused and (caps := _named(("max_completion_tokens", "max_tokens"), text, sent)):
        return CapFieldError(words, caps)
    if is_refused and (fields := _named(SAMPLING_FIELDS, text, sent)):
        return SamplingFieldError(words, fields)
    if has_schema and is_about_schema(text, is_refusal=True):
        return SchemaUnsupportedError(words, ("response_format",))
    return None


def _named(fields: Collection[str], text: str, sent: Collection[str]) -> list[str]:
    return [name for name in fields if name in sent and re.search(rf"(?<![\w.]){name}(?!\w)", text)]


def _without_secrets(found: re.Match[str]) -> str:
    """Return an address without its login and the values of its query."""
    try:
        return shown_url(found[0])
    except ValueError:
        return f"{found[0].partition('//')[0]}//..."


def read_connection_error(error: BaseException) -> RetryableError | MidspecError:
    """Return what a failure below HTTP means: no connection, too late, broken on the way, or no room for a socket."""
    import aiohttp

    # The SDKs call every broken connection a timeout; the true reasons are further down the chain.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    words = _ADDRESS.sub(_without_secrets, f"{type(chain[-1]).__name__}: {chain[-1]}")
    if any(isinstance(link, OSError) and link.errno in {errno.EMFILE, errno.ENFILE} for link in chain):
        hint = "Raise the limit (`ulimit -n 4096`), or lower --concurrency; the same command goes on from here"
        return MidspecError("too many files and connections are open at once", where="ulimit -n", hint=hint)
    # aiohttp's own is of the same class, and does not say why.
    untrusted = [link for link in chain if isinstance(link, ssl.SSLCertVerificationError)]
    if untrusted:  # no certificate mends itself while a run waits
        reason = getattr(untrusted[-1], "verify_message", "") or str(untrusted[-1])
        hint = _CERTIFICATE_HINTS.get(getattr(untrusted[-1], "verify_code", 0), _UNTRUSTED)
        host = next(
            (
                f"https://{link.host}:{link.port}"
                for link in chain
                if isinstance(link, aiohttp.ClientConnectorCertificateError)
            ),
            "https",
        )
        return ConfigError(f"the server's certificate is not accepted ({reason})", where=host, hint=hint)
    refused = next((link for link in chain if isinstance(link, aiohttp.ClientHttpProxyError)), None)
    if refused is not None and refused.status == 407:
        return ConfigError("the proxy wants a login (407)", where="proxy", hint=_PROXY_LOGIN)
    if refused is not None:
        return ConnectError(f"the proxy answers {refused.status} {refused.message}")
    # aiohttp raises `ClientConnectionResetError` before it writes: to a kept connection that the server is closing.
    unsent = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectionResetError
    if any(isinstance(link, unsent) for link in chain):
        return ConnectError(words)
    if any(isinstance(link, aiohttp.SocketTimeoutError) for link in chain):
        return DeadlineError(words)
    return BrokenReplyError(words)


def not_json_error(content: bytes, key: str) -> RetryableError:
    """Return the error for a reply of status 200 that is not JSON: cut on the way, or a page of something else.

    A page may repeat the key that it was sent; it is taken out.
    """
    if content.lstrip()[:1] in {b"{", b"["}:  # a reply's beginning, so that it may have been paid for
        return BrokenReplyError("the reply is not JSON: " + error_text(content[:4000], key)[:80])
    words = error_text(content[:4000], key)[:80] or "nothing at all"
    return NoReplyError(f"the reply is not JSON, and of no model: {words}")
