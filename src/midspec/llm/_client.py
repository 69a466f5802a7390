"""The chain of clients from the store to the provider, and a client that answers from a script."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Protocol
from weakref import WeakKeyDictionary

from midspec.llm._batch_client import BatchClient, BatchTiming
from midspec.llm._budget import Budgeted, Recorded, unknown_price
from midspec.llm._concurrency import Limited
from midspec.llm._prices import Prices
from midspec.llm._providers import provider_of
from midspec.llm._retry import Retrying, Timed
from midspec.llm._store import Store, Stored, as_recorded
from midspec.llm._transport import api_key
from midspec.llm._types import Access, Client, ModelConfig, ModelRole, Outcome, Request, Usage

# Providers forget a prefix five minutes after its last use.
_KEPT_S = 270.0


class _PrefixState:
    """Of one prefix: the call that went first, how many are in flight, and when it was last used."""

    __slots__ = ("first_call", "n_in_flight", "used_at")

    def __init__(self) -> None:
        self.first_call: asyncio.Future[None] | None = None
        self.n_in_flight = 0
        self.used_at = float("-inf")


class PrefixFirst:
    """Lets one call with a new (or long unused) prefix go alone, and the others when it has come back.

    Args:
        client: what answers.
        kept_s: how long a provider keeps a prefix that nobody uses.
        longest_lead_s: how long the others wait for a first call.
    """

    def __init__(self, client: Client, *, kept_s: float = _KEPT_S, longest_lead_s: float = 60.0) -> None:
        self._client = client
        self._kept_s = kept_s
        self._longest_lead_s = longest_lead_s
        self._states: dict[str, _PrefixState] = {}

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request, asked when its prefix is in the cache, or to put it there."""
        if not request.prefix:
            return await self._client.ask(request)
        state = self._states.setdefault(request.prefix, _PrefixState())
        waited = False
        while state.first_call is not None and not waited:
            # A first call that hangs must not hold up a whole run.
            _, pending = await asyncio.wait([state.first_call], timeout=self._longest_lead_s)
            waited = bool(pending)
        first_call: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        if state.n_in_flight == 0 and loop.time() - state.used_at > self._kept_s:
            first_call = state.first_call = loop.create_future()
        state.n_in_flight += 1
        try:
            return await self._client.ask(request)
        finally:
            state.n_in_flight -= 1
            state.used_at = loop.time()
            if first_call is not None:
                # A first call that failed frees the others too: one of them would fail in the same way.
                state.first_call = None
                first_call.set_result(None)

    async def close(self) -> None:
        """Close what is wrapped."""
        await self._client.close()


_LOG = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What came in last is still to be turned into a row or a file by whoever asked for it.
_AFTER_S = 0.05

_Handler = Callable[[int, FrameType | None], object] | int | None


class Drain(Protocol):
    """What can stop sending and be waited for."""

    def stop(self) -> None:
        """Send nothing more."""
        ...

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        ...


class _Signals:
    """The signal handlers of one event loop, shared by all clients that are open in it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._drains: list[Drain] = []
        self._before: dict[int, _Handler] = {}
        self._task: asyncio.Task[None] | None = None
        self._pending: int | None = None

    def add(self, drain: Drain) -> None:
        self._drains.append(drain)
        if not self._before:
            for number in _SIGNALS:
                self._before[number] = signal.getsignal(number)
                self._loop.add_signal_handler(number, self._on_signal, number)
        if self._task is not None:
            drain.stop()

    def remove(self, drain: Drain) -> None:
        self._drains.remove(drain)
        if not self._drains:
            _OPEN.pop(self._loop, None)
            if self._pending is None:
                self._restore()
            else:
                self._deliver(self._pending)  # all was done before it was drained

    def _restore(self) -> None:
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _on_signal(self, number: int) -> None:
        if self._task is not None:
            self._deliver(number)
            return
        self._pending = number
        for drain in self._drains:
            drain.stop()
        _LOG.warning("stopping: what is in flight is still received and recorded; a second signal ends at once")

        async def drain_all() -> None:
            await asyncio.gather(*(drain.drained() for drain in self._drains))
            await asyncio.sleep(_AFTER_S)
            # From the loop itself and not from a task, so that a handler that raises ends the loop.
            self._loop.call_soon(self._deliver, number)

        self._task = self._loop.create_task(drain_all())

    def _deliver(self, number: int) -> None:
        if self._pending is None:
            return
        self._pending = None
        self._restore()
        signal.raise_signal(number)


_OPEN: WeakKeyDictionary[asyncio.AbstractEventLoop, _Signals] = WeakKeyDictionary()


@contextmanager
def draining(drain: Drain) -> Iterator[None]:
    """While open, the first SIGINT or SIGTERM stops `drain` and waits for it; the second ends at once.

    Outside the main thread, where Python takes no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _OPEN.setdefault(asyncio.get_running_loop(), _Signals())
    signals.add(drain)
    try:
        yield
    finally:
        signals.remove(drain)


def check_access(model: ModelConfig, access: Access) -> None:
    """Refuse at once what `open_client` would refuse later; nothing is opened or asked.

    Raises:
        ConfigError: the provider's key is not set or it has no batches that are asked for, the table of prices can't
            be read, or a budget is set for a model whose price nobody knows.
    """
    provider = provider_of(model.model)
    if provider.key_variable is not None:
        api_key(provider.key_variable, access)
    if access.batch:
        provider.batch_builder()
    prices = Prices.load(access.prices, access.base_url)
    if access.budget_usd is not None and prices.cost(model.model, Usage(n_input=1), access.batch) is None:
        raise unknown_price(model.model)


@asynccontextmanager
async def open_client(model: ModelConfig, access: Access, store: Store, *, role: ModelRole) -> AsyncIterator[Client]:
    """Open a client that asks nothing twice, spends no more than it may, and keeps asking until the server answers.

    While it is open, SIGINT and SIGTERM stop sending; what is in flight comes in and is recorded, then the signal takes
    its usual course.

    Args:
        model: which model answers.
        access: how it is reached.
        store: where every attempt is recorded, and what has been answered before.
        role: what the model is asked as. A judge is always named by itself, never taken from the model under test.

    Raises:
        ConfigError: a key is missing, or a budget is set for a model whose price nobody knows.
    """
    prices = Prices.load(access.prices, access.base_url)
    provider = provider_of(model.model)
    client = provider.client(model, access)
    drain: Drain
    inner: Client
    if access.batch:
        timing = BatchTiming(patience_s=access.patience_s)
        drain = inner = BatchClient(provider.batch_builder()(client), store, model, role, prices, timing=timing)
    else:
        recorded = Recorded(Timed(client, access.deadline_s), store, model, role, prices)
        drain = limited = Limited(recorded, access.concurrency)
        inner = PrefixFirst(Retrying(limited, where=model.model, url=client.url, patience_s=access.patience_s))
    try:
        budgeted = Budgeted(inner, store, prices, access.budget_usd, model=model.model, role=role, batch=access.batch)
        with draining(drain):
            yield Stored(budgeted, store)
    finally:
        await inner.close()


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
        """Return the outcome on record, or the script's."""
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
        reply = self._script(request)
        return reply if isinstance(reply, Outcome) else Outcome(kind="ok", text=reply, stop_reason="stop")

    async def close(self) -> None:
        """Do nothing: there is no connection."""
