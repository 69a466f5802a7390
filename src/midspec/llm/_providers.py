"""What a provider brings, and which providers there are.

A provider is one module in `midspec.llm.providers`, or in another package that names it in an entry point of the group
`midspec.providers`; both hold a `Provider`. Nothing else lists providers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._model_names import PROVIDERS, provider_names
from midspec.llm._types import Access, ModelConfig, Outcome, Request


class ProviderClient(Protocol):
    """One model of a provider; every `ask` is one attempt, which raises `RetryableError` if it may be repeated."""

    @property
    def url(self) -> str:
        """The server's base URL, for messages."""
        ...

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class BatchEntry(NamedTuple):
    """One request of a batch: its custom id, and the JSON that is sent for it."""

    custom_id: str
    body: bytes


class BatchReply(NamedTuple):
    """The reply to one entry of a batch; without an outcome it was not answered, and `reason` says why.

    With an `error`, which ends the run (no credit, no such model), it is not handed in again before the next run. It
    `is_none` where the entry is said to be answered, and what is there is no model's reply.
    """

    custom_id: str
    outcome: Outcome | None
    reason: str = ""
    error: MidspecError | None = None
    is_none: bool = False


class BatchRefusedError(MidspecError):
    """The provider took nothing of a batch: nothing will ever come of it."""


class BatchUnknownError(BatchRefusedError):
    """The provider does not know the batch: it is gone, or another account's."""


class BatchEndpoint(Protocol):
    """A provider's batch endpoint. A method makes one attempt and raises `RetryableError` for what may be repeated."""

    max_requests: int
    """Of one batch."""
    max_bytes: int
    """Of one batch."""

    def body(self, request: Request) -> bytes:
        """Return the request as the JSON that is sent."""
        ...

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:
        """Submit a batch, marked with our `handle` where the provider can; return the provider's id."""
        ...

    async def has_ended(self, batch_id: str) -> bool:
        """Return whether the replies can be read.

        Raises:
            BatchRefusedError: the provider took none of it, or no longer knows it.
        """
        ...

    def replies(self, batch_id: str) -> AsyncIterator[BatchReply]:
        """Yield the replies, in any order."""
        ...

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:
        """Return batches that may be the one submitted as `handle` after the Unix time `since_s`."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


@dataclass(frozen=True)
class Provider:
    """A provider of language models.

    Attributes:
        name: the first part of its models' names, `NAME/model`; also the provider's id in genai-prices.
        client: builds the client of one model; raises `ConfigError` where the key is missing.
        key_variable: the environment variable that holds the key; `None` where none is needed.
        batch_endpoint: builds the batch endpoint beside a client of its own; `None` where there is none.
        embed: embeds texts; `None` where it gives no embeddings.
    """

    name: str
    client: Callable[[ModelConfig, Access], ProviderClient]
    key_variable: str | None = None
    batch_endpoint: Callable[[Any], BatchEndpoint] | None = None
    embed: Callable[[Sequence[str], ModelConfig, Access], Awaitable[list[list[float]]]] | None = None

    def batch_builder(self) -> Callable[[Any], BatchEndpoint]:
        """Return `batch_endpoint`.

        Raises:
            ConfigError: the provider has none.
        """
        if self.batch_endpoint is None:
            raise ConfigError(f"{self.name} has no batch endpoint", where="--batch", hint="Leave --batch out")
        return self.batch_endpoint


def key_variables() -> tuple[str, ...]:
    """Return the environment variables that hold the keys of all providers."""
    found = (PROVIDERS.get(name).key_variable for name in provider_names())
    return tuple(dict.fromkeys(name for name in found if name))


def provider_of(model: str) -> Provider:
    """Return the provider of the model named `PROVIDER/MODEL`."""
    provider: Provider = PROVIDERS.get(model.partition("/")[0], where="model")
    return provider


async def embed(texts: Sequence[str], model: ModelConfig, access: Access) -> list[list[float]]:
    """Return one vector for each text, in their order.

    Args:
        texts: what is embedded; none of them empty.
        model: `openai/<embedding model>`; its `extra` is sent along (`{"dimensions": 256}`).
        access: how it is reached.

    Raises:
        ConfigError: the provider gives no embeddings, or the key is missing or not accepted.
        DataError: the server does not take the texts, or gives fewer vectors than there are texts.
        MidspecError: nothing has been answered for as long as the patience goes.
    """
    embed_texts = provider_of(model.model).embed
    if embed_texts is None:
        others = [f"{name}/MODEL" for name in provider_names() if PROVIDERS.get(name).embed]
        hint = f"Name a model of a provider that does: {', '.join(others)}"
        raise ConfigError(f"{model.model} gives no embeddings", where="model", hint=hint)
    return await embed_texts(texts, model, access)
