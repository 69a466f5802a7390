"""The provider: routes, fates, latencies, and a log of every request that reached it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import orjson

from ._asked import Asked, Protocol, read_form, read_messages, sha_of
from ._batch import Batches
from ._cache import PrefixCache
from ._fill import wanted_tags
from ._http import Connection, header, headers
from ._limits import Limits
from ._say import Reply, compose, error, message
from ._settings import Fate, Settings

_LOGGED_CHARS = 20_000
_STATUS = {"500": 500, "429": 429, "invalid": 400, "no_model": 404}
# How each protocol says that nothing is left to pay with: the status, and the words.
_NO_CREDIT = {
    "openai": (429, "insufficient_quota: You exceeded your current quota"),
    "anthropic": (400, "Your credit balance is too low to access the API"),
}
Row = dict[str, Any]


class Provider:
    """One server's state. `rows` has a row for every request to a model, in order of arrival.

    A row: `at`, `done` (seconds of the monotonic clock; None until the reply is written), `left` (when the client went
    without it; `gone` is then true), `protocol`, `path`, `kind`, `sha` and `n_before` (hash of the messages, how often
    it came before), `fate`, `status` (None where no reply was written), `latency_s` (drawn), `in_flight` (others at
    arrival), `n_prompt`, `n_cached`, `n_shareable` (what could have been cached), `n_output`, `max_tokens`; with
    `log_texts` also `tail` (end of the prompt) and, of lists, `text`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        fate: Callable[[Asked], Fate | None] | None = None,
        say: Callable[[Asked], str | None] | None = None,
        reshape: Callable[[Row], Row | bytes] | None = None,
    ) -> None:
        self._reshape = reshape
        self.settings = settings
        self.rows: list[Row] = []
        self.paths: Counter[str] = Counter()
        self.n_in_flight = 0
        self.limits = Limits(settings)
        self._fate_of = fate
        self._say = say
        self._seen: Counter[str] = Counter()
        self._cache = PrefixCache(settings)
        self._batches = Batches(self)
        self._last: deque[tuple[str, bytes, bytes]] = deque(maxlen=settings.n_kept)
        self._log = Path(settings.log_path).open("ab") if settings.log_path else None  # noqa: SIM115 - closed in close()
        self._connections: WeakSet[Connection] = WeakSet()

    def connection(self) -> Connection:
        """A new connection's protocol."""
        made = Connection(self.handle)
        self._connections.add(made)
        return made

    def close(self) -> None:
        """Break all connections and close the log."""
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        if self._log:
            self._log.close()

    def last(self) -> list[Row]:
        """Bodies and headers of the last requests."""
        return [
            {"path": path, "headers": headers(head), "body": _json_or_text(body)}
            for path, head, body in list(self._last)
        ]

    def handle(self, connection: Connection, method: str, path: str, head: bytes, body: bytes) -> None:
        """Route one request."""
        path = path.split("?", 1)[0]
        self.paths[f"{method} {path}"] += 1
        if path.startswith("/_"):
            self._inspect(connection, method, path)
            return
        self._last.append((path, head, body))
        protocol: Protocol = "anthropic" if path.startswith("/v1/messages") else "openai"
        if self.settings.key is not None and self.settings.key not in _keys(head):
            connection.reply(401, orjson.dumps(error(protocol, 401)))
        elif method == "POST" and path in {"/v1/messages", "/v1/chat/completions"}:
            self._chat(connection, protocol, path, body)
        elif method == "POST" and path == "/v1/embeddings":
            self._embed(connection, body)
        elif method == "GET" and path == "/v1/models":
            listed = [{"id": "loopback", "object": "model", "created": 0, "owned_by": "loopback"}]
            connection.reply(200, orjson.dumps({"object": "list", "data": listed}))
        else:
            host = header(head, b"host") or "127.0.0.1"
            status, made, content = self._batches.handle(method, path, host, head, body)
            connection.reply(status, made, content=content)

    def ask(self, protocol: Protocol, body: dict[str, Any]) -> Asked:
        """Read a body into what it asks, and count it."""
        texts, of_user, breaks = read_messages(body)
        form, tags, tail = read_form(body), [], of_user[-1] if of_user else ""
        if form is None:
            for said in reversed(of_user):  # a repair leaves the tags to the first message
                tags = wanted_tags(said)
                if tags:
                    tail = said
                    break
        elif len(of_user) > 1:
            tail = of_user[0] + of_user[-1]
        sha = sha_of(texts)
        n_before = self._seen[sha]
        self._seen[sha] += 1
        is_long = form is None and (not tags or any(name in {"document", "text", "reply"} for name, _ in tags))
        return Asked(
            protocol=protocol,
            model=str(body["model"]),
            prompt="".join(texts),
            tail=tail,
            sha=sha,
            n_before=n_before,
            max_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or 1_000_000),
            form=form,
            tags=tags,
            kind="document" if is_long else "list",
            breaks=breaks,
        )

    def draw(self, asked: Asked) -> tuple[Fate, float]:
        """The fate and the latency of a question."""
        settings = self.settings
        draw = random.Random(f"{settings.seed} {asked.sha} {asked.n_before} time")
        median = settings.median_document_s if asked.kind == "document" else settings.median_list_s
        latency = median * draw.lognormvariate(0.0, settings.sigma) if median else 0.0
        chosen = self._fate_of(asked) if self._fate_of else None
        if chosen is not None:
            return chosen, latency
        if len(self.rows) < len(settings.fates):
            return settings.fates[len(self.rows)], latency
        left = draw.random()
        for fate, rate in settings.rates:
            left -= rate
            if left < 0:
                return fate, latency
        return "ok", latency

    def compose(self, asked: Asked, fate: Fate) -> Reply:
        """The reply to a question: what the test says, or made from what was asked."""
        return compose(asked, fate, self.settings, self._say(asked) if self._say else None)

    def answer(self, asked: Asked, fate: Fate) -> tuple[int, dict[str, Any], Row]:
        """A whole answer at once (batches): status, body, and what the log says of it."""
        if fate in {"500", "overloaded", "429", "reset", "error200"}:
            return 500, error(asked.protocol, 500), {"status": 500}
        if fate == "invalid" or (fate == "filtered" and asked.protocol == "anthropic"):
            return 400, error(asked.protocol, 400), {"status": 400}
        if fate == "no_model":
            return 404, error(asked.protocol, 404), {"status": 404}
        if fate == "no_credit":
            status, words = _NO_CREDIT[asked.protocol]
            return status, error(asked.protocol, status, words), {"status": status}
        n_read, n_written, n_shared, keys = self._cache.look(asked)
        self._cache.learn(keys)
        reply = self.compose(asked, fate)
        told = {"status": 200, "n_cached": n_read, "n_shareable": n_shared, "n_output": reply.n_output}
        return 200, message(asked, reply, n_read, n_written), told

    def reshaped(self, body: Row) -> bytes:
        """A good answer's body as it is sent, which a test may change."""
        sent = self._reshape(body) if self._reshape else body
        return sent if isinstance(sent, bytes) else orjson.dumps(sent)

    def note(self, row: Row) -> None:
        """A request has ended: into the file."""
        if self._log:
            self._log.write(orjson.dumps(row) + b"\n")
            self._log.flush()

    def row(self, asked: Asked, path: str, fate: Fate, latency_s: float) -> Row:
        """The log's row of a request that arrives now."""
        row: Row = {
            "at": time.monotonic(),
            "done": None,
            "left": None,
            "protocol": asked.protocol,
            "path": path,
            "kind": asked.kind,
            "sha": asked.sha,
            "n_before": asked.n_before,
            "fate": fate,
            "status": None,
            "gone": False,
            "latency_s": latency_s,
            "in_flight": self.n_in_flight,
            "n_prompt": asked.n_prompt,
            "n_cached": 0,
            "n_shareable": 0,
            "n_output": 0,
            "max_tokens": asked.max_tokens,
        }
        if self.settings.log_texts:
            row["tail"] = asked.prompt[-_LOGGED_CHARS:]
        self.rows.append(row)
        return row

    def _chat(self, connection: Connection, protocol: Protocol, path: str, body: bytes) -> None:
        try:
            read = orjson.loads(body)
            asked = self.ask(protocol, read)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as broken:
            connection.reply(400, orjson.dumps(error(protocol, 400, f"{type(broken).__name__}: {broken}")))
            return
        if read.get("stream") or (protocol == "anthropic" and "max_tokens" not in read):
            connection.reply(400, orjson.dumps(error(protocol, 400, "stream is not offered; max_tokens is needed")))
            return
        fate, latency = self.draw(asked)
        if not self.limits.takes(asked.n_prompt + asked.max_tokens, self.n_in_flight, time.monotonic()):
            fate = "429"
        _Exchange(self, self._cache, connection, asked, self.row(asked, path, fate, latency)).start()

    def _embed(self, connection: Connection, body: bytes) -> None:
        """Vectors that are near for texts that share words: a hashed bag of words."""
        read = orjson.loads(body)
        texts = [read["input"]] if isinstance(read["input"], str) else read["input"]
        data = [{"object": "embedding", "index": at, "embedding": _vector(text)} for at, text in enumerate(texts)]
        n_tokens = sum(len(text) for text in texts) // 4
        made = {
            "object": "list",
            "data": data,
            "model": read["model"],
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }
        connection.reply(200, orjson.dumps(made))

    def _inspect(self, connection: Connection, method: str, path: str) -> None:
        if path == "/_log" and method == "DELETE":
            self.rows.clear()
            connection.reply(200, b"{}")
        elif path == "/_log":
            connection.reply(200, orjson.dumps(self.rows))
        elif path == "/_last":
            connection.reply(200, orjson.dumps(self.last()))
        else:
            connection.reply(200, orjson.dumps({"paths": self.paths, "in_flight": self.n_in_flight}))


class _Exchange:
    """One request from arrival to its end."""

    def __init__(self, provider: Provider, cache: PrefixCache, connection: Connection, asked: Asked, row: Row) -> None:
        self._provider, self._cache, self._connection = provider, cache, connection
        self._asked, self._row = asked, row
        self._keys: list[bytes] = []
        self._n_read = self._n_written = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take it in: at once back if it is one too many, else wait for its latency."""
        self._provider.n_in_flight += 1
        fate, latency = self._row["fate"], self._row["latency_s"]
        if fate in {"429", "invalid", "overloaded", "no_credit", "no_model"}:
            self._finish()
            return
        self._n_read, self._n_written, n_shared, self._keys = self._cache.look(self._asked)
        self._row |= {"n_cached": self._n_read, "n_shareable": n_shared}
        self._connection.on_lost = self._lost
        wait = (
            self._provider.settings.hang_s if fate == "hang" else latency / 2 if fate in {"500", "reset"} else latency
        )
        if wait:
            self._timer = asyncio.get_running_loop().call_later(wait, self._finish)
        else:
            self._finish()

    def _lost(self) -> None:
        """The client has gone before its reply."""
        if self._timer is not None:
            self._timer.cancel()
        self._row |= {"gone": True, "left": time.monotonic()}
        self._end()

    def _finish(self) -> None:
        asked, row, connection = self._asked, self._row, self._connection
        connection.on_lost = None
        fate: Fate = row["fate"]
        if fate in {"hang", "reset"}:
            half = fate == "reset" and (int(asked.sha[:8], 16) + asked.n_before) % 2
            connection.reset(self._body("ok") if half else b"")
        elif fate in {"429", "500", "invalid", "overloaded", "error200", "no_credit", "no_model"} or (
            fate == "filtered" and asked.protocol == "anthropic"
        ):
            self._refuse(fate)
        else:
            body = self._body(fate)
            row["status"] = 200
            self._cache.learn(self._keys)
            row["gone"] = not connection.reply(200, body, more=self._headers())
        row["done"] = time.monotonic()
        self._end()

    def _headers(self) -> bytes:
        if not self._provider.settings.limit_headers:
            return b""
        return self._provider.limits.headers(self._asked.protocol, time.monotonic())

    def _body(self, fate: Fate) -> bytes:
        reply = self._provider.compose(self._asked, fate)
        self._row["n_output"] = reply.n_output
        if self._provider.settings.log_texts and self._asked.kind == "list":
            self._row["text"] = reply.text
        return self._provider.reshaped(message(self._asked, reply, self._n_read, self._n_written))

    def _refuse(self, fate: Fate) -> None:
        """An error of the protocol."""
        protocol, settings = self._asked.protocol, self._provider.settings
        status = _STATUS.get(fate, 400 if fate == "filtered" else 529 if protocol == "anthropic" else 503)
        words = "Output blocked by content filtering policy" if fate == "filtered" else ""
        if fate == "no_credit":
            status, words = _NO_CREDIT[protocol]
        self._row["status"] = 200 if fate == "error200" else status
        more = self._headers()
        if fate in {"429", "overloaded"} and settings.retry_after_s is not None:
            more += b"Retry-After: %g\r\n" % settings.retry_after_s
        body = error(protocol, 503 if fate == "error200" else status, words)
        self._row["gone"] = not self._connection.reply(self._row["status"], orjson.dumps(body), more=more)

    def _end(self) -> None:
        self._provider.n_in_flight -= 1
        self._provider.note(self._row)


def _keys(head: bytes) -> set[str]:
    """The key that the headers carry, in either protocol's way."""
    bearer = (header(head, b"authorization") or "").removeprefix("Bearer ")
    return {bearer, header(head, b"x-api-key") or ""}


def _vector(text: str, size: int = 64) -> list[float]:
    values = [0.0] * size
    for word in text.lower().split():
        values[random.Random(word).randrange(size)] += 1.0
    norm = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / norm for value in values]


def _json_or_text(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
