"""The whole chain, from the store that knows what is answered to the provider that is asked the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from midspec.llm._anthropic import AnthropicClient
from midspec.llm._batch import Batched, Pace
from midspec.llm._batches import batches_of
from midspec.llm._budget import Budgeted, unknown_price
from midspec.llm._deadline import Timed
from midspec.llm._limit import Limited
from midspec.llm._openai import OpenAIClient
from midspec.llm._prefix import PrefixFirst
from midspec.llm._prices import Prices
from midspec.llm._recorded import Recorded
from midspec.llm._retry import Retrying
from midspec.llm._signals import Drain, draining
from midspec.llm._store import Store, Stored
from midspec.llm._types import Access, Client, Duty, ModelConfig, Usage
from midspec.llm._wire import api_key

__all__ = ["check_access", "open_client", "provider_of"]


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
async def open_client(model: ModelConfig, access: Access, store: Store, *, duty: Duty) -> AsyncIterator[Client]:
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
