"""A client that answers from a script: for tests, examples and everything that must run without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from midspec.llm._store import Store, as_recorded
from midspec.llm._types import Outcome, Request


class ScriptedClient:
    """Answers each request with what `script` returns for it, without a server.

    Args:
        script: gives the reply's text, or a whole outcome; raises what the client shall raise.
        store: where given, attempts are recorded and settled ones replayed, as a real client does.
        model: the name under which attempts are recorded.

    Attributes:
        asked: every request that reached the script, in order.
    """

    def __init__(
        self, script: Callable[[Request], str | Outcome], *, store: Store | None = None, model: str = "scripted"
    ) -> None:
        self._script = script
        self._store = store
        self._model = model
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> Outcome:
        """The outcome on record, or the script's."""
        if self._store is None:
            return await self._answer(request)
        found = self._store.settled(request)
        if found is None:
            attempt = self._store.open(request, self._model, "author", "{}")
            found = as_recorded(await self._answer(request))
            self._store.close(attempt, found)
        return found

    async def _answer(self, request: Request) -> Outcome:
        self.asked.append(request)
        await asyncio.sleep(0)  # Others run in between, as they do while a server thinks.
        said = self._script(request)
        return said if isinstance(said, Outcome) else Outcome(kind="ok", text=said, stop_reason="stop")

    async def close(self) -> None:
        """Nothing to let go of."""
