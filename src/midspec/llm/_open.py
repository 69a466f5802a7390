"""Clients to ask: one that is opened for a model with the chain around it, and one that answers from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from midspec.core.errors import MidspecError
from midspec.llm._attempts import Limited, Recorded, Timed
from midspec.llm._batch_client import BatchClient, BatchTiming
from midspec.llm._client import Budgeted, PrefixFirst, Retrying, Stored, unknown_price
from midspec.llm._environment import api_key, tls, variable
from midspec.llm._errors import RetryableError, UnknownFieldError
from midspec.llm._prices import Prices
from midspec.llm._providers import provider_of
from midspec.llm._sdk_client import SdkClient
from midspec.llm._server import Silence
from midspec.llm._server_words import error_text
from midspec.llm._signals import Drain, draining
from midspec.llm._store import Store, as_recorded
from midspec.llm._transport import Response, find_proxy, make_room
from midspec.llm._types import Access, Client, ModelConfig, ModelRole, Outcome, Request, Usage, sampling_of


def check_access(model: ModelConfig, access: Access) -> None:
    """Refuse at once what `open_client` would refuse later; nothing is opened or asked.

    Raises:
        ConfigError: the provider's key is not set or it has no batches that are asked for, the table of prices can't
            be read, a variable names certificates that are none, or a budget is set for a model without a known price.
    """
    provider = provider_of(model.model)
    if provider.key_variable is not None:
        api_key(provider.key_variable, access)
    if access.batch:
        provider.batch_builder()
    if access.base_url is not None:
        find_proxy(access.base_url)
        if access.base_url.lower().startswith("https:"):
            tls()
    prices = Prices.load(access.prices, access.base_url)
    if access.budget_usd is not None and prices.cost(model.model, Usage(n_input=1), access.batch) is None:
        raise unknown_price(model.model)


@asynccontextmanager
async def open_client(model: ModelConfig, access: Access, store: Store, *, role: ModelRole) -> AsyncIterator[Client]:
    """Open a client that asks nothing twice, spends no more than it may, and keeps asking until the server answers.

    While it is open, SIGINT, SIGTERM and SIGHUP stop sending; what is in flight comes in and is recorded, then the
    signal takes its usual course.

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
        key = variable(provider.key_variable) if provider.key_variable else ""
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
            yield Stored(budgeted, store, model.model)
    finally:
        await inner.close()


def read_response(model: ModelConfig, url: str, response: Response, key: str = "") -> Outcome:
    """Read a response that another client received, as the provider's own would; what it would raise is a kind too.

    Args:
        model: `PROVIDER/MODEL`, whose protocol the response is in.
        url: the server's base URL.
        response: whatever its status.
        key: what the other client sent for a key, which a server may repeat.

    Returns:
        The outcome: `timed_out` for what may be repeated, and `failed` without a stop reason for what ends a run, with
        the words of both; a request that is refused by itself has its status for a stop reason.
    """
    client = provider_of(model.model).client(model, Access(base_url=url))
    if not isinstance(client, SdkClient):
        return Outcome(kind="failed", note=f"{response.status_code}: {error_text(response.content, key)}")
    client.has_told = True  # whoever received it says so
    client.hide(key)
    try:
        return client.outcome_of(response)
    except RetryableError as error:
        return Outcome(kind="timed_out", note=error.reason)
    except UnknownFieldError as error:
        return Outcome(kind="failed", stop_reason=str(response.status_code), note=f"{response.status_code}: {error}")
    except MidspecError as error:
        return Outcome(kind="failed", note=str(MidspecError(error.what, hint=error.hint)))


class ScriptedClient:
    """Answers each request with what `script` returns for it, without a server.

    Args:
        script: gives the reply's text, or a whole outcome; raises what the client shall raise.
        store: where given, attempts are recorded and settled ones replayed, as a real client does.

    Attributes:
        asked: every request that reached the script, in order.
    """

    def __init__(self, script: Callable[[Request], str | Outcome], *, store: Store | None = None) -> None:
        self._script = script
        self._store = store
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome on record, or the script's."""
        if self._store is None:
            return await self._answer(request)
        found = self._store.settled(request)
        if found is None:
            attempt = self._store.open(request, "scripted", "author", "{}")
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
