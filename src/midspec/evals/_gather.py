"""Requests that arrive side by side, answered together: a batch costs a model little more than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

__all__ = ["Gatherer"]

_TURN_S = 0.005
_PATIENCE_TURNS = 20

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class _Entry(Generic[RequestT, ResultT]):
    def __init__(self, request: RequestT) -> None:
        self.request = request
        self.outcome: Future[ResultT] = Future()


class Gatherer(Generic[RequestT, ResultT]):
    """Answers concurrent requests in batches, in one thread off the event loop.

    The first to come waits until as many have come as were said to come (or none has come for a while), and runs
    them all, sorted, so that the same requests always make the same batch. When a batch fails, each of its requests
    is run alone: one that can't be answered takes no other with it.

    Args:
        run: answers many requests at once, in their order.
        order: the sort key of a request.
    """

    def __init__(
        self, run: Callable[[Sequence[RequestT]], list[ResultT]], order: Callable[[RequestT], tuple[str, ...]]
    ) -> None:
        self._run = run
        self._order = order
        self._waiting: list[_Entry[RequestT, ResultT]] = []
        self._round: anyio.Event | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="midspec-model")

    async def ask(self, request: RequestT, *, beside: int = 1) -> ResultT:
        """The answer to one request.

        Args:
            request: what to run.
            beside: how many requests like this one are being made at the same time, this one among them; a hint.

        Raises:
            Exception: whatever `run` raised for this request.
        """
        entry: _Entry[RequestT, ResultT] = _Entry(request)
        self._waiting.append(entry)
        while not entry.outcome.done():
            if self._round is None:
                await self._run_round(beside)
            else:
                await self._round.wait()
        return entry.outcome.result()

    async def _run_round(self, beside: int) -> None:
        """Answer all that have come; whoever waits learns of it at the same moment, so that all can go on together."""
        self._round = ended = anyio.Event()
        try:
            await self._all_here(beside)
            batch, self._waiting = sorted(self._waiting, key=lambda each: self._order(each.request)), []
            with anyio.CancelScope(shield=True):
                await self._answer(batch)
        finally:
            self._round = None
            ended.set()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _all_here(self, n_expected: int) -> None:
        quiet = 0
        patience = _PATIENCE_TURNS if n_expected > 1 else 1
        while len(self._waiting) < n_expected and quiet < patience:
            n_before = len(self._waiting)
            await anyio.sleep(_TURN_S)
            quiet = quiet + 1 if len(self._waiting) == n_before else 0

    async def _answer(self, batch: Sequence[_Entry[RequestT, ResultT]]) -> None:
        done = self._thread.submit(self._run, [entry.request for entry in batch])
        await anyio.to_thread.run_sync(wait, [done])
        if (error := done.exception()) is None:
            for entry, result in zip(batch, done.result(), strict=True):
                entry.outcome.set_result(result)
        elif len(batch) == 1:
            batch[0].outcome.set_exception(error)
        else:
            for entry in batch:
                await self._answer([entry])
