"""What batch endpoints over a provider's SDK share: lookups, files of replies, and what an entry's error means."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import JsonValue

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._errors import (
    BUSY,
    NoReplyError,
    RetryableError,
    UnknownFieldError,
    not_json_error,
    read_connection_error,
)
from midspec.llm._providers import BatchReply, BatchUnknownError
from midspec.llm._sdk_client import SdkClient
from midspec.llm._server_words import read_json
from midspec.llm._types import Outcome, Request

_MAX_TORN = 2
ResultT = TypeVar("ResultT")


class SdkBatches(ABC):
    """The batch endpoint beside an SDK's client.

    Args:
        client: reads bodies, replies and errors of single requests.
    """

    max_requests: int
    max_bytes = 100_000_000  # providers take 200 MB and more; a file is held in memory while it is sent
    page_size = 100
    max_pages = 50
    clock_skew_s = 3600.0

    def __init__(self, client: SdkClient) -> None:
        self._client = client
        self._sdk = client.sdk
        self._n_torn: Counter[str] = Counter()

    def body(self, request: Request) -> bytes:
        """Return the request as the JSON that is sent."""
        return self._client.body(request)

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()

    @abstractmethod
    def sdk_errors(self) -> tuple[type[Exception], ...]:
        """Return the errors that the SDK raises for a status and for a broken connection."""

    @contextmanager
    def read_errors(self) -> Iterator[None]:
        """Raise the SDK's errors as what they mean."""
        import httpx2

        errors: tuple[type[Exception], ...] = (*self.sdk_errors(), httpx2.HTTPError)
        try:
            yield
        except errors as error:
            response = getattr(error, "response", None)
            if response is None:
                raise read_connection_error(error) from None
            failure = self._client.failed(response.status_code, response.headers, response.content, has_schema=False)
            if isinstance(failure, Exception):
                raise failure from None
            hint = "The same command goes on from here"
            what = f"the server does not take the batch ({failure.note})"
            raise MidspecError(what, where="batch", hint=hint) from None

    async def call(self, call: Awaitable[ResultT]) -> ResultT:
        """Return the result of an SDK's call; its errors are raised as what they mean.

        A page of a proxy in a reply's place makes the SDKs fall over their own feet (AttributeError, JSONDecodeError).
        """
        with self.read_errors():
            try:
                return await call
            except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
                raise NoReplyError(f"the reply about a batch is none ({type(error).__name__}: {error})") from None

    def listed(self, pager: Any) -> list[Any]:
        """Return the batches of a page of the list."""
        found = getattr(pager, "data", None)
        return [batch for batch in found if hasattr(batch, "id")] if isinstance(found, list) else []

    def part(self, shown_as: Any, name: str) -> Any:
        """Return a field of what the SDK made of a reply.

        Raises:
            NoReplyError: it is not there: the reply is of something in between.
        """
        value = getattr(shown_as, name, None)
        if value is None:
            raise NoReplyError(f"the reply about a batch has no {name}: {str(shown_as)[:120]}")
        return value

    async def look_up(self, batch_id: str, call: Awaitable[ResultT]) -> ResultT:
        """Return what the provider says of a batch.

        Raises:
            BatchUnknownError: it knows the address, and no such batch.
        """
        try:
            return await self.call(call)
        except ConfigError as error:
            if "(404" not in error.what:
                raise
            await self.find("", (), time.time())  # raises where the address is wrong
            what = f"{self._client.url} knows no batch {batch_id} (any more)"
            raise BatchUnknownError(what, where="batch", hint="Check the key and the base URL") from None

    @abstractmethod
    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:
        """Return batches that may be the one submitted as `handle` after the Unix time `since_s`."""

    async def read_lines(self, batch_id: str, stream: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the JSON objects of a streamed file.

        A line that is none is taken for a download that broke off; where it is there the third time, it is passed over.
        A file of nothing else is a page of something in between.
        """
        n_rows, bad = 0, b""
        with self.read_errors():
            async with stream as response:
                async for line in response.iter_lines():
                    if not line.strip():
                        continue
                    row = read_json(line, None)
                    if isinstance(row, dict):
                        n_rows += 1
                        yield row
                        continue
                    bad = line.encode()
                    if self._n_torn[batch_id] < _MAX_TORN:
                        self._n_torn[batch_id] += 1
                        raise not_json_error(bad, self._client.key) from None
        if bad and not n_rows:
            raise not_json_error(bad, self._client.key)

    def good_reply(self, custom_id: str, body: JsonValue) -> BatchReply:
        """Return the reply to an entry that was answered; also where an error, or nothing, stands in its place."""
        if (status := self._client.hidden_status(body)) is not None:
            failed = self.failed_reply(custom_id, status, body)
            if failed.outcome is not None or failed.error is not None or status < 500 or status in BUSY:
                return failed
        try:
            return BatchReply(custom_id, self._client.read(body))
        except RetryableError as error:
            return BatchReply(custom_id, None, error.reason, is_none=True)

    def failed_reply(self, custom_id: str, status: int, body: JsonValue) -> BatchReply:
        """Return the reply to an entry that ended in an error: final, to be submitted again, or the end of the run."""
        content = json.dumps(body).encode()
        # What an earlier row's refusal left out was sent with this one too.
        sent = (*self._client.first_fields, *self._client.cap_fields)
        failure = self._client.failed(status, {}, content, has_schema=True, sent=sent)
        if isinstance(failure, Outcome):
            return BatchReply(custom_id, failure)
        if isinstance(failure, UnknownFieldError):
            self._client.adapt(failure)
        return BatchReply(custom_id, None, str(failure), failure if isinstance(failure, MidspecError) else None)
