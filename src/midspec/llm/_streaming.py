"""Slow servers of one's own: replies are streamed where a whole one is long in coming.

A stream costs CPU for every token, which a fast server's replies are not worth; and a provider that is paid counts the
tokens at the end of a stream, which is not there when it is broken off. So replies are streamed from servers of one's
own only, while they are slow, and so many at once as together make `_MAX_TOKENS_PER_S`. What is gained: a reply that
repeats itself is broken off, and the server stops. `transformers serve` 5.23 goes on with a request that nobody waits
for any more, and lets all others wait, unless it was streamed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from midspec.llm._errors import BrokenReplyError
from midspec.llm._runaway import repeats_itself
from midspec.llm._types import Request

if TYPE_CHECKING:
    import aiohttp

    from midspec.llm._transport import HttpTransport, Response

_PLAIN = b'"stream":false'
_STREAMED = b'"stream":true,"stream_options":{"include_usage":true}'
# A reply may take as long as this, and a server be silent for half of it, before replies are streamed.
_SLOW_REPLY_S, _SILENT_S = 30.0, 10.0
_MAX_TOKENS_PER_S = 500.0
_BYTES_PER_TOKEN = 4
_WEIGHT_OF_LAST = 0.3
# Whether a reply repeats itself is looked at again when so many characters have come.
_LOOK_EVERY = 200
_REFUSED = range(400, 500)
_NOT_OF_THE_REQUEST = {401, 402, 403, 404, 408, 409, 425, 429}
PROGRESS: ContextVar[Callable[[], None]] = ContextVar("progress", default=lambda: None)
"""Is called whenever more of a streamed reply has come: one that is coming is not late, however long it takes."""


def is_own_server(url: str | None) -> bool:
    """Say whether `url` is on this machine or in a private network, by its name or number alone."""
    host = (urlsplit(url).hostname or "") if url else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".lan", ".internal"))
    return address.is_loopback or address.is_private


class Streaming:
    """Decides for each request whether its reply is streamed, and reads it.

    Args:
        transport: sends bodies.
    """

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport
        self._is_offered = True
        self._tokens_per_s: float | None = None
        self._sent_at: dict[int, float] = {}
        self._n_sent = self._n_streamed = 0

    async def post(self, body: bytes, request: Request) -> Response:
        """Send a body that holds `"stream":false` and return the response, a streamed one as if it were not.

        Raises:
            RetryableError: there was no response, or it broke off.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._n_sent += 1
        number = self._n_sent
        self._sent_at[number] = began
        streams = self._wants(request, began)
        self._n_streamed += streams
        try:
            if streams:
                response = await self._transport.post(body.replace(_PLAIN, _STREAMED, 1), read_stream)
                if response.status_code not in _REFUSED or response.status_code in _NOT_OF_THE_REQUEST:
                    return self._seen(response, loop.time() - began)
            response = await self._transport.post(body)
            # What is refused both ways is refused for what it is; else the server knows no streams.
            self._is_offered = self._is_offered and not (streams and response.status_code not in _REFUSED)
            return self._seen(response, loop.time() - began)
        finally:
            self._n_streamed -= streams
            del self._sent_at[number]

    def _wants(self, request: Request, now: float) -> bool:
        if not self._is_offered:
            return False
        rate = self._tokens_per_s
        if rate is None:
            # Nothing has come yet: is the oldest of what is in flight overdue?
            return now - min(self._sent_at.values()) > _SILENT_S and self._n_streamed < _MAX_TOKENS_PER_S / 100
        return request.max_tokens / rate > _SLOW_REPLY_S and (self._n_streamed + 1) * rate < _MAX_TOKENS_PER_S

    def _seen(self, response: Response, seconds: float) -> Response:
        if response.status_code == 200:
            rate = max(0.1, len(response.content) / _BYTES_PER_TOKEN / max(seconds, 1e-3))
            old = self._tokens_per_s
            self._tokens_per_s = rate if old is None else old + _WEIGHT_OF_LAST * (rate - old)
        return response


async def read_stream(response: aiohttp.ClientResponse) -> bytes:
    """Return a streamed chat completion as the JSON of one that was not streamed; what is no stream, as it is.

    A reply that repeats itself is broken off, and ends as one that reached its cap (`length`), its tokens uncounted.

    Raises:
        BrokenReplyError: the stream ends before the reply does, or holds an error.
    """
    if response.content_type != "text/event-stream":
        return await response.read()
    try:
        return await _read_events(response)
    finally:
        # What may still come is not waited for, and some servers close after a stream what they said they would keep.
        response.close()


async def _read_events(response: aiohttp.ClientResponse) -> bytes:
    reply, rest = _StreamedReply(), b""
    # Not by `readline`, which has a longest line.
    note_progress = PROGRESS.get()
    async for block in response.content.iter_any():
        note_progress()
        *lines, rest = (rest + block).split(b"\n")
        # Beside data there are empty lines between events, comments that keep the connection open, and events' names.
        for data in (line[5:].strip() for line in lines if line.startswith(b"data:")):
            if data == b"[DONE]":
                return reply.whole()
            reply.add(data)
        if reply.repeats():
            break
    return reply.whole()


def read_events(content: bytes) -> bytes:
    """Return a stream that has come as a whole as the JSON of a chat completion.

    Raises:
        BrokenReplyError: see `read_stream`.
    """
    reply = _StreamedReply()
    for data in (line[5:].strip() for line in content.split(b"\n") if line.startswith(b"data:")):
        if data == b"[DONE]":
            break
        reply.add(data)
    return reply.whole()


class _StreamedReply:
    """One streamed choice, put together."""

    def __init__(self) -> None:
        self._parts: dict[str, list[str]] = {}
        self._head: dict[str, Any] = {}
        self._finish_reason: str | None = None
        self._usage: Any = None
        self._n_new = 0

    def add(self, data: bytes) -> None:
        try:
            chunk = json.loads(data)
            choices = chunk.get("choices") or ()
        except (ValueError, AttributeError):
            raise BrokenReplyError("a chunk of the reply is no JSON: " + data[:80].decode("utf-8", "replace")) from None
        if chunk.get("error"):
            raise BrokenReplyError("the model broke off: " + json.dumps(chunk["error"])[:120])
        self._head |= {key: chunk[key] for key in ("id", "model") if isinstance(chunk.get(key), str)}
        self._usage = chunk.get("usage") or self._usage
        for choice in choices[:1]:
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            self._usage = choice.get("usage") or self._usage  # where Moonshot counts
            for field, text in (choice.get("delta") or {}).items():
                if isinstance(text, str) and field != "role":
                    self._parts.setdefault(field, []).append(text)
                    self._n_new += len(text)

    def repeats(self) -> bool:
        """Say whether the reply repeats itself; it is looked at again only when more has come."""
        if self._n_new < _LOOK_EVERY or self._finish_reason:
            return False
        self._n_new = 0
        for field, parts in self._parts.items():
            self._parts[field] = ["".join(parts)]
            if repeats_itself(self._parts[field][0]):
                self._finish_reason, self._usage = "length", None
                return True
        return False

    def whole(self) -> bytes:
        if self._finish_reason is None:
            raise BrokenReplyError("the stream ended before the reply did")
        message = {"role": "assistant", "content": None} | {field: "".join(p) for field, p in self._parts.items()}
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return json.dumps({**self._head, "choices": [choice], "usage": self._usage}).encode("ascii")
