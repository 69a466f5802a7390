"""OpenAI chat completions: OpenAI itself, OpenRouter, vLLM, SGLang, Ollama and all that speak the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Collection, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.core.errors import ConfigError, DataError, MidspecError
from midspec.llm._environment import DEPLOYMENTS, api_key, base_url, variable
from midspec.llm._errors import (
    BrokenReplyError,
    NoReplyError,
    RateLimitError,
    RetryableError,
    not_json_error,
    read_connection_error,
    read_error_status,
)
from midspec.llm._limits import read_refusal
from midspec.llm._providers import BatchEntry, BatchRefusedError, BatchReply, Provider
from midspec.llm._reply_parts import as_dict, as_text, completion_usage, counted, n_counted, reasoning_beside, shown
from midspec.llm._sdk_batches import SdkBatches
from midspec.llm._sdk_client import SdkClient, SdkServer, json_text, separated_prefix, strict_schema
from midspec.llm._server_words import read_json, status_named, status_numbered
from midspec.llm._streaming import Streaming, is_own_server, read_events
from midspec.llm._transport import JSON_OPTIONS, find_proxy, gc_paused, sdk_options, without_telemetry
from midspec.llm._types import Access, ModelConfig, Outcome, Request, Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_KEY_VARIABLE = "OPENAI_API_KEY"
_URL_VARIABLE, _OWN_URL = "OPENAI_BASE_URL", "https://api.openai.com/v1"
_HEADERS = "OPENAI_CUSTOM_HEADERS"
_ACCOUNT = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
_JWT = "eyJ"  # begins what is a JSON object in base64
# What midspec puts into a request itself: another model would be asked than is recorded and paid for, and more than one
# answer be paid for and not read.
_BUILT_HERE = ("model", "messages", "n")
_COMMENTS = re.compile(rb"\A(?:\s*:[^\n]*\n)+\s*(?=\{)")  # of a stream, before a reply that is none: `: PROCESSING`
_BROKE_OFF = {"error", "engine_error", "internal_error", "server_error", "insufficient_system_resource"}
_BROKE_OFF |= {"network_error", "timeout"}


def _server(access: Access) -> SdkServer:
    """Return where the SDK's client would send requests, and with what, without loading it: 0.37 s of CPU."""
    import httpx2

    key = api_key(_KEY_VARIABLE, access)
    url = httpx2.URL(base_url(_URL_VARIABLE, access) or _OWN_URL)
    if os.environ.get(_HEADERS) is not None:
        sdk = _sdk(access)
        given = {name.lower() for name in sdk.default_headers}
        auth = {name: value for name, value in _auth(str(url), key).items() if name.lower() not in given}
        return SdkServer(str(url), {**auth, **sdk.default_headers}, key, lambda: sdk)
    path, mark, query = url.raw_path.partition(b"?")
    url = url if path.endswith(b"/") else url.copy_with(raw_path=path + b"/" + mark + query)
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"AsyncOpenAI/Python {version('openai')}",
        **{header: variable(name) or None for header, name in _ACCOUNT.items()},
        **_auth(str(url), key),
    }
    return SdkServer(str(url), headers, key, lambda: _sdk(access))


def _auth(url: str, key: str) -> dict[str, str | None]:
    """Return the headers that carry the key, or say that one is left out.

    Azure's deployments know a key as `api-key`, and a token of Entra ID (a JWT) as all servers do.
    """
    if DEPLOYMENTS not in url or key.startswith(_JWT):
        return {"Authorization": f"Bearer {key}"}
    return {"Authorization": None, "api-key": key}


def _sdk(access: Access) -> AsyncOpenAI:
    """Return the SDK's client, its own retries off, on aiohttp."""
    key = api_key(_KEY_VARIABLE, access)
    with gc_paused():
        import openai

    url = base_url(_URL_VARIABLE, access) or _OWN_URL
    given = {line.partition(":")[0].strip().lower() for line in os.environ.get(_HEADERS, "").splitlines()}
    auth = {name: value for name, value in _auth(url, key).items() if name.lower() not in given}
    # The SDK puts the key there whatever it is told.
    left_out = f"Bearer {key}" if auth.pop("Authorization", "") is None else ""
    options = sdk_options(access, url, lambda: openai.DefaultAioHttpClient, left_out=left_out)
    sdk = openai.AsyncOpenAI(api_key=key, **options)
    find_proxy(str(sdk.base_url))  # embeddings go through the SDK, which would ask for a package that speaks SOCKS
    omit: Any = openai.Omit()
    ours = {**{header: variable(name) for header, name in _ACCOUNT.items()}, **auth}
    headers = without_telemetry(sdk.default_headers, omit)
    headers |= {name: value or omit for name, value in ours.items() if name.lower() not in given}
    return sdk.with_options(default_headers=headers)


class OpenAIClient(SdkClient):
    """One model behind the chat completions protocol; every ask is one attempt.

    Args:
        model: `openai/<model>` and how it samples.
        access: where the server is, and how long to wait for it.

    Raises:
        ConfigError: OPENAI_API_KEY is not set and the server is OpenAI's own; or `extra` holds what is built here.
    """

    kinds = {}  # noqa: RUF012 - all servers' words are known to the base class
    schema_field = "response_format"
    cap_fields = ("max_completion_tokens", "max_tokens")

    def __init__(self, model: ModelConfig, access: Access) -> None:
        if strange := [name for name in _BUILT_HERE if name in model.extra and (name, model.extra[name]) != ("n", 1)]:
            hint = f"Leave it out of `extra: {json.dumps(model.extra)}`"
            raise ConfigError(f"{', '.join(strange)} can't be set there", where=f"{model.model}: extra", hint=hint)
        super().__init__(model, access, _server(access), "/chat/completions")
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
        """Return the status of an error that something in front of the model puts into a reply of status 200."""
        reply = reply[0] if isinstance(reply, list) and len(reply) == 1 else reply  # Google's form of an error
        if not isinstance(reply, dict) or reply.get("choices"):
            return None
        codes = [n_counted(reply.get(name)) for name in ("code", "status", "status_code")]
        if number := n_counted(as_dict(reply.get("base_resp")).get("status_code")):
            codes = [status_numbered(number)]
        is_error = (
            reply.get("object") == "error" or "detail" in reply or any(400 <= (code or 0) < 600 for code in codes)
        )
        error = reply.get("error") or (reply if is_error else None)
        if not error:
            return None
        if "unexpected endpoint" in str(error).lower():  # LM Studio's words for an address that it does not know
            return 404
        code = n_counted(error.get("code")) if isinstance(error, dict) else None
        code = code if code is not None else next((one for one in codes if one is not None), None)
        return code if code is not None and 400 <= code < 600 else status_named(error, 502)

    def body(self, request: Request) -> bytes:
        """Return the request as the JSON that is sent."""
        fields: dict[str, JsonValue] = {**self._head, self._cap_field: request.max_tokens}
        if self._sends_schema and request.form is not None:
            schema: dict[str, JsonValue] = {"name": "reply", "schema": strict_schema(request.form), "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        fields |= self._extra
        content = self.encoded_prefix(separated_prefix(request)) + json_text(request.prompt)[1:]
        parts = ['{"role":"user","content":' + content + "}"]
        parts += [json_text({"role": turn.role, "content": turn.content}) for turn in request.turns]
        return (json_text(fields)[:-1] + ',"messages":[' + ",".join(parts) + "]}").encode("ascii")

    def encode_prefix(self, prefix: str) -> str:
        """Return the prefix as the beginning of a JSON string."""
        return json_text(prefix)[:-1]

    def unpacked(self, content: bytes) -> Any:
        """Return a reply's JSON; also that of a stream, which some servers send without being asked."""
        reply = super().unpacked(_COMMENTS.sub(b"", content))
        is_stream = reply is None and content.lstrip()[:6].startswith((b"data:", b"event:", b":"))
        return super().unpacked(read_events(content)) if is_stream else reply

    def read(self, reply: Any) -> Outcome:
        """Return the outcome that a chat completion stands for.

        Raises:
            RetryableError: it is no chat completion, or the model broke off with an error of the server's.
        """
        choices = reply.get("choices") if isinstance(reply, dict) else None
        choices = choices if isinstance(choices, list) else None
        choice = next((one for one in choices or () if as_dict(one).get("index") == 0), choices[0] if choices else None)
        usage = completion_usage(reply.get("usage")) if isinstance(reply, dict) else None
        if not isinstance(choice, dict):
            if usage is None or choices is None:
                raise _no_completion(reply, usage)
            choice = {}  # a model answered, and was paid, with nothing
        message = as_dict(choice.get("message", choice.get("delta")))
        stop_reason = str(choice.get("finish_reason") or "")
        error = as_dict(choice.get("error"))
        if stop_reason in _BROKE_OFF or (error and not stop_reason):
            words = f"the model broke off: {shown(error or stop_reason)}"
            if n_counted(error.get("code")) in {429, 503, 529} and not message.get("content"):
                raise RateLimitError(words, refusal=read_refusal(words))
            raise BrokenReplyError(words, usage=usage)
        content = message.get("content", choice.get("text"))
        text = as_text(content)
        reasoning = reasoning_beside(message)
        kind, note = self.kind_of(stop_reason, text, reasoning)
        refusal = as_text(message.get("refusal")) or (
            as_text(content, ("refusal",)) if isinstance(content, list) else ""
        )
        if refusal:
            kind, note, text = "refused", refusal[:300], text or refusal
        model, usage = str(reply.get("model") or ""), counted(usage, text or reasoning)
        return Outcome(kind=kind, text=text, stop_reason=stop_reason, usage=usage, model=model, note=note)


def _no_completion(reply: Any, usage: Usage | None) -> RetryableError:
    words = f"the reply is no chat completion: {shown(reply)}"
    is_one = isinstance(reply, dict) and (usage is not None or "choices" in reply)
    return BrokenReplyError(words, usage=usage) if is_one else NoReplyError(words)


def _url_hint(url: str) -> str:
    return (
        ""
        if url.partition("?")[0].rstrip("/").endswith("/v1")
        else " (most servers of this protocol have theirs at .../v1)"
    )


class OpenAIBatches(SdkBatches):
    """Batches of chat completions: a file of requests goes up, files of replies and of errors come down."""

    max_requests = 50_000

    def sdk_errors(self) -> tuple[type[Exception], ...]:
        """Return the errors that the SDK raises for a status and for a broken connection."""
        import openai

        return openai.APIStatusError, openai.OpenAIError

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:
        """Submit a batch, marked with `handle`; return its id there."""
        head, tail = b'{"custom_id":"', b'","method":"POST","url":"/v1/chat/completions","body":'
        lines = b"".join(head + entry.custom_id.encode() + tail + entry.body + b"}\n" for entry in entries)
        file = await self.call(self._sdk.files.create(file=(f"{handle}.jsonl", lines), purpose="batch"))
        call = self._sdk.batches.create(
            input_file_id=self.part(file, "id"),
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"midspec": handle},
        )
        return str(self.part(await self.call(call), "id"))

    async def has_ended(self, batch_id: str) -> bool:
        """Return whether its replies can be read.

        Raises:
            BatchRefusedError: the provider took none of it, or no longer knows it.
        """
        batch = await self.look_up(batch_id, self._sdk.batches.retrieve(batch_id))
        status = str(self.part(batch, "status")).lower()
        if status == "failed":
            errors = getattr(getattr(batch, "errors", None), "data", None) or []
            words = "; ".join(f"{getattr(one, 'code', '')}: {getattr(one, 'message', '')}" for one in errors)[:300]
            if "token_limit" in words or "rate_limit" in words:
                return True  # the queue is full: every entry comes back unanswered and is submitted again
            hint = (
                "Check the account's credit and batch limits, and the model's name; the same command goes on from here"
            )
            raise BatchRefusedError(f"the batch {batch_id} was not taken ({words})", where="batch", hint=hint)
        return status in {"completed", "expired", "cancelled", "failed"}

    async def replies(self, batch_id: str) -> AsyncIterator[BatchReply]:
        """Yield its replies and its errors, one line at a time."""
        batch = await self.look_up(batch_id, self._sdk.batches.retrieve(batch_id))
        for name in ("output_file_id", "error_file_id"):
            file_id = getattr(batch, name, None)
            if not isinstance(file_id, str) or not file_id:  # some gateways say none with an empty one
                continue
            async for row in self.read_lines(batch_id, self._sdk.files.with_streaming_response.content(file_id)):
                response = as_dict(row.get("response"))
                custom_id, status = str(row.get("custom_id")), n_counted(response.get("status_code"))
                if status == 200:
                    yield self.good_reply(custom_id, response.get("body"))
                elif status is None:
                    # Expired or cancelled, or an error of the account's, which has no status here.
                    error = row.get("error")
                    reason = str(as_dict(error).get("code") or error or "no response")
                    found = self.failed_reply(custom_id, 429, {"error": error})
                    yield BatchReply(custom_id, None, reason, found.error)
                else:
                    yield self.failed_reply(custom_id, status, response.get("body"))

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:
        """Return the batch with our mark."""
        pager = await self.call(self._sdk.batches.list(limit=self.page_size))
        for _ in range(self.max_pages):
            batches = self.listed(pager)
            found = [
                batch.id for batch in batches if as_dict(getattr(batch, "metadata", None)).get("midspec") == handle
            ]
            made_at = getattr(batches[-1], "created_at", None) if batches else None
            is_older = not isinstance(made_at, int | float) or made_at < since_s - self.clock_skew_s
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
        what = f"the server does not take the texts ({failure.note})"
        raise DataError(what, where=where, hint="Name another model that embeds") from None
    except openai.APIConnectionError as error:
        raise read_connection_error(error) from None
    try:
        rows = sorted(read_json(response.content, None)["data"], key=lambda row: int(row["index"]))
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (ValueError, TypeError, KeyError, OverflowError):
        raise not_json_error(response.content, sdk.api_key) from None
    if len(vectors) != len(part):
        raise DataError(f"{len(vectors)} vectors came for {len(part)} texts", where=where, hint="Use another server")
    return vectors


PROVIDER = Provider(
    name="openai", client=OpenAIClient, key_variable=_KEY_VARIABLE, batch_endpoint=OpenAIBatches, embed=embed
)
