"""Requests collected and sent through the provider's batch endpoint, at half the price and within a day.

A batch is recorded before it is submitted (under a handle of ours) and under the provider's id right after, so that a
run that was killed anywhere finds it again and pays once: open batches are waited for, a handle without an id is looked
for at the provider, and only what no batch answers is submitted again. Nothing falls back to single requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._errors import RateLimitError, RetryableError
from midspec.llm._providers import BatchEndpoint, BatchEntry, BatchRefusedError, BatchReply, BatchUnknownError
from midspec.llm._types import ModelConfig, ModelRole, Outcome, Request, sampling_of

if TYPE_CHECKING:
    from midspec.llm._prices import Prices
    from midspec.llm._store import Store

_MAX_BATCHES_PER_REQUEST = 5
_MAX_FAILED_FIRST = 3
# Providers end a batch within a day: one that is unknown after it is gone, and not at another address.
_LOST_AFTER_S = 26 * 3600.0
_RECORDED_AT_ONCE = 500
_ALL_FAILED_HINT = "Check the model's name, temperature, extra fields and caps"
_NONE = "none of a batch's rows holds a reply: "
_ALL_NONE_HINT = "Check that the server answers batches of this model; the same command hands them in again"

_Key = tuple[str, int]
ResultT = TypeVar("ResultT")


class BatchTiming(NamedTuple):
    """How long to wait for what, in seconds.

    Attributes:
        quiet_s: a batch is submitted when no new request has come for so long.
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


class BatchClient:
    """Answers through batches.

    Args:
        endpoint: the provider's batch endpoint.
        store: where attempts and batches are recorded.
        model: the model that is asked.
        role: what it is asked as.
        prices: what tokens cost.
        timing: how long to wait for what.
        sampling: how the model is asked to sample at present, as one line of JSON; as configured when not given.
    """

    def __init__(
        self,
        endpoint: BatchEndpoint,
        store: Store,
        model: ModelConfig,
        role: ModelRole,
        prices: Prices,
        *,
        timing: BatchTiming | None = None,
        sampling: Callable[[], str] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._model = model.model
        self._sampling = sampling or (lambda: sampling_of(model))
        self._role = role
        self._prices = prices
        self._timing = timing or BatchTiming()
        self._waiting: dict[_Key, _Waiting] = {}
        self._new: list[_Key] = []
        self._n_bytes = 0
        self._has_good = False
        self._elsewhere: set[_Key] = set()  # in a batch that an earlier run submitted
        self._attached = False
        self._error: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._n_submitting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request when its batch has ended.

        Raises:
            MidspecError: the endpoint refuses, or has failed for as long as the patience goes.
        """
        if self._error is not None:
            raise self._error
        if not self._attached:
            self._attached = True
            rows = [row for row in self._store.open_batches() if (row.model, row.role) == (self._model, self._role)]
            for row in rows:
                self._elsewhere.update(row.items.values())
                if row.provider_id is None:
                    self._start(self._adopt(row.batch_id, row.items, row.made_at))
                else:
                    self._start(self._await_batch(row.batch_id, row.provider_id, row.items, row.made_at))
        key = (request.task, request.turn)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(request)
            if key not in self._elsewhere:
                self._collect(key)
        return await asyncio.shield(waiting.future)

    async def close(self) -> None:
        """Leave the open batches to the next run, and close connections."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._endpoint.close()

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopped = True

    async def drained(self) -> None:
        """Wait until no batch is being submitted."""
        await self._idle.wait()

    # Collecting ------------------------------------------------------------------------------------------------

    def _collect(self, key: _Key) -> None:
        n_bytes = len(self._endpoint.body(self._waiting[key].request)) + 200
        if self._new and self._n_bytes + n_bytes > self._endpoint.max_bytes:
            self._flush()
        self._new.append(key)
        self._n_bytes += n_bytes
        if len(self._new) >= self._endpoint.max_requests:
            self._flush()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._timing.quiet_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        keys, self._new, self._n_bytes = self._new, [], 0
        if keys and not self._stopped:
            self._start(self._submit_batch(keys))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Forget a task; an error of it ends the run and reaches everybody who waits."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._error = error
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(error)
        self._waiting.clear()

    # Submitting ------------------------------------------------------------------------------------------------

    async def _submit_batch(self, keys: list[_Key]) -> None:
        handle = f"midspec-{random.randbytes(6).hex()}"
        items = {_custom_id(key, handle): key for key in keys}
        self._n_submitting += 1
        self._idle.clear()
        try:
            self._store.save_batch(handle, items, model=self._model, role=self._role)
            entries = []
            for number, (custom_id, key) in enumerate(items.items(), start=1):
                request = self._waiting[key].request
                self._store.open(request, self._model, self._role, self._sampling(), handle)
                entries.append(BatchEntry(custom_id, self._endpoint.body(request)))
                if number % _RECORDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            batch_id = await self._submit(entries, handle, items)
            self._store.submitted(handle, batch_id)
        finally:
            self._n_submitting -= 1
            if self._n_submitting == 0:
                self._idle.set()
        await self._await_batch(handle, batch_id, items, time.time())

    async def _submit(self, entries: list[BatchEntry], handle: str, items: Mapping[str, _Key]) -> str:
        """Send a batch and return its id; where nobody knows whether it arrived, look for it before sending again."""
        since_s, doubtful = time.time(), False

        async def attempt() -> str:
            nonlocal doubtful
            if doubtful and (found := await self._find(handle, items, since_s)):
                return found
            try:
                return await self._endpoint.submit(entries, handle)
            except RetryableError as error:
                doubtful = doubtful or not isinstance(error, RateLimitError)
                raise

        return await self._with_patience(attempt)

    async def _find(self, handle: str, items: Mapping[str, _Key], since_s: float) -> str | None:
        """Return the batch that was submitted as `handle`, or `None` if none was."""
        taken = {row.provider_id for row in self._store.open_batches()}
        for batch_id in await self._endpoint.find(handle, items, since_s):
            if batch_id in taken:
                continue
            try:
                await self._wait_for_end(batch_id)
            except BatchUnknownError:
                continue
            except BatchRefusedError:
                return batch_id  # it carries our mark; whoever waits for it closes it
            async for reply in self._endpoint.replies(batch_id):
                if reply.custom_id in items:
                    return batch_id
                break
            else:
                return batch_id  # marked as ours, and it came to nothing
        return None

    # Waiting ---------------------------------------------------------------------------------------------------

    async def _wait_for_end(self, batch_id: str) -> None:
        pause_s = self._timing.first_poll_s
        while not await self._with_patience(lambda: self._endpoint.has_ended(batch_id)):
            await asyncio.sleep(pause_s)
            pause_s = min(self._timing.longest_poll_s, pause_s * 1.5)

    async def _await_batch(self, handle: str, batch_id: str, items: Mapping[str, _Key], made_at: float) -> None:
        """Wait for a batch, record all its replies and close it; then raise what ends the run, if any of them says so.

        Nothing that a reply says keeps a batch open: the next run hands its failed rows in again.
        """
        try:
            await self._wait_for_end(batch_id)
            missing, errors = await self._record_replies(batch_id, items)
        except BatchRefusedError as error:
            if isinstance(error, BatchUnknownError) and time.time() - made_at < _LOST_AFTER_S:
                raise  # perhaps another account's, or another server's: it may still be there
            for key in items.values():
                self._take_back(key, error.what)
            self._store.close_batch(handle, error.what)
            raise
        for key in missing:
            self._unanswered(key, "no reply in the batch")
        self._store.close_batch(handle)
        self._elsewhere.difference_update(items.values())
        if errors:
            raise errors[0]

    async def _record_replies(
        self, batch_id: str, items: Mapping[str, _Key]
    ) -> tuple[Collection[_Key], list[MidspecError]]:
        """Record what a batch gave; return the requests without a reply, and errors that end the run."""
        missing = dict(items)
        errors: list[MidspecError] = []
        bad: list[tuple[_Key, BatchReply]] = []

        async def record() -> None:
            async for reply in self._endpoint.replies(batch_id):
                key = missing.pop(reply.custom_id, None)
                if key is None:
                    continue
                if reply.error is not None:
                    errors.append(reply.error)
                    self._take_back(key, reply.reason)
                elif reply.is_none or (reply.outcome is not None and reply.outcome.kind == "failed"):
                    bad.append((key, reply))
                else:
                    self._has_good = True
                    self._record(key, reply)

        await self._with_patience(record)  # a download that breaks off is begun again
        failed = [reply.outcome.note for _, reply in bad if reply.outcome is not None]
        is_all_failed = len(failed) >= min(_MAX_FAILED_FIRST, len(items))
        is_all_none = len(bad) - len(failed) == len(items) >= _MAX_FAILED_FIRST
        if self._has_good or errors or not (is_all_failed or is_all_none):
            for key, reply in bad:
                self._record(key, reply)
        else:  # with other settings they are asked again
            for key, reply in bad:
                self._take_back(key, reply.reason if reply.outcome is None else reply.outcome.note)
            what = f"the server takes none of the requests ({failed[0]})" if is_all_failed else _NONE + bad[0][1].reason
            hint = _ALL_FAILED_HINT if is_all_failed else _ALL_NONE_HINT
            errors.append(ConfigError(what, where=self._model, hint=hint))
        return missing.values(), errors

    def _take_back(self, key: _Key, reason: str) -> None:
        """Leave a request that was not answered, and not billed, to the next run."""
        attempt = self._store.pending(*key)
        if attempt is not None:
            self._store.again(attempt, reason)
        self._elsewhere.discard(key)

    def _record(self, key: _Key, reply: BatchReply) -> None:
        outcome = reply.outcome
        if outcome is None:
            self._unanswered(key, reply.reason)
            return
        attempt = self._store.pending(*key)
        if outcome.usage is not None:
            sent_at = None if attempt is None else self._store.sent_at(attempt)
            cost_usd = self._prices.cost(self._model, outcome.usage, batch=True, at=sent_at)
            outcome = outcome.model_copy(update={"cost_usd": cost_usd})
        if attempt is not None:
            self._store.close(attempt, outcome)
        self._answer(key, outcome)

    def _answer(self, key: _Key, outcome: Outcome) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None and not waiting.future.done():
            waiting.future.set_result(outcome)

    def _unanswered(self, key: _Key, reason: str) -> None:
        """Put a request that expired or failed at the provider, unbilled, into the next batch."""
        self._take_back(key, reason)
        waiting = self._waiting.get(key)
        if waiting is None:
            return
        waiting.n_times += 1
        if waiting.n_times >= _MAX_BATCHES_PER_REQUEST:
            self._answer(
                key, Outcome(kind="timed_out", note=f"no answer in {_MAX_BATCHES_PER_REQUEST} batches ({reason})")
            )
        else:
            self._collect(key)

    async def _with_patience(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Call `call` until it succeeds.

        Raises:
            MidspecError: it has failed for as long as the patience goes.
        """
        started_at, pause_s = time.monotonic(), self._timing.first_poll_s
        while True:
            try:
                return await call()
            except RetryableError as error:
                if time.monotonic() - started_at > self._timing.patience_s:
                    what = f"the batch endpoint does not answer ({error.reason})"
                    raise MidspecError(what, where=self._model, hint="The same command goes on from here") from None
                wait_s = pause_s if error.wait_s is None else error.wait_s
            await asyncio.sleep(wait_s)
            pause_s = min(self._timing.longest_poll_s, pause_s * 2)

    # After a kill ----------------------------------------------------------------------------------------------

    async def _adopt(self, handle: str, items: Mapping[str, _Key], since_s: float) -> None:
        """Find a batch that an earlier run was killed while submitting, or take its requests back."""
        batch_id = await self._with_patience(lambda: self._find(handle, items, since_s))
        if batch_id is None:
            # The provider may have been making it just as the run was killed.
            await asyncio.sleep(self._timing.first_poll_s)
            batch_id = await self._with_patience(lambda: self._find(handle, items, since_s))
        if batch_id is not None:
            self._store.submitted(handle, batch_id)
            await self._await_batch(handle, batch_id, items, since_s)
            return
        self._store.close_batch(handle, "never handed in")
        for key in items.values():
            self._unanswered(key, "never handed in")


def _custom_id(key: _Key, handle: str) -> str:
    """Return at most 64 letters, digits and hyphens, others each time that a request is submitted."""
    digest = hashlib.sha256(f"{key[0]}:{key[1]}".encode()).hexdigest()
    return f"{digest[:40]}-{handle[-12:]}"
