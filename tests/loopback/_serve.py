"""The provider in a thread of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from ._asked import Asked
from ._provider import Provider
from ._settings import Fate, Settings


@dataclass(frozen=True)
class Served:
    """A running provider.

    Attributes:
        url: base URL of the Anthropic protocol.
        provider: the server itself; its `rows` grow as requests end.
    """

    url: str
    provider: Provider

    @property
    def openai_url(self) -> str:
        """Base URL of the OpenAI protocol."""
        return self.url + "/v1"

    @property
    def log(self) -> list[dict[str, Any]]:
        """One row for every model request that arrived, in order of arrival."""
        return [dict(row) for row in self.provider.rows]

    @property
    def last(self) -> list[dict[str, Any]]:
        """Bodies and headers of the last requests: path, headers (lower case), body."""
        return self.provider.last()


@contextmanager
def serve(
    settings: Settings | None = None,
    *,
    fate: Callable[[Asked], Fate | None] | None = None,
    say: Callable[[Asked], str | None] | None = None,
    reshape: Callable[[dict[str, Any]], dict[str, Any] | bytes] | None = None,
) -> Iterator[Served]:
    """Serve from a thread until the block ends.

    Args:
        settings: what to do; by default everything goes well, at once.
        fate: decides the fate of single requests; `None` from it leaves the draw to the settings.
        say: what the model says to single questions; `None` from it leaves the text to the server.
        reshape: changes the body of a good answer, as odd servers do.
    """
    provider = Provider(settings or Settings(), fate=fate, say=say, reshape=reshape)
    ready, places = Event(), list[str]()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def run() -> None:
        server = await loop.create_server(provider.connection, "127.0.0.1", 0, backlog=2048)
        places.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()
        await stopped.wait()
        server.close()
        provider.close()
        await asyncio.sleep(0)

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = Thread(target=work, name="loopback", daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield Served(places[0], provider)
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
