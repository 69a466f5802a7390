"""What clients over a provider's SDK share: one attempt, what an error means, and the batch endpoint's files."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from pydantic import JsonValue

from midspec.core.errors import MidspecError
from midspec.llm._errors import (
    CapFieldError,
    RetryableError,
    SchemaUnsupportedError,
    not_json_error,
    read_connection_error,
    read_error_status,
)
from midspec.llm._providers import BatchReply
from midspec.llm._runaway import marked
from midspec.llm._streaming import Streaming
from midspec.llm._transport import HttpTransport
from midspec.llm._types import Access, ModelConfig, Outcome, OutcomeKind, Request

_MAX_PREFIXES = 64
_STARTS_LIKE_JSON = re.compile(r"\s*(?:```json\s*)?[\[{]")
ResultT = TypeVar("ResultT")


def json_text(value: JsonValue | Mapping[str, Any]) -> str:
    """Return `value` as JSON in ASCII, where a lone surrogate in a reply that is sent back is escaped and no error."""
    return json.dumps(value, separators=(",", ":"))


def separated_prefix(request: Request) -> str:
    """Return the prefix as it is sent, set off from the prompt by an empty line."""
    prefix = request.prefix
    return prefix if not prefix or prefix.endswith("\n") else prefix + "\n\n"


class SdkClient(ABC):
    """One model at the address, and with the headers and the key, of an SDK's client; every ask is one attempt.

    Args:
        model: `PROVIDER/MODEL` and how it samples.
        access: where the server is, and how long to wait for it.
        sdk: the SDK's client.
        path: of the endpoint below the SDK's base URL.
    """

    kinds: ClassVar[Mapping[str, OutcomeKind]]
    """What each stop reason means."""
    schema_field: ClassVar[str]
    """The field that carries the reply's schema, for notes."""
    cap_fields: ClassVar[tuple[str, ...]] = ("max_tokens",)
    """The names under which servers know the cap of the reply."""

    def __init__(self, model: ModelConfig, access: Access, sdk: Any, path: str) -> None:
        self._model = model.model
        self.sdk = sdk
        headers = {**sdk.default_headers, **sdk.auth_headers}
        self._transport = HttpTransport(f"{self.url.rstrip('/')}{path}", headers, access)
        # How replies are streamed; `None` where they never are.
        self.streaming: Streaming | None = None
        self._head: dict[str, JsonValue] = {"model": model.model.partition("/")[2]}
        if model.temperature is not None:
            self._head["temperature"] = model.temperature
        self._extra = model.extra
        self._cap_field = self.cap_fields[0]
        self._sends_schema = True
        self._ignores_schema = False
        self._encoded_prefixes: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The server's base URL."""
        return str(self.sdk.base_url)

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()
        await self.sdk.close()

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt.

        Raises:
            RetryableError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good (key, rights, model's name, credit).
        """
        note = ""
        while True:
            try:
                outcome, is_ignored = await self._attempt(request)
            except SchemaUnsupportedError as error:
                self.adapt(error)
                note = f"the server takes no {self.schema_field}; left out from now on ({error})"
            except CapFieldError as error:
                self.adapt(error)
            else:
                if is_ignored:
                    note = f"the server ignored {self.schema_field}: the reply is no JSON"
                if not note:
                    return outcome
                return outcome.model_copy(update={"note": f"{outcome.note}; {note}" if outcome.note else note})

    async def _attempt(self, request: Request) -> tuple[Outcome, bool]:
        """Return the outcome, and whether the server was just seen to ignore the schema."""
        has_schema = self._sends_schema and request.form is not None
        body = self.body(request)
        send = self._transport.post(body) if self.streaming is None else self.streaming.post(body, request)
        response = await send
        status: int | None = response.status_code if response.status_code >= 300 else None
        reply = None
        if status is None:
            try:
                reply = json.loads(response.content)
            except ValueError:
                raise not_json_error(response.content) from None
            status = self.hidden_status(reply)
        if status is not None:
            failure = self.failed(status, response.headers, response.content, has_schema=has_schema)
            if isinstance(failure, Exception):
                raise failure from None
            return failure, False
        outcome = marked(self.read(reply))
        if not has_schema or outcome.kind != "ok" or self._ignores_schema or _STARTS_LIKE_JSON.match(outcome.text):
            return outcome, False
        self._ignores_schema = True
        return outcome, True

    def failed(
        self, status: int, headers: Mapping[str, str], content: bytes, *, has_schema: bool
    ) -> Exception | Outcome:
        """Return what an error status means: an exception, or an outcome if the server will never take the request."""
        failure = read_error_status(
            status, headers, content,
            where=self._model, key=self.sdk.api_key, has_schema=has_schema, url=self.url, url_hint=self.url_hint,
        )  # fmt: skip
        if isinstance(failure, CapFieldError) and len(self.cap_fields) < 2:
            return Outcome(kind="failed", stop_reason=str(status), note=f"{status}: {failure}")
        return failure

    @property
    def url_hint(self) -> str:
        """What to add to the hint where the server knows no such address."""
        return ""

    def adapt(self, error: Exception) -> None:
        """Leave out, or name otherwise, from now on what the server does not know."""
        if isinstance(error, SchemaUnsupportedError):
            self._sends_schema = False
        elif isinstance(error, CapFieldError):
            self._cap_field = next(name for name in self.cap_fields if name != self._cap_field)

    def hidden_status(self, reply: Any) -> int | None:  # noqa: ARG002
        """Return the status of an error that the server put into a reply of status 200."""
        return None

    @abstractmethod
    def body(self, request: Request) -> bytes:
        """Return the request as the JSON that is sent."""

    @abstractmethod
    def read(self, reply: Any) -> Outcome:
        """Return the outcome that a reply of status 200 stands for; raises `RetryableError` where it is torn."""

    @abstractmethod
    def encode_prefix(self, prefix: str) -> str:
        """Return the prefix as JSON."""

    def encoded_prefix(self, prefix: str) -> str:
        """Return `encode_prefix(prefix)`, which is made once and not once a request."""
        found = self._encoded_prefixes.get(prefix)
        if found is None:
            if len(self._encoded_prefixes) >= _MAX_PREFIXES:
                self._encoded_prefixes.clear()
            found = self._encoded_prefixes[prefix] = self.encode_prefix(prefix)
        return found

    def kind_of(self, stop_reason: str, text: str) -> tuple[OutcomeKind, str]:
        """Return the kind of an outcome and the note that says why, from the provider's stop reason."""
        kind = self.kinds.get(stop_reason)
        if kind is None:
            return "unparsable", f"stopped for {stop_reason}" if stop_reason else "the server gave no stop reason"
        if kind == "ok" and not text.strip():
            return "unparsable", "an empty reply"
        return kind, "" if kind == "ok" else f"stopped for {stop_reason}"


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
        """Return the result of an SDK's call; its errors are raised as what they mean."""
        with self.read_errors():
            return await call

    async def read_lines(self, stream: Any) -> AsyncIterator[Any]:
        """Yield the JSON lines of a streamed file."""
        with self.read_errors():
            async with stream as response:
                async for line in response.iter_lines():
                    if line.strip():
                        try:
                            yield json.loads(line)
                        except ValueError:
                            raise not_json_error(line.encode()) from None

    def failed_reply(self, custom_id: str, status: int, body: JsonValue) -> BatchReply:
        """Return the reply to an entry that ended in an error: final, or to be submitted again."""
        failure = self._client.failed(status, {}, json.dumps(body).encode(), has_schema=True)
        if isinstance(failure, Outcome):
            return BatchReply(custom_id, failure)
        if isinstance(failure, SchemaUnsupportedError | CapFieldError):
            self._client.adapt(failure)
        elif not isinstance(failure, RetryableError):
            raise failure
        return BatchReply(custom_id, None, str(failure))
