"""What the tests of the network side share: a server whose every answer a test writes, a clock that skips waits, and
short ways to ask.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from midspec.llm import Access, ModelConfig, Outcome, Request
from midspec.llm._errors import RateLimitError

OPENAI = ModelConfig(model="openai/tiny")
ANTHROPIC = ModelConfig(model="anthropic/tiny")
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 3}},
    "required": ["names"],
    "additionalProperties": False,
}

T = TypeVar("T")
Answer = Callable[["Seen"], "web.StreamResponse | Awaitable[web.StreamResponse]"]


@dataclass
class Seen:
    """One request as it reached the server."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    number: int


@dataclass
class Small:
    """A running server: where it is, and what reached it."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    def access(self, **more: Any) -> Access:
        return Access(**{"base_url": self.url, "deadline_s": 20.0, **more})


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[Small]:
    small = Small("")

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.path, headers, await request.json(), len(small.seen))
        small.seen.append(seen)
        found = answer(seen)
        return found if isinstance(found, web.StreamResponse) else await found

    app = web.Application(client_max_size=2**28)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    host, port = site._server.sockets[0].getsockname()[:2]  # type: ignore[attr-defined]
    small.url = f"http://{host}:{port}"
    try:
        yield small
    finally:
        await runner.cleanup()


def said(text: str | None, stop: str | None = "stop", **more: Any) -> web.Response:
    """A chat completion."""
    message = {"role": "assistant", "content": text, **more}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}}
    choice = {"index": 0, "message": message, "finish_reason": stop}
    return web.json_response({"id": "1", "model": "tiny-1", "choices": [choice], "usage": usage})


def told(text: str, stop: str | None = "end_turn", *, before: list[dict[str, Any]] | None = None) -> web.Response:
    """A message."""
    usage = {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 30,
    }
    content = [*(before or []), {"type": "text", "text": text}]
    return web.json_response(
        {"id": "1", "type": "message", "model": "tiny-1", "content": content, "stop_reason": stop, "usage": usage}
    )


def wrong(status: int, words: str, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"error": {"message": words, "type": "error"}}, status=status, headers=named)


def wish(task: str = "t", **more: Any) -> Request:
    return Request(**{"task": task, "stage": "documents", "prompt": f"Write {task}.", "max_tokens": 4000, **more})


class _Skipping(selectors.SelectSelector):
    """Waits for nothing: the clock of its loop jumps to where the wait would have ended."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


def on_a_skipping_clock(main: Coroutine[object, object, T]) -> tuple[T, float]:
    """Run `main` with a clock that runs only while everything waits: its result, and its seconds by that clock.

    No load of the machine changes either. Nothing inside may wait for a real server.
    """
    selector = _Skipping()

    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return selector.now

    with asyncio.Runner(loop_factory=lambda: Loop(selector)) as runner:
        return runner.run(main), selector.now


class Carrier:
    """A server in the process itself, to be used on a skipping clock.

    It answers after `latency_s`, rejects what comes while it has `most` in hand, and rejects the requests whose number
    (in order of arrival) is in `rejects`. `came` has the task of each request as it came, `most_seen` how many were in
    hand at most, `carried_s` the seconds of work behind all answers.
    """

    def __init__(
        self,
        latency_s: Callable[[Request], float] = lambda _: 0.05,
        *,
        most: int = 1_000_000,
        retry_after_s: float = 0.2,
        rejects: frozenset[int] = frozenset(),
    ) -> None:
        self.came: list[str] = []
        self.n_rejected = self.n_in_hand = self.most_seen = 0
        self.carried_s = 0.0
        self._latency_s, self._most, self._retry_after_s, self._rejects = latency_s, most, retry_after_s, rejects

    async def ask(self, request: Request) -> Outcome:
        number = len(self.came)
        self.came.append(request.task)
        if self.n_in_hand >= self._most or number in self._rejects:
            self.n_rejected += 1
            raise RateLimitError("429: no more", wait_s=self._retry_after_s)
        self.n_in_hand += 1
        self.most_seen = max(self.most_seen, self.n_in_hand)
        try:
            latency_s = self._latency_s(request)
            await asyncio.sleep(latency_s)
            self.carried_s += latency_s
            return Outcome(kind="ok", text="Yes.")
        finally:
            self.n_in_hand -= 1

    async def close(self) -> None: ...
