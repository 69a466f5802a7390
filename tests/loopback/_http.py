"""HTTP/1.1 with as little work as it takes: one request at a time a connection, bodies by length or in chunks."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 429: b"Too Many Requests"}


class Connection(asyncio.Protocol):
    """One client's connection. `handle(connection, method, path, head, body)` is called for every request."""

    def __init__(self, handle: Callable[[Connection, str, str, bytes, bytes], None]) -> None:
        self._handle = handle
        self._buffer = bytearray()
        self._head: bytes | None = None
        self._length = 0  # of the body; -1 if it comes in chunks
        self.transport: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] | None = None  # told once if the client goes before its reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and self._take():
            pass

    def _take(self) -> bool:
        """Take one request off the buffer, if it is there whole."""
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            found = _LENGTH.search(self._head)
            self._length = int(found[1]) if found else -1 if _CHUNKED.search(self._head) else 0
            if b"100-continue" in self._head and self.transport is not None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._whole_body()
        if body is None:
            return False
        head, self._head = self._head, None
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        self._handle(self, method, path, head, body)
        return True

    def _whole_body(self) -> bytes | None:
        if self._length >= 0:
            if len(self._buffer) < self._length:
                return None
            body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
            return body
        parts: list[bytes] = []
        at = 0
        while True:
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return None
            size = int(self._buffer[at:end].split(b";")[0], 16)
            if len(self._buffer) < end + 2 + size + 2:
                return None
            if size == 0:
                del self._buffer[: end + 4]
                return b"".join(parts)
            parts.append(bytes(self._buffer[end + 2 : end + 2 + size]))
            at = end + 2 + size + 2

    def reply(self, status: int, body: bytes, *, more: bytes = b"", content: bytes = b"application/json") -> bool:
        """Send a reply; False if the client has gone."""
        if self.transport is None or self.transport.is_closing():
            return False
        self.transport.write(_whole(status, body, more, content))
        return True

    def reset(self, body: bytes = b"") -> None:
        """Break the connection as a crash does: RST, after the first half of a reply if there is one to send."""
        if self.transport is None:
            return
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if body:
            whole = _whole(200, body, b"", b"application/json")
            self.transport.write(whole[: len(whole) - len(body) // 2])
        self.on_lost = None
        self.transport.abort()


def header(head: bytes, name: bytes) -> str | None:
    """The value of one header."""
    found = re.search(rb"\r\n" + re.escape(name) + rb":[ \t]*([^\r]*)", head, re.IGNORECASE)
    return found[1].decode("latin-1").strip() if found else None


def headers(head: bytes) -> dict[str, str]:
    """All headers, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def _whole(status: int, body: bytes, more: bytes, content: bytes) -> bytes:
    reason = _REASONS.get(status, b"Error")
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        reason,
        content,
        len(body),
        more,
        body,
    )
