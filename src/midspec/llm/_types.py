"""Requests to language models, their outcomes, and how a model is named and reached."""

from __future__ import annotations

import json
import re
from typing import Literal, Protocol
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator

from midspec.core.records import Message, Strict
from midspec.llm._model_names import ModelName

# A batch holds the requests that wait together.
_BATCH_WIDTH = 10_000
# What `urlsplit` lets pass in an address, and the HTTP clients do not.
_NO_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f]")
ModelRole = Literal["author", "judge"]
OutcomeKind = Literal["ok", "refused", "truncated", "unparsable", "filtered", "timed_out", "over_budget", "failed"]


class ModelConfig(Strict):
    """Which model answers, and how it samples: all that identifies its replies.

    Attributes:
        model: `anthropic/<model>`, or `openai/<model>` for every server that speaks that protocol.
        temperature: sampling temperature; `None` leaves it to the provider.
        extra: fields of the provider's own, sent as they are (`{"reasoning_effort": "low"}`).
    """

    model: ModelName
    temperature: float | None = Field(default=1.0, ge=0)
    extra: dict[str, JsonValue] = Field(default_factory=dict)


class Access(Strict):
    """How the model is reached: never part of a result's identity. Keys come from the environment and are nowhere here.

    Attributes:
        base_url: the server, where it is not the provider's own.
        concurrency: how many requests are wanted in flight at once.
        budget_usd: what all attempts of the store may cost together.
        batch: send through the provider's batch endpoint, at half the price and within a day.
        prices: a YAML file of prices that are used before the kept library's.
        deadline_s: the longest that an attempt may take before anything is known of the stage's own latencies.
        connect_s: the longest that a connection may take to open.
        patience_s: how long nothing at all may succeed before the run stops and says so.
    """

    base_url: str | None = None
    concurrency: int = Field(default=50, ge=1)
    budget_usd: float | None = Field(default=None, gt=0)
    batch: bool = False
    prices: str | None = None
    deadline_s: float = Field(default=600.0, gt=0)
    connect_s: float = Field(default=10.0, gt=0)
    patience_s: float = Field(default=1800.0, gt=0)

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        url = url and url.strip()
        if url is not None and not is_address(url):
            raise ValueError(f"{url!r} is no address; one is like http://HOST:PORT/v1")
        return url

    @property
    def width(self) -> int:
        """Return how many requests may wait at once."""
        return _BATCH_WIDTH if self.batch else self.concurrency


def is_address(url: str) -> bool:
    """Return whether a text is the address of an HTTP server."""
    try:
        parts = urlsplit(url)
        is_port = parts.port is None or parts.port > 0  # of a port beyond 65,535 an error
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_port and not _NO_ADDRESS.search(url)


class Request(Strict):
    """One call: a user message made of a stable `prefix` and a `prompt`, with no system prompt (arXiv 2605.02087).

    Attributes:
        task: what is wanted, unique in the store: a hash of content, never a title. Two draws are two tasks.
        stage: the step of the method that it belongs to; statistics, deadlines and the ledger are by stage.
        prompt: the part of the message that differs between calls.
        prefix: the part before it that all calls of a stage share (the spec); providers cache it.
        turns: what follows the first message, assistant and user by turns, when a reply is to be repaired.
        max_tokens: cap of the reply, reasoning included.
        form: JSON schema of the reply; sent where the provider has a schema mode.
        turn: 0 for the first request of a task, then one more for each that the policy sends after it.
        cap_setting: the setting that the cap comes from, for messages; no part of what is asked.
    """

    task: str
    stage: str
    prompt: str
    prefix: str = ""
    turns: tuple[Message, ...] = ()
    max_tokens: int = Field(ge=1)
    form: dict[str, JsonValue] | None = None
    turn: int = 0
    cap_setting: str = ""


class Usage(Strict):
    """Tokens as the provider counted them; the four are apart and add up. Reasoning counts as output."""

    n_input: int = 0
    n_cache_read: int = 0
    n_cache_write: int = 0
    n_output: int = 0


class Outcome(Strict):
    """What came of one request. The provider's stop reason decides the kind, never the look of the text.

    Attributes:
        kind: `failed` is a request that the server will never take (its words are in `note`).
        text: the reply without hidden reasoning; empty where there is none.
        stop_reason: the provider's own word.
        usage: `None` where the provider gave none.
        cost_usd: `None` where a price or the usage is unknown; never 0 for unknown.
        model: the model that answered, by the server's own account.
        note: why, in words, for every kind but `ok`.
    """

    kind: OutcomeKind
    text: str = ""
    stop_reason: str = ""
    usage: Usage | None = None
    cost_usd: float | None = None
    model: str = ""
    note: str = ""


class Client(Protocol):
    """Answers requests. Small final classes implement it and wrap each other."""

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request; raises only what ends the whole run (`MidspecError`)."""
        ...

    async def close(self) -> None:
        """Close connections; asking afterwards is an error."""
        ...


class Wrapper:
    """A client around another one, which it closes with itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def close(self) -> None:
        """Close the client inside; a store stays open for whoever opened it."""
        await self._client.close()


def sampling_of(model: ModelConfig) -> str:
    """Return how the model samples, as one line of JSON."""
    return json.dumps({"temperature": model.temperature, **model.extra}, sort_keys=True)
