"""The whole chain, from the store that knows what is answered to the provider that is asked the rest."""

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

from midspec.llm._batch_client import Batched, Pace
from midspec.llm._batch_endpoints import batches_of
from midspec.llm._budget import Budgeted, unknown_price
from midspec.llm._concurrency import Limited
from midspec.llm._prices import Prices
from midspec.llm._recorded import Recorded
from midspec.llm._retry import Retrying, Timed
from midspec.llm._store import Store, Stored
from midspec.llm._types import Access, Client, ModelConfig, ModelRole, Outcome, Request, Usage
from midspec.llm._wire import api_key
from midspec.llm.providers._anthropic import AnthropicClient
from midspec.llm.providers._openai import OpenAIClient

# Providers forget a prefix five minutes after its last use.
_KEPT_S = 270.0


class _Seen:
    """What is known of one prefix: who leads, how many are out, and when it was last used."""

    __slots__ = ("leader", "n_out", "used_at")

    def __init__(self) -> None:
        self.leader: asyncio.Future[None] | None = None
        self.n_out = 0
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
        self._seen: dict[str, _Seen] = {}

    async def ask(self, request: Request) -> Outcome:
        """The outcome of one request, asked when its prefix is in the cache, or to put it there."""
        if not request.prefix:
            return await self._client.ask(request)
        seen = self._seen.setdefault(request.prefix, _Seen())
        waited = False
        while seen.leader is not None and not waited:
            # A first call that hangs must not hold up a whole run.
            _, still_out = await asyncio.wait([seen.leader], timeout=self._longest_lead_s)
            waited = bool(still_out)
        if seen.n_out == 0 and asyncio.get_running_loop().time() - seen.used_at > self._kept_s:
            return await self._lead(request, seen)
        return await self._follow(request, seen)

    async def _lead(self, request: Request, seen: _Seen) -> Outcome:
        leader = seen.leader = asyncio.get_running_loop().create_future()
        try:
            return await self._follow(request, seen)
        finally:
            # A leader that failed frees the others too: one of them would fail in the same way.
            seen.leader = None
            leader.set_result(None)

    async def _follow(self, request: Request, seen: _Seen) -> Outcome:
        seen.n_out += 1
        try:
            return await self._client.ask(request)
        finally:
            seen.n_out -= 1
            seen.used_at = asyncio.get_running_loop().time()

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
                self._loop.add_signal_handler(number, self._caught, number)
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

    def _caught(self, number: int) -> None:
        if self._task is not None:
            self._deliver(number)
            return
        self._pending = number
        for drain in self._drains:
            drain.stop()
        _LOG.warning("stopping: what is in flight is still received and recorded; a second signal ends at once")
        self._task = self._loop.create_task(self._drain(number))

    async def _drain(self, number: int) -> None:
        await asyncio.gather(*(drain.drained() for drain in self._drains))
        await asyncio.sleep(_AFTER_S)
        # From the loop itself and not from a task, so that a handler that raises ends the loop.
        self._loop.call_soon(self._deliver, number)

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


def provider_of(model: ModelConfig, access: Access) -> AnthropicClient | OpenAIClient:
    """The provider that `model` names; every ask of it is one attempt.

    Raises:
        ConfigError: the provider's key is not set.
    """
    return AnthropicClient(model, access) if model.model.startswith("anthropic/") else OpenAIClient(model, access)


def check_access(model: ModelConfig, access: Access) -> None:
    """Refuse at once what `open_client` would refuse later; nothing is opened or asked.

    Raises:
        ConfigError: the provider's key is not set, the table of prices can't be read, or a budget is set for a model
            whose price nobody knows.
    """
    api_key("ANTHROPIC_API_KEY" if model.model.startswith("anthropic/") else "OPENAI_API_KEY", access)
    prices = Prices.load(access.prices, access.base_url)
    if access.budget_usd is not None and prices.cost(model.model, Usage(n_input=1), access.batch) is None:
        raise unknown_price(model.model)


@asynccontextmanager
async def open_client(model: ModelConfig, access: Access, store: Store, *, duty: ModelRole) -> AsyncIterator[Client]:
    """A client that asks nothing twice, spends no more than it may, and keeps asking until the server answers.

    While it is open, SIGINT and SIGTERM stop sending; what is in flight comes in and is recorded, then the signal takes
    its usual course.

    Args:
        model: which model answers.
        access: how it is reached.
        store: where every attempt is recorded, and what has been answered before.
        duty: what the model is asked as. A judge is always named by itself, never taken from the model under test.

    Raises:
        ConfigError: a key is missing, or a budget is set for a model whose price nobody knows.
    """
    prices = Prices.load(access.prices, access.base_url)
    provider = provider_of(model, access)
    drain: Drain
    inner: Client
    if access.batch:
        drain = inner = Batched(
            batches_of(provider), store, model, duty, prices, pace=Pace(patience_s=access.patience_s)
        )
    else:
        recorded = Recorded(Timed(provider, access.deadline_s), store, model, duty, prices)
        drain = limited = Limited(recorded, access.concurrency)
        inner = PrefixFirst(Retrying(limited, where=model.model, url=provider.url, patience_s=access.patience_s))
    try:
        budgeted = Budgeted(inner, store, prices, access.budget_usd, model=model.model, duty=duty, batch=access.batch)
        with draining(drain):
            yield Stored(budgeted, store)
    finally:
        await inner.close()
