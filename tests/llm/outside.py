"""What the tests of the network side share: a server whose every answer a test writes, and short ways to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from midspec.llm import Access, ModelConfig, Request

OPENAI = ModelConfig(model="openai/tiny")
ANTHROPIC = ModelConfig(model="anthropic/tiny")
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 3}},
    "required": ["names"],
    "additionalProperties": False,
}

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
