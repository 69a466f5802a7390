"""Requests collected and sent through the provider's batch endpoint, at half the price and within a day.

A batch is recorded before it is handed in (under a handle of ours) and under the provider's id right after, so that a
run that was killed anywhere finds it again and pays once: open batches are waited for, a handle without an id is looked
for at the provider, and only what no batch answers is handed in again. Nothing falls back to single requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from midspec.core.errors import MidspecError
from midspec.llm._batch_endpoints import Batches, Entry, Reply
from midspec.llm._recorded import sampling_of
from midspec.llm._types import ModelConfig, ModelRole, Outcome, Request
from midspec.llm._wire import AgainError, BusyError

if TYPE_CHECKING:
    from midspec.llm._prices import Prices
    from midspec.llm._store import Store

_MOST_TIMES = 5
_AT_ONCE = 500

_Key = tuple[str, int]
ResultT = TypeVar("ResultT")


class Pace(NamedTuple):
    """How long to wait for what, in seconds.

    Attributes:
        quiet_s: a batch is handed in when nothing new has come for so long.
        first_poll_s: the first look at a batch.
        longest_poll_s: the longest that the time between two looks grows to.
        patience_s: how long the endpoint may fail before the run stops.
    """

    quiet_s: float = 1.0
    first_poll_s: float = 2.0
    longest_poll_s: float = 60.0
    patience_s: float = 1800.0


class _Waiting:
    """A request that someone waits for."""

    __slots__ = ("future", "n_times", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # Whoever waited may have gone away; an error that nobody fetches is no second error.
        self.future.add_done_callback(lambda future: future.cancelled() or future.exception())
        self.n_times = 0


class Batched:
    """Answers through batches.

    Args:
        batches: the provider's batch endpoint.
        store: where attempts and batches are recorded.
        model: the model that is asked.
        duty: what it is asked as.
        prices: what tokens cost.
        pace: how long to wait for what.
    """

    def __init__(
        self,
        batches: Batches,
        store: Store,
        model: ModelConfig,
        duty: ModelRole,
        prices: Prices,
        *,
        pace: Pace | None = None,
    ) -> None:
        self._batches = batches
        self._store = store
        self._model = model.model
        self._sampling = sampling_of(model)
        self._duty = duty
        self._prices = prices
        self._pace = pace or Pace()
        self._waiting: dict[_Key, _Waiting] = {}
        self._new: list[_Key] = []
        self._n_bytes = 0
        self._elsewhere: set[_Key] = set()  # in a batch that an earlier run handed in
        self._attached = False
        self._over: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._n_handing_in = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def ask(self, request: Request) -> Outcome:
        """The outcome of one request, when its batch has ended.

        Raises:
            MidspecError: the endpoint refuses, or has failed for as long as the patience goes.
        """
        if self._over is not None:
            raise self._over
        if not self._attached:
            self._attached = True
            self._attach()
        key = (request.task, request.turn)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(request)
            if key not in self._elsewhere:
                self._collect(key)
        return await asyncio.shield(waiting.future)

    async def close(self) -> None:
        """Leave the open batches to the next run, and let go of connections."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._batches.close()

    def stop(self) -> None:
        """Hand in nothing more."""
        self._stopped = True

    async def drained(self) -> None:
        """Wait until no batch is being handed in."""
        await self._idle.wait()

    # Collecting ------------------------------------------------------------------------------------------------

    def _collect(self, key: _Key) -> None:
        n_bytes = len(self._batches.body(self._waiting[key].request)) + 200
        if self._new and self._n_bytes + n_bytes > self._batches.most_bytes:
            self._flush()
        self._new.append(key)
        self._n_bytes += n_bytes
        if len(self._new) >= self._batches.most_requests:
            self._flush()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._pace.quiet_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        keys, self._new, self._n_bytes = self._new, [], 0
        if keys and not self._stopped:
            self._begin(self._hand_in(keys))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """What ends the run reaches everybody who waits."""
        self._over = error
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(error)
        self._waiting.clear()

    # Handing in ------------------------------------------------------------------------------------------------

    async def _hand_in(self, keys: list[_Key]) -> None:
        handle = f"midspec-{random.randbytes(6).hex()}"
        items = {_custom_id(key, handle): key for key in keys}
        self._n_handing_in += 1
        self._idle.clear()
        try:
            self._store.save_batch(handle, items, model=self._model, duty=self._duty)
            entries = []
            for number, (custom_id, key) in enumerate(items.items(), start=1):
                request = self._waiting[key].request
                self._store.open(request, self._model, self._duty, self._sampling, handle)
                entries.append(Entry(custom_id, self._batches.body(request)))
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            batch_id = await self._submitted(entries, handle, items)
            self._store.submitted(handle, batch_id)
        finally:
            self._n_handing_in -= 1
            if self._n_handing_in == 0:
                self._idle.set()
        await self._await_batch(handle, batch_id, items)

    async def _submitted(self, entries: list[Entry], handle: str, items: Mapping[str, _Key]) -> str:
        """The id of the batch; when nobody knows whether it arrived, it is looked for before it is sent again."""
        since_s, doubtful = time.time(), False

        async def attempt() -> str:
            nonlocal doubtful
            if doubtful and (found := await self._found(handle, items, since_s)):
                return found
            try:
                return await self._batches.submit(entries, handle)
            except AgainError as error:
                doubtful = doubtful or not isinstance(error, BusyError)
                raise

        return await self._patiently(attempt)

    async def _found(self, handle: str, items: Mapping[str, _Key], since_s: float) -> str | None:
        """The batch that was handed in as `handle`, or `None` if none was."""
        taken = {row.provider_id for row in self._store.open_batches()}
        for batch_id in await self._batches.find(handle, items, since_s):
            if batch_id not in taken and await self._is_ours(batch_id, items):
                return batch_id
        return None

    async def _is_ours(self, batch_id: str, items: Mapping[str, _Key]) -> bool:
        await self._ended(batch_id)
        async for reply in self._batches.replies(batch_id):
            return reply.custom_id in items
        return True  # marked as ours, and it came to nothing

    # Waiting ---------------------------------------------------------------------------------------------------

    async def _ended(self, batch_id: str) -> None:
        pause_s = self._pace.first_poll_s
        while not await self._patiently(lambda: self._batches.has_ended(batch_id)):
            await asyncio.sleep(pause_s)
            pause_s = min(self._pace.longest_poll_s, pause_s * 1.5)

    async def _await_batch(self, handle: str, batch_id: str, items: Mapping[str, _Key]) -> None:
        await self._ended(batch_id)
        missing = dict(items)
        await self._patiently(lambda: self._read(batch_id, missing))
        for key in missing.values():
            self._unanswered(key, "no reply in the batch")
        self._store.close_batch(handle)
        self._elsewhere.difference_update(items.values())

    async def _read(self, batch_id: str, missing: dict[str, _Key]) -> None:
        """Record the replies as they come in; a download that breaks off is begun again."""
        async for reply in self._batches.replies(batch_id):
            key = missing.pop(reply.custom_id, None)
            if key is not None:
                self._record(key, reply)

    def _record(self, key: _Key, reply: Reply) -> None:
        outcome = reply.outcome
        if outcome is None:
            self._unanswered(key, reply.words)
            return
        if outcome.usage is not None:
            cost_usd = self._prices.cost(self._model, outcome.usage, batch=True)
            outcome = outcome.model_copy(update={"cost_usd": cost_usd})
        attempt = self._store.pending(*key)
        if attempt is not None:
            self._store.close(attempt, outcome)
        self._answer(key, outcome)

    def _answer(self, key: _Key, outcome: Outcome) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None and not waiting.future.done():
            waiting.future.set_result(outcome)

    def _unanswered(self, key: _Key, words: str) -> None:
        """Expired, or failed at the provider: it was not billed, and goes into the next batch."""
        attempt = self._store.pending(*key)
        if attempt is not None:
            self._store.again(attempt, words)
        self._elsewhere.discard(key)
        waiting = self._waiting.get(key)
        if waiting is None:
            return
        waiting.n_times += 1
        if waiting.n_times >= _MOST_TIMES:
            self._answer(key, Outcome(kind="timed_out", note=f"no answer in {_MOST_TIMES} batches ({words})"))
        else:
            self._collect(key)

    async def _patiently(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """`call` until it succeeds.

        Raises:
            MidspecError: it has failed for as long as the patience goes.
        """
        started_at, pause_s = time.monotonic(), self._pace.first_poll_s
        while True:
            try:
                return await call()
            except AgainError as error:
                if time.monotonic() - started_at > self._pace.patience_s:
                    what = f"the batch endpoint does not answer ({error.words})"
                    raise MidspecError(what, where=self._model, hint="The same command goes on from here") from None
                wait_s = pause_s if error.wait_s is None else error.wait_s
            await asyncio.sleep(wait_s)
            pause_s = min(self._pace.longest_poll_s, pause_s * 2)

    # After a kill ----------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Wait for the batches of earlier runs, and for nothing else of what is in them."""
        rows = [row for row in self._store.open_batches() if (row.model, row.duty) == (self._model, self._duty)]
        for row in rows:
            self._elsewhere.update(row.items.values())
            if row.provider_id is None:
                self._begin(self._adopt(row.batch_id, row.items, row.made_at))
            else:
                self._begin(self._await_batch(row.batch_id, row.provider_id, row.items))

    async def _adopt(self, handle: str, items: Mapping[str, _Key], since_s: float) -> None:
        """An earlier run was killed while it handed this batch in: find it, or take its requests back."""
        batch_id = await self._patiently(lambda: self._found(handle, items, since_s))
        if batch_id is None:
            # The provider may have been making it just as the run was killed.
            await asyncio.sleep(self._pace.first_poll_s)
            batch_id = await self._patiently(lambda: self._found(handle, items, since_s))
        if batch_id is not None:
            self._store.submitted(handle, batch_id)
            await self._await_batch(handle, batch_id, items)
            return
        self._store.close_batch(handle, "never handed in")
        for key in items.values():
            self._unanswered(key, "never handed in")


def _custom_id(key: _Key, handle: str) -> str:
    """At most 64 letters, digits and hyphens, another for each time that a request is handed in."""
    digest = hashlib.sha256(f"{key[0]}:{key[1]}".encode()).hexdigest()
    return f"{digest[:40]}-{handle[-12:]}"
