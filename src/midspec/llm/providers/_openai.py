"""OpenAI chat completions: OpenAI itself, OpenRouter, vLLM, SGLang, Ollama and all that speak the protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.core.errors import ConfigError, DataError, MidspecError
from midspec.llm._transport import HttpTransport
from midspec.llm._types import Access, ModelConfig, Outcome, OutcomeKind, Request, Usage
from midspec.llm._wire import (
    HOW_JSON_IS_SENT,
    AgainError,
    FormError,
    TokenFieldError,
    TornError,
    api_key,
    failed_connection,
    failed_status,
    hush,
    joined,
    json_text,
    looks_like_json,
    not_json,
    refused,
    timeout,
    transport,
    uncollected,
    when_used,
    without_telemetry,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_KINDS: dict[str, OutcomeKind] = {
    "stop": "ok",
    "eos": "ok",
    "eos_token": "ok",
    "stop_sequence": "ok",
    "length": "truncated",
    "max_tokens": "truncated",
    "content_filter": "filtered",
}
_NOT_IN_STRICT = {"uniqueItems", "minLength", "maxLength", "default", "examples"}
_MOST_PREFIXES = 64


def openai_sdk(access: Access) -> AsyncOpenAI:
    """The SDK's client, its own retries off, on aiohttp.

    Raises:
        ConfigError: OPENAI_API_KEY is not set and the server is OpenAI's own.
    """
    key = api_key("OPENAI_API_KEY", access)
    with uncollected():
        import openai

    hush()
    sdk = openai.AsyncOpenAI(
        api_key=key,
        base_url=access.base_url,
        max_retries=0,
        timeout=timeout(access),
        http_client=when_used(lambda: openai.DefaultAioHttpClient(**transport(access))),
    )
    return sdk.with_options(default_headers=without_telemetry(sdk.default_headers, openai.Omit()))


class OpenAIClient:
    """One model behind the chat completions protocol; every ask is one attempt.

    Args:
        model: `openai/<model>` and how it samples.
        access: where the server is, and how long to wait for it.

    Raises:
        ConfigError: OPENAI_API_KEY is not set and the server is OpenAI's own.
    """

    def __init__(self, model: ModelConfig, access: Access) -> None:
        self._where = model.model
        self._sdk = openai_sdk(access)
        headers = {**self._sdk.default_headers, **self._sdk.auth_headers}
        self._line = HttpTransport(f"{str(self._sdk.base_url).rstrip('/')}/chat/completions", headers, access)
        self._head: dict[str, JsonValue] = {"model": model.model.removeprefix("openai/"), "stream": False}
        if model.temperature is not None:
            self._head["temperature"] = model.temperature
        self._extra = model.extra
        # OpenAI's own newer models take the new name only; many other servers know the old one only.
        self._cap_field = "max_completion_tokens" if access.base_url is None else "max_tokens"
        self._forms = True
        self._ignored = False
        self._prefixes: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where the server is."""
        return str(self._sdk.base_url)

    @property
    def sdk(self) -> AsyncOpenAI:
        """The SDK's client, for the endpoints beside this one (batches)."""
        return self._sdk

    async def close(self) -> None:
        """Let go of connections."""
        await self._line.close()
        await self._sdk.close()

    async def ask(self, request: Request) -> Outcome:
        """One attempt.

        Raises:
            AgainError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good (key, rights, model's name, credit).
        """
        note = ""
        while True:
            try:
                return await self._ask(request, note)
            except FormError as error:
                self.adapt(error)
                note = f"the server takes no response_format; left out from now on ({error})"
            except TokenFieldError as error:
                self.adapt(error)

    async def _ask(self, request: Request, note: str) -> Outcome:
        has_form = self._forms and request.form is not None
        response = await self._line.post(self.body(request))
        if response.status_code >= 300:
            failure = self.failed(response.status_code, response.headers, response.content, has_form=has_form)
            return refused(failure)
        try:
            reply = json.loads(response.content)
        except ValueError:
            raise not_json(response.content) from None
        if isinstance(reply, dict) and isinstance(reply.get("error"), dict) and not reply.get("choices"):
            # A router in front of the model answers 200 and puts the model's own error in the body.
            code = reply["error"].get("code")
            status = code if isinstance(code, int) and code >= 400 else 502
            return refused(self.failed(status, response.headers, response.content, has_form=has_form))
        return self._noted(self.read(reply), has_form, note)

    def failure(self, error: Exception, *, has_form: bool = False) -> Exception | Outcome:
        """What an error of the SDK's means; see `failed`."""
        response = getattr(error, "response", None)
        if response is None:
            return failed_connection(error)
        return self.failed(response.status_code, response.headers, response.content, has_form=has_form)

    def failed(self, status: int, headers: Mapping[str, str], content: bytes, *, has_form: bool) -> Exception | Outcome:
        """What an error status means: an exception, or an outcome where the server will never take the request."""
        key = self._sdk.api_key
        return failed_status(status, headers, content, where=self._where, key=key, has_form=has_form, url=self.url)

    def adapt(self, error: Exception) -> None:
        """Leave out, or name otherwise, from now on what the server does not know."""
        if isinstance(error, FormError):
            self._forms = False
        elif isinstance(error, TokenFieldError):
            other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
            self._cap_field = other[self._cap_field]

    def _noted(self, outcome: Outcome, has_form: bool, note: str) -> Outcome:
        if has_form and outcome.kind == "ok" and not self._ignored and not looks_like_json(outcome.text):
            self._ignored = True
            note = "the server ignored response_format: the reply is no JSON"
        if not note:
            return outcome
        return outcome.model_copy(update={"note": f"{outcome.note}; {note}" if outcome.note else note})

    def body(self, request: Request) -> bytes:
        """The request as the JSON that is sent."""
        fields: dict[str, JsonValue] = {**self._head, self._cap_field: request.max_tokens}
        if self._forms and request.form is not None:
            schema: dict[str, JsonValue] = {"name": "reply", "schema": _strict(request.form), "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        fields |= self._extra
        # The long prefix is escaped once, not once a request.
        content = self._escaped(joined(request)) + json_text(request.prompt)[1:]
        parts = ['{"role":"user","content":' + content + "}"]
        parts += [json_text({"role": turn.role, "content": turn.content}) for turn in request.turns]
        return (json_text(fields)[:-1] + ',"messages":[' + ",".join(parts) + "]}").encode("ascii")

    def _escaped(self, prefix: str) -> str:
        found = self._prefixes.get(prefix)
        if found is None:
            if len(self._prefixes) >= _MOST_PREFIXES:
                self._prefixes.clear()
            found = self._prefixes[prefix] = json_text(prefix)[:-1]
        return found

    def read(self, reply: Any) -> Outcome:
        """The outcome that a chat completion stands for.

        Raises:
            AgainError: it is no chat completion, or the model broke off with an error of the server's.
        """
        try:
            choice = reply["choices"][0]
            message = choice["message"]
        except (TypeError, KeyError, IndexError):
            raise TornError("the reply is no chat completion: " + json.dumps(reply)[:120]) from None
        stop = str(choice.get("finish_reason") or "")
        if stop == "error":
            raise TornError("the model broke off: " + json.dumps(choice.get("error"))[:120])
        text = message.get("content") or ""
        kind, note = _kind_of(stop, text)
        if refusal := message.get("refusal"):
            kind, note, text = "refused", str(refusal)[:300], text or str(refusal)
        usage = _usage_of(reply.get("usage"))
        return Outcome(
            kind=kind, text=text, stop_reason=stop, usage=usage, model=str(reply.get("model") or ""), note=note
        )


def _kind_of(stop: str, text: str) -> tuple[OutcomeKind, str]:
    kind = _KINDS.get(stop)
    if kind is None:
        return "unparsable", f"stopped for {stop}" if stop else "the server gave no stop reason"
    if kind == "ok" and not text.strip():
        return "unparsable", "an empty reply"
    return kind, "" if kind == "ok" else f"stopped for {stop}"


def _usage_of(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or usage.get("prompt_tokens") is None:
        return None
    details = usage.get("prompt_tokens_details") or {}
    n_read, n_write = details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0
    n_new = max(0, usage["prompt_tokens"] - n_read - n_write)
    n_output = usage.get("completion_tokens") or 0
    return Usage(n_input=n_new, n_cache_read=n_read, n_cache_write=n_write, n_output=n_output)


def _strict(schema: JsonValue) -> JsonValue:
    """`schema` without the keywords that strict mode refuses; the parser checks them all the same."""
    if isinstance(schema, dict):
        return {
            key: {name: _strict(part) for name, part in value.items()}
            if key in {"properties", "$defs"} and isinstance(value, dict)
            else _strict(value)
            for key, value in schema.items()
            if key not in _NOT_IN_STRICT
        }
    return [_strict(part) for part in schema] if isinstance(schema, list) else schema


_MOST_TEXTS = 256
_MOST_CHARACTERS = 400_000
_FEWEST_FAILURES = 5
_LONGEST_PAUSE_S = 60.0


async def embed(texts: Sequence[str], model: ModelConfig, access: Access) -> list[list[float]]:
    """One vector for each text, in their order.

    Args:
        texts: what is embedded; none of them empty.
        model: `openai/<embedding model>`; its `extra` is sent along (`{"dimensions": 256}`).
        access: how it is reached.

    Raises:
        ConfigError: the model is not of this protocol, or the key is missing or not accepted.
        DataError: the server does not take the texts, or gives fewer vectors than there are texts.
        MidspecError: nothing has been answered for as long as the patience goes.
    """
    if not model.model.startswith("openai/"):
        hint = "Name a model behind the OpenAI protocol: openai/<model>"
        raise ConfigError(f"{model.model} gives no embeddings", where="model", hint=hint)
    sdk = openai_sdk(access)
    room = asyncio.Semaphore(access.concurrency)

    async def one(part: Sequence[str]) -> list[list[float]]:
        async with room:
            return await _patient(sdk, part, model, access)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(part)) for part in _parts(texts)]
    except* MidspecError as errors:
        first = errors.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    finally:
        await sdk.close()
    return [vector for task in tasks for vector in task.result()]


def _parts(texts: Sequence[str]) -> list[list[str]]:
    """The texts in runs that one request takes."""
    parts: list[list[str]] = []
    n_characters = 0
    for text in texts:
        if not parts or len(parts[-1]) >= _MOST_TEXTS or n_characters + len(text) > _MOST_CHARACTERS:
            parts.append([])
            n_characters = 0
        parts[-1].append(text)
        n_characters += len(text)
    return parts


async def _patient(sdk: AsyncOpenAI, part: Sequence[str], model: ModelConfig, access: Access) -> list[list[float]]:
    started_at = time.monotonic()
    n_failed = 0
    while True:
        try:
            return await _once(sdk, part, model)
        except AgainError as error:
            n_failed += 1
            if n_failed >= _FEWEST_FAILURES and time.monotonic() - started_at > access.patience_s:
                what = f"no embeddings in {n_failed} attempts ({error.words})"
                raise MidspecError(what, where=model.model, hint="The same command goes on from here") from None
            pause_s = min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(n_failed, 30))
            await asyncio.sleep(pause_s if error.wait_s is None else error.wait_s)


async def _once(sdk: AsyncOpenAI, part: Sequence[str], model: ModelConfig) -> list[list[float]]:
    import httpx2
    import openai

    body = {"model": model.model.removeprefix("openai/"), "input": list(part), **model.extra}
    try:
        response = await sdk.post(
            "/embeddings",
            content=json.dumps(body).encode("ascii"),
            cast_to=httpx2.Response,
            options=HOW_JSON_IS_SENT,
        )
    except openai.APIStatusError as error:
        raise _failure(error.response, model.model, sdk.api_key) from None
    except openai.APIConnectionError as error:
        raise failed_connection(error) from None
    return _vectors(response.content, len(part), model.model)


def _failure(response: Any, where: str, key: str) -> Exception:
    found = failed_status(
        response.status_code, response.headers, response.content, where=where, key=key, has_form=False
    )
    return (
        found
        if isinstance(found, Exception)
        else DataError(f"the server does not take the texts ({found.note})", where=where)
    )


def _vectors(content: bytes, n_texts: int, where: str) -> list[list[float]]:
    try:
        rows = sorted(json.loads(content)["data"], key=lambda row: int(row["index"]))
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (ValueError, TypeError, KeyError):
        raise not_json(content) from None
    if len(vectors) != n_texts:
        raise DataError(f"{len(vectors)} vectors came for {n_texts} texts", where=where, hint="Use another server")
    return vectors
