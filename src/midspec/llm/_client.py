"""The chain of clients from the store to the attempts, and a client that answers from a script."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from midspec.core.errors import ConfigError
from midspec.llm._attempts import Limited, Recorded, Retrying
from midspec.llm._batch_client import BatchClient, BatchTiming
from midspec.llm._cut_prompts import CutPrompts
from midspec.llm._ledger import estimate_usd
from midspec.llm._prices import Prices
from midspec.llm._providers import provider_of
from midspec.llm._sdk_client import SdkClient
from midspec.llm._server import Silence, Timed
from midspec.llm._signals import Drain, draining
from midspec.llm._store import Store, as_recorded
from midspec.llm._transport import api_key, find_proxy, make_room
from midspec.llm._types import Access, Client, ModelConfig, ModelRole, Outcome, Request, Usage, Wrapper, sampling_of

_BYTES_PER_TOKEN = 2
# Providers forget a prefix five minutes after its last use.
_KEPT_S = 270.0


class Stored(Wrapper):
    """Answers from the store what is settled there, and asks the client inside for the rest."""

    def __init__(self, client: Client, store: Store) -> None:
        super().__init__(client)
        self._store = store

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome on record, or a new one."""
        found = self._store.settled(request)
        return as_recorded(await self._client.ask(request)) if found is None else found


class Budgeted(Wrapper):
    """Sends a request only if the cap holds whatever its reply costs.

    Before sending, the worst case is set aside: the prompt at a token for every two bytes (more than tokenizers make
    of text in any script) and a reply as long as its cap. All clients of a store draw on the same cap. Near the end,
    requests wait for those in flight to give back what they did not use; when one does not fit although nothing is
    in flight, the run ends. What other processes had in flight when they were killed, and what timed out, counts as
    `Store.unmetered` estimates it.

    Args:
        client: what is asked inside the cap.
        store: knows what was spent.
        prices: what tokens cost.
        cap_usd: what all attempts of the store may cost together; `None` for no cap.
        model: the model that `client` asks, as configured.
        role: what it is asked as.
        batch: whether it is asked through a batch endpoint.

    Raises:
        ConfigError: there is a cap, and a price is unknown that would be needed to hold it.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        prices: Prices,
        cap_usd: float | None,
        *,
        model: str,
        role: ModelRole = "author",
        batch: bool = False,
    ) -> None:
        super().__init__(client)
        self._store = store
        self._prices = prices
        self._cap_usd = cap_usd
        self._model = model
        self._role = role
        self._batch = batch
        self._over = ""
        if cap_usd is not None:
            store.price(prices.cost)
            self._cost_usd(Usage(n_input=1))
            self._spent_usd()

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request.

        Raises:
            ConfigError: the cap would be passed; nothing more is sent.
        """
        if self._cap_usd is None:
            return await self._client.ask(request)
        if self._over:
            raise self._used_up()
        texts = (request.prefix, request.prompt, *(turn.content for turn in request.turns))
        n_bytes = sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)
        n_prompt = n_bytes // _BYTES_PER_TOKEN
        worst_usd = max(
            self._cost_usd(Usage(n_cache_write=n_prompt, n_output=request.max_tokens)),
            self._cost_usd(Usage(n_input=n_prompt, n_output=request.max_tokens)),
        )
        if not await self._store.reservations.hold(worst_usd, self._left_usd):
            if not self._over:  # recorded once, with the request that did not fit
                self._over = (
                    f"{self._cap_usd} USD are used up: {self._spent_usd():.4f} are spent, and the next request may cost"
                    f" {worst_usd:.4f}"
                )
                attempt = self._store.open(request, self._model, self._role, "{}")
                self._store.close(attempt, Outcome(kind="over_budget", cost_usd=0.0, note=self._over))
            raise self._used_up()
        try:
            return await self._client.ask(request)
        finally:
            self._store.reservations.release(worst_usd)

    def _left_usd(self) -> float:
        if self._over or self._cap_usd is None:
            return 0.0
        return self._cap_usd - self._spent_usd()

    def _spent_usd(self) -> float:
        unmetered = self._store.unmetered()
        estimate = estimate_usd(unmetered, self._prices)
        if estimate is None or self._store.unpriced():
            unknown = next(
                (row.model for row in unmetered if estimate_usd([row], self._prices) is None), "an earlier model"
            )
            raise unknown_price(unknown)
        return self._store.spent_usd() + estimate

    def _cost_usd(self, usage: Usage) -> float:
        cost_usd = self._prices.cost(self._model, usage, self._batch)
        if cost_usd is None:
            raise unknown_price(self._model)
        return cost_usd

    def _used_up(self) -> ConfigError:
        hint = "Raise --budget and run again: nothing that is paid is asked again"
        return ConfigError(self._over, where="--budget", hint=hint)


def unknown_price(model: str) -> ConfigError:
    """Return the error for a budget that needs a price nobody knows."""
    what = f"the price of {model} is unknown, so no budget can be kept"
    hint = f"Give --prices a YAML file with a line `{model}: {{input: 1.0, output: 4.0}}` (USD per million tokens)"
    return ConfigError(what, where="--budget", hint=hint)


class _PrefixState:
    """Of one prefix: the call that went first, how many are in flight, and when it was last used."""

    __slots__ = ("first_call", "n_in_flight", "used_at")

    def __init__(self) -> None:
        self.first_call: asyncio.Future[None] | None = None
        self.n_in_flight = 0
        self.used_at = float("-inf")


class PrefixFirst(Wrapper):
    """Lets one call with a new (or long unused) prefix go alone, and the others when it has come back.

    Args:
        client: what answers.
        kept_s: how long a provider keeps a prefix that nobody uses.
        longest_lead_s: how long the others wait for a first call.
    """

    def __init__(self, client: Client, *, kept_s: float = _KEPT_S, longest_lead_s: float = 60.0) -> None:
        super().__init__(client)
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
    if access.base_url is not None:
        find_proxy(access.base_url)
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
    make_room(access)
    prices = Prices.load(access.prices, access.base_url)
    provider = provider_of(model.model)
    client = provider.client(model, access)

    def sampling() -> str:
        # An outside provider's client may not say how it samples; then what is configured is recorded.
        return getattr(client, "sampling", None) or sampling_of(model)

    drain: Drain
    inner: Client
    if access.batch:
        timing = BatchTiming(patience_s=access.patience_s)
        endpoint = provider.batch_builder()(client)
        drain = inner = BatchClient(endpoint, store, model, role, prices, timing=timing, sampling=sampling)
    else:
        key = os.environ.get(provider.key_variable or "", "").strip()
        silence = Silence(f"{role} {model.model}", (key,))
        recorded = Recorded(Timed(client, access.deadline_s, silence), store, model, role, prices, sampling)
        drain = limited = Limited(recorded, access.concurrency, where=model.model, longest_wait_s=access.patience_s)
        if isinstance(client, SdkClient):
            client.on_headers = limited.read_headers
        inner = PrefixFirst(
            Retrying(limited, where=model.model, url=client.url, patience_s=access.patience_s, silence=silence)
        )
    try:
        budgeted = Budgeted(inner, store, prices, access.budget_usd, model=model.model, role=role, batch=access.batch)
        with draining(drain):
            yield Stored(CutPrompts(budgeted, store, where=model.model), store)
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
