"""OpenAI chat completions: OpenAI itself, OpenRouter, vLLM, SGLang, Ollama and all that speak the protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.core.errors import DataError, MidspecError
from midspec.llm._errors import (
    BrokenReplyError,
    RetryableError,
    not_json_error,
    read_connection_error,
    read_error_status,
)
from midspec.llm._providers import BatchEntry, BatchReply, Provider
from midspec.llm._sdk_client import SdkBatches, SdkClient, json_text, separated_prefix
from midspec.llm._streaming import Streaming, is_own_server
from midspec.llm._transport import JSON_OPTIONS, api_key, gc_paused, sdk_options, without_telemetry
from midspec.llm._types import Access, ModelConfig, Outcome, Request, Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_KEY_VARIABLE = "OPENAI_API_KEY"
_NOT_IN_STRICT = {"uniqueItems", "minLength", "maxLength", "default", "examples"}


def _sdk(access: Access) -> AsyncOpenAI:
    """Return the SDK's client, its own retries off, on aiohttp."""
    key = api_key(_KEY_VARIABLE, access)
    with gc_paused():
        import openai

    sdk = openai.AsyncOpenAI(api_key=key, **sdk_options(access, lambda: openai.DefaultAioHttpClient))
    return sdk.with_options(default_headers=without_telemetry(sdk.default_headers, openai.Omit()))


class OpenAIClient(SdkClient):
    """One model behind the chat completions protocol; every ask is one attempt.

    Args:
        model: `openai/<model>` and how it samples.
        access: where the server is, and how long to wait for it.

    Raises:
        ConfigError: OPENAI_API_KEY is not set and the server is OpenAI's own.
    """

    kinds = {  # noqa: RUF012
        "stop": "ok",
        "eos": "ok",
        "eos_token": "ok",
        "stop_sequence": "ok",
        "length": "truncated",
        "max_tokens": "truncated",
        "content_filter": "filtered",
    }
    schema_field = "response_format"
    cap_fields = ("max_completion_tokens", "max_tokens")

    def __init__(self, model: ModelConfig, access: Access) -> None:
        super().__init__(model, access, _sdk(access), "/chat/completions")
        self._head |= {"stream": False}
        if is_own_server(access.base_url):
            self.streaming = Streaming(self._transport)
        # OpenAI's own newer models take the new name only; many other servers know the old one only.
        self._cap_field = self.cap_fields[access.base_url is not None]

    @property
    def url_hint(self) -> str:
        """What to add to the hint where the server knows no such address."""
        return _url_hint(self.url)

    def hidden_status(self, reply: Any) -> int | None:
        """Return the status of a model's own error, which a router in front of it puts into a reply of status 200."""
        if not isinstance(reply, dict) or not isinstance(reply.get("error"), dict) or reply.get("choices"):
            return None
        code = reply["error"].get("code")
        return code if isinstance(code, int) and code >= 400 else 502

    def body(self, request: Request) -> bytes:
        """Return the request as the JSON that is sent."""
        fields: dict[str, JsonValue] = {**self._head, self._cap_field: request.max_tokens}
        if self._sends_schema and request.form is not None:
            schema: dict[str, JsonValue] = {"name": "reply", "schema": _strict(request.form), "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        fields |= self._extra
        content = self.encoded_prefix(separated_prefix(request)) + json_text(request.prompt)[1:]
        parts = ['{"role":"user","content":' + content + "}"]
        parts += [json_text({"role": turn.role, "content": turn.content}) for turn in request.turns]
        return (json_text(fields)[:-1] + ',"messages":[' + ",".join(parts) + "]}").encode("ascii")

    def encode_prefix(self, prefix: str) -> str:
        """Return the prefix as the beginning of a JSON string."""
        return json_text(prefix)[:-1]

    def read(self, reply: Any) -> Outcome:
        """Return the outcome that a chat completion stands for.

        Raises:
            RetryableError: it is no chat completion, or the model broke off with an error of the server's.
        """
        try:
            choice = reply["choices"][0]
            message = choice["message"]
        except (TypeError, KeyError, IndexError):
            raise BrokenReplyError("the reply is no chat completion: " + json.dumps(reply)[:120]) from None
        stop_reason = str(choice.get("finish_reason") or "")
        if stop_reason == "error":
            raise BrokenReplyError("the model broke off: " + json.dumps(choice.get("error"))[:120])
        text = message.get("content") or ""
        kind, note = self.kind_of(stop_reason, text)
        if refusal := message.get("refusal"):
            kind, note, text = "refused", str(refusal)[:300], text or str(refusal)
        counted, usage = reply.get("usage"), None
        if isinstance(counted, dict) and counted.get("prompt_tokens") is not None:
            details = counted.get("prompt_tokens_details") or {}
            n_read, n_write = details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0
            n_new = max(0, counted["prompt_tokens"] - n_read - n_write)
            n_output = counted.get("completion_tokens") or 0
            usage = Usage(n_input=n_new, n_cache_read=n_read, n_cache_write=n_write, n_output=n_output)
        model = str(reply.get("model") or "")
        return Outcome(kind=kind, text=text, stop_reason=stop_reason, usage=usage, model=model, note=note)


def _url_hint(url: str) -> str:
    return "" if url.rstrip("/").endswith("/v1") else " (most servers of this protocol have theirs at .../v1)"


def _strict(schema: JsonValue) -> JsonValue:
    """Return `schema` without the keywords that strict mode refuses; the parser checks them all the same."""
    if isinstance(schema, dict):
        return {
            key: {name: _strict(part) for name, part in value.items()}
            if key in {"properties", "$defs"} and isinstance(value, dict)
            else _strict(value)
            for key, value in schema.items()
            if key not in _NOT_IN_STRICT
        }
    return [_strict(part) for part in schema] if isinstance(schema, list) else schema


class OpenAIBatches(SdkBatches):
    """Batches of chat completions: a file of requests goes up, files of replies and of errors come down."""

    max_requests = 50_000

    def sdk_errors(self) -> tuple[type[Exception], ...]:
        """Return the errors that the SDK raises for a status and for a broken connection."""
        import openai

        return openai.APIStatusError, openai.APIConnectionError

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:
        """Submit a batch, marked with `handle`; return its id there."""
        head, tail = b'{"custom_id":"', b'","method":"POST","url":"/v1/chat/completions","body":'
        lines = b"".join(head + entry.custom_id.encode() + tail + entry.body + b"}\n" for entry in entries)
        file = await self.call(self._sdk.files.create(file=(f"{handle}.jsonl", lines), purpose="batch"))
        call = self._sdk.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"midspec": handle},
        )
        return str((await self.call(call)).id)

    async def has_ended(self, batch_id: str) -> bool:
        """Return whether its replies can be read.

        Raises:
            MidspecError: the provider took none of it.
        """
        batch = await self.call(self._sdk.batches.retrieve(batch_id))
        if batch.status == "failed":
            errors = (batch.errors.data if batch.errors else None) or []
            words = "; ".join(f"{error.code}: {error.message}" for error in errors)[:300]
            if "token_limit" in words or "rate_limit" in words:
                return True  # the queue is full: every entry comes back unanswered and is submitted again
            hint = "Check the account's batch limits and the model's name; the same command goes on from here"
            raise MidspecError(f"the batch {batch_id} was not taken ({words})", where="batch", hint=hint)
        return batch.status in {"completed", "expired", "cancelled", "failed"}

    async def replies(self, batch_id: str) -> AsyncIterator[BatchReply]:
        """Yield its replies and its errors, one line at a time."""
        batch = await self.call(self._sdk.batches.retrieve(batch_id))
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is None:
                continue
            async for row in self.read_lines(self._sdk.files.with_streaming_response.content(file_id)):
                custom_id, response = str(row["custom_id"]), row.get("response") or {}
                status = response.get("status_code")
                if status == 200:
                    yield BatchReply(custom_id, self._client.read(response["body"]))
                elif status is None:
                    yield BatchReply(custom_id, None, str((row.get("error") or {}).get("code") or "no response"))
                else:
                    yield self.failed_reply(custom_id, status, response.get("body"))

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:  # noqa: ARG002
        """Return the batch with our mark."""
        pager = await self.call(self._sdk.batches.list(limit=self.page_size))
        for _ in range(self.max_pages):
            found = [batch.id for batch in pager.data if (batch.metadata or {}).get("midspec") == handle]
            is_older = not pager.data or pager.data[-1].created_at < since_s - self.clock_skew_s
            if found or is_older or not pager.has_next_page():
                return found
            pager = await self.call(pager.get_next_page())
        return []


_MAX_TEXTS = 256
_MAX_CHARACTERS = 400_000
_FEWEST_FAILURES = 5
_LONGEST_PAUSE_S = 60.0


async def embed(texts: Sequence[str], model: ModelConfig, access: Access) -> list[list[float]]:
    """Return one vector for each text; see `midspec.llm.embed`."""
    parts: list[list[str]] = []  # as many texts as one request takes
    n_characters = 0
    for text in texts:
        if not parts or len(parts[-1]) >= _MAX_TEXTS or n_characters + len(text) > _MAX_CHARACTERS:
            parts.append([])
            n_characters = 0
        parts[-1].append(text)
        n_characters += len(text)
    sdk = _sdk(access)
    slots = asyncio.Semaphore(access.concurrency)

    async def embed_part(part: Sequence[str]) -> list[list[float]]:
        async with slots:
            return await _embed_with_retries(sdk, part, model, access)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(embed_part(part)) for part in parts]
    except* MidspecError as errors:
        first = errors.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    finally:
        await sdk.close()
    return [vector for task in tasks for vector in task.result()]


async def _embed_with_retries(
    sdk: AsyncOpenAI, part: Sequence[str], model: ModelConfig, access: Access
) -> list[list[float]]:
    started_at = time.monotonic()
    n_failed = 0
    while True:
        try:
            return await _embed_once(sdk, part, model)
        except RetryableError as error:
            n_failed += 1
            if n_failed >= _FEWEST_FAILURES and time.monotonic() - started_at > access.patience_s:
                what = f"no embeddings in {n_failed} attempts ({error.reason})"
                raise MidspecError(what, where=model.model, hint="The same command goes on from here") from None
            pause_s = min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(n_failed, 30))
            await asyncio.sleep(pause_s if error.wait_s is None else error.wait_s)


async def _embed_once(sdk: AsyncOpenAI, part: Sequence[str], model: ModelConfig) -> list[list[float]]:
    import httpx2
    import openai

    where = model.model
    body = {"model": where.partition("/")[2], "input": list(part), **model.extra}
    content = json.dumps(body).encode("ascii")
    try:
        response = await sdk.post("/embeddings", content=content, cast_to=httpx2.Response, options=JSON_OPTIONS)
    except openai.APIStatusError as error:
        status, headers, content = error.response.status_code, error.response.headers, error.response.content
        failure = read_error_status(
            status, headers, content, where=where, key=sdk.api_key, has_schema=False, url_hint=_url_hint("")
        )
        if isinstance(failure, Exception):
            raise failure from None
        raise DataError(f"the server does not take the texts ({failure.note})", where=where) from None
    except openai.APIConnectionError as error:
        raise read_connection_error(error) from None
    try:
        rows = sorted(json.loads(response.content)["data"], key=lambda row: int(row["index"]))
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (ValueError, TypeError, KeyError):
        raise not_json_error(response.content) from None
    if len(vectors) != len(part):
        raise DataError(f"{len(vectors)} vectors came for {len(part)} texts", where=where, hint="Use another server")
    return vectors


PROVIDER = Provider(
    name="openai", client=OpenAIClient, key_variable=_KEY_VARIABLE, batch_endpoint=OpenAIBatches, embed=embed
)
