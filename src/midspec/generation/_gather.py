"""Many pieces of work at once, without barriers: each starts when what it needs exists."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Work = Callable[[], Awaitable[None]]
In = TypeVar("In")
Out = TypeVar("Out")


class Pool:
    """Runs pieces of work that may add further pieces, and ends when none is left.

    Work marked `first` (lists, which unlock other work) goes before the rest while fewer than `4 * width` of the rest
    wait, so that there is always enough to do and what waits stays small. Twice `width` pieces run at once: how many
    requests are in flight is the client's business, and a piece that sleeps before a retry, or reads a reply,
    leaves no place empty.

    Args:
        width: how many requests are wanted in flight at once.
    """

    def __init__(self, width: int) -> None:
        self._n_most = 2 * width
        self._n_enough = 4 * width
        self._first: deque[Work] = deque()
        self._rest: deque[Work] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._changed: asyncio.Event | None = None
        self._failure: BaseException | None = None

    @property
    def n_running(self) -> int:
        """Pieces of work that have begun and not ended."""
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        """Pieces of work that have not begun."""
        return len(self._first) + len(self._rest)

    def add(self, run: Work, *, first: bool = False) -> None:
        """Have `run` called once; `first` where other work waits for what it makes."""
        (self._first if first else self._rest).append(run)
        if self._changed is not None:
            self._changed.set()

    async def run(self) -> None:
        """Run all that was added, and all that it adds.

        Raises:
            BaseException: the first that a piece of work raised. Nothing is begun after it; what had begun is
                waited for, so that no reply is lost.
        """
        changed = self._changed = asyncio.Event()
        self._failure = None
        try:
            while self._failure is None and (self.n_waiting or self._running):
                changed.clear()
                # A worker takes one piece after another: one for each piece that waits, while there is room.
                for _ in range(min(self.n_waiting, self._n_most - len(self._running))):
                    worker = asyncio.create_task(self._work())
                    self._running.add(worker)
                    worker.add_done_callback(self._leave)
                await changed.wait()
            if self._running:
                await asyncio.wait(self._running)
        finally:
            await self._dismiss()
        if self._failure is not None:
            raise self._failure

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._running.discard(worker)
        if self._changed is not None:
            self._changed.set()

    async def _work(self) -> None:
        while self._failure is None and (run := self._next()) is not None:
            try:
                await run()
            except BaseException as error:  # noqa: BLE001 - kept, and raised by `run` when all have ended
                self._failure = error if self._failure is None else self._failure
            # Work that is answered from the store never waits: without this nothing else would have its turn.
            await asyncio.sleep(0)

    def _next(self) -> Work | None:
        if self._first and (len(self._rest) < self._n_enough or not self._rest):
            return self._first.popleft()
        return self._rest.popleft() if self._rest else None

    async def _dismiss(self) -> None:
        """Cancel what still runs: nothing runs on after `run` has ended, however it ended."""
        self._changed = None
        left = list(self._running)
        for worker in left:
            worker.cancel()
        if left:
            await asyncio.gather(*left, return_exceptions=True)


async def gather(
    run: Callable[[In], Awaitable[Out]],
    entries: Sequence[In],
    width: int,
    *,
    on_done: Callable[[int, int], None] = lambda _n_done, _n: None,
) -> list[Out]:
    """Run one piece of work for each entry, side by side; gives the results in the order of the entries.

    Args:
        run: makes the result of one entry.
        entries: what there is to do.
        width: how many requests are wanted in flight at once.
        on_done: is told after each how many are done, of how many.

    Raises:
        BaseException: the first that a piece of work raised, as `Pool.run` does.
    """
    results: dict[int, Out] = {}
    pool = Pool(width)

    def piece(at: int, entry: In) -> Work:
        async def work() -> None:
            results[at] = await run(entry)
            on_done(len(results), len(entries))

        return work

    for at, entry in enumerate(entries):
        pool.add(piece(at, entry))
    await pool.run()
    return [results[at] for at in range(len(entries))]
