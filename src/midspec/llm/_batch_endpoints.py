"""The batch endpoints of both providers, as one: submit, look, read, and find again what a kill left behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from midspec.core.errors import MidspecError
from midspec.llm._types import Outcome, Request
from midspec.llm._wire import HOW_JSON_IS_SENT, AgainError, FormError, TokenFieldError, not_json
from midspec.llm.providers._anthropic import AnthropicClient
from midspec.llm.providers._openai import OpenAIClient

_PAGE = 100
_MOST_PAGES = 50
_CLOCKS_APART_S = 3600.0
# The providers take 256 and 200 MB; a file is held in memory while it is sent.
_MOST_BYTES = 100_000_000

ResultT = TypeVar("ResultT")


class Entry(NamedTuple):
    """One request of a batch: its custom id, and the JSON that is sent for it."""

    custom_id: str
    body: bytes


class Reply(NamedTuple):
    """What a batch says of one entry; without an outcome it has not been answered, `words` say why."""

    custom_id: str
    outcome: Outcome | None
    words: str = ""


class Batches(Protocol):
    """One provider's batch endpoint. A method makes one attempt and raises `AgainError` for what may be repeated."""

    @property
    def most_requests(self) -> int:
        """How many requests one batch may have."""
        ...

    @property
    def most_bytes(self) -> int:
        """How many bytes one batch may have."""
        ...

    def body(self, request: Request) -> bytes:
        """The request as the JSON that is sent."""
        ...

    async def submit(self, entries: Sequence[Entry], handle: str) -> str:
        """Hand a batch in; returns its id there."""
        ...

    async def has_ended(self, batch_id: str) -> bool:
        """Whether its replies can be read."""
        ...

    def replies(self, batch_id: str) -> AsyncIterator[Reply]:
        """Its replies, in any order."""
        ...

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:
        """Batches there that may be the one that was handed in as `handle` after the Unix time `since_s`."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def batches_of(provider: AnthropicClient | OpenAIClient) -> Batches:
    """The batch endpoint beside `provider`."""
    return AnthropicBatches(provider) if isinstance(provider, AnthropicClient) else OpenAIBatches(provider)


class AnthropicBatches:
    """Message batches: the replies stay readable for 29 days; a batch carries no mark of ours but its custom ids."""

    most_requests = 100_000
    most_bytes = _MOST_BYTES

    def __init__(self, client: AnthropicClient) -> None:
        self._client = client
        self._sdk = client.sdk

    def body(self, request: Request) -> bytes:
        """The request as the JSON that is sent."""
        return self._client.body(request)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def submit(self, entries: Sequence[Entry], handle: str) -> str:  # noqa: ARG002
        """Hand a batch in; returns its id there."""
        import httpx2

        parts = (b'{"custom_id":"' + entry.custom_id.encode() + b'","params":' + entry.body + b"}" for entry in entries)
        call = self._sdk.post(
            "/v1/messages/batches",
            content=b'{"requests":[' + b",".join(parts) + b"]}",
            cast_to=httpx2.Response,
            options=HOW_JSON_IS_SENT,
        )
        response = await self._guarded(call)
        return str(json.loads(response.content)["id"])

    async def has_ended(self, batch_id: str) -> bool:
        """Whether its replies can be read."""
        batch = await self._guarded(self._sdk.messages.batches.retrieve(batch_id))
        return batch.processing_status == "ended"

    async def replies(self, batch_id: str) -> AsyncIterator[Reply]:
        """Its replies, one line at a time."""
        import anthropic
        import httpx2

        try:
            async with self._sdk.messages.batches.with_streaming_response.results(batch_id) as response:
                async for line in response.iter_lines():
                    if line.strip():
                        yield self._reply(_row(line))
        except (anthropic.APIStatusError, anthropic.APIConnectionError, httpx2.HTTPError) as error:
            raise _raisable(self._client.failure(error)) from None

    def _reply(self, line: Any) -> Reply:
        custom_id, result = str(line["custom_id"]), line["result"]
        if result["type"] == "succeeded":
            return Reply(custom_id, self._client.read(result["message"]))
        if result["type"] != "errored":
            return Reply(custom_id, None, str(result["type"]))
        error = result.get("error") or {}
        error = error.get("error") or error
        status = 400 if error.get("type") in {"invalid_request_error", "request_too_large"} else 500
        return _judged(custom_id, self._client, status, json.dumps({"error": error}).encode())

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:  # noqa: ARG002
        """Batches of that size made since; the list says nothing of what is in them."""
        found = []
        since = datetime.fromtimestamp(since_s - _CLOCKS_APART_S, UTC)
        pager = await self._guarded(self._sdk.messages.batches.list(limit=_PAGE))
        for _ in range(_MOST_PAGES):
            for batch in pager.data:
                counts = batch.request_counts
                n = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                if batch.created_at >= since and n == len(custom_ids):
                    found.append(batch.id)
            if not pager.data or pager.data[-1].created_at < since or not pager.has_next_page():
                break
            pager = await self._guarded(pager.get_next_page())
        return found

    async def _guarded(self, call: Awaitable[ResultT]) -> ResultT:
        import anthropic

        try:
            return await call
        except (anthropic.APIStatusError, anthropic.APIConnectionError) as error:
            raise _raisable(self._client.failure(error)) from None


class OpenAIBatches:
    """Batches of chat completions: a file of requests goes up, files of replies and of errors come down."""

    most_requests = 50_000
    most_bytes = _MOST_BYTES

    def __init__(self, client: OpenAIClient) -> None:
        self._client = client
        self._sdk = client.sdk

    def body(self, request: Request) -> bytes:
        """The request as the JSON that is sent."""
        return self._client.body(request)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def submit(self, entries: Sequence[Entry], handle: str) -> str:
        """Hand a batch in, marked with `handle`; returns its id there."""
        head, tail = b'{"custom_id":"', b'","method":"POST","url":"/v1/chat/completions","body":'
        lines = b"".join(head + entry.custom_id.encode() + tail + entry.body + b"}\n" for entry in entries)
        file = await self._guarded(self._sdk.files.create(file=(f"{handle}.jsonl", lines), purpose="batch"))
        call = self._sdk.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"midspec": handle},
        )
        return (await self._guarded(call)).id

    async def has_ended(self, batch_id: str) -> bool:
        """Whether its replies can be read.

        Raises:
            MidspecError: the provider took none of it.
        """
        batch = await self._guarded(self._sdk.batches.retrieve(batch_id))
        if batch.status == "failed":
            errors = (batch.errors.data if batch.errors else None) or []
            words = "; ".join(f"{error.code}: {error.message}" for error in errors)[:300]
            if "token_limit" in words or "rate_limit" in words:
                return True  # the queue is full: every entry comes back unanswered and is handed in again
            hint = "Check the account's batch limits and the model's name; the same command goes on from here"
            raise MidspecError(f"the batch {batch_id} was not taken ({words})", where="batch", hint=hint)
        return batch.status in {"completed", "expired", "cancelled", "failed"}

    async def replies(self, batch_id: str) -> AsyncIterator[Reply]:
        """Its replies and its errors, one line at a time."""
        import httpx2
        import openai

        batch = await self._guarded(self._sdk.batches.retrieve(batch_id))
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is None:
                continue
            try:
                async with self._sdk.files.with_streaming_response.content(file_id) as response:
                    async for line in response.iter_lines():
                        if line.strip():
                            yield self._reply(_row(line))
            except (openai.APIStatusError, openai.APIConnectionError, httpx2.HTTPError) as error:
                raise _raisable(self._client.failure(error)) from None

    def _reply(self, line: Any) -> Reply:
        custom_id = str(line["custom_id"])
        response = line.get("response") or {}
        status = response.get("status_code")
        if status == 200:
            return Reply(custom_id, self._client.read(response["body"]))
        if status is None:
            return Reply(custom_id, None, str((line.get("error") or {}).get("code") or "no response"))
        return _judged(custom_id, self._client, status, json.dumps(response.get("body")).encode())

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:  # noqa: ARG002
        """The batch with our mark."""
        pager = await self._guarded(self._sdk.batches.list(limit=_PAGE))
        for _ in range(_MOST_PAGES):
            found = [batch.id for batch in pager.data if (batch.metadata or {}).get("midspec") == handle]
            old = not pager.data or pager.data[-1].created_at < since_s - _CLOCKS_APART_S
            if found or old or not pager.has_next_page():
                return found
            pager = await self._guarded(pager.get_next_page())
        return []

    async def _guarded(self, call: Awaitable[ResultT]) -> ResultT:
        import openai

        try:
            return await call
        except (openai.APIStatusError, openai.APIConnectionError) as error:
            raise _raisable(self._client.failure(error)) from None


def _row(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise not_json(line.encode()) from None


def _judged(custom_id: str, client: AnthropicClient | OpenAIClient, status: int, content: bytes) -> Reply:
    """What an error of one entry means: final, or to be handed in again."""
    failure = client.failed(status, {}, content, has_form=True)
    if isinstance(failure, Outcome):
        return Reply(custom_id, failure)
    if isinstance(failure, FormError | TokenFieldError):
        client.adapt(failure)
    elif not isinstance(failure, AgainError):
        raise failure
    return Reply(custom_id, None, str(failure))


def _raisable(failure: Exception | Outcome) -> Exception:
    if isinstance(failure, Outcome):
        hint = "The same command goes on from here"
        return MidspecError(f"the server does not take the batch ({failure.note})", where="batch", hint=hint)
    return failure
