"""Anthropic Messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.llm._transport import HttpTransport
from midspec.llm._types import Access, ModelConfig, Outcome, OutcomeKind, Request, Usage
from midspec.llm._wire import (
    FormError,
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
    from anthropic import AsyncAnthropic

_KINDS: dict[str, OutcomeKind] = {
    "end_turn": "ok",
    "stop_sequence": "ok",
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "refusal": "refused",
}
_MOST_PREFIXES = 64


class AnthropicClient:
    """One Claude model; every ask is one attempt.

    Args:
        model: `anthropic/<model>` and how it samples.
        access: where the server is, and how long to wait for it.

    Raises:
        ConfigError: ANTHROPIC_API_KEY is not set and the server is Anthropic's own.
    """

    def __init__(self, model: ModelConfig, access: Access) -> None:
        self._key = api_key("ANTHROPIC_API_KEY", access)
        self._where = model.model
        self._sdk = _sdk(access, self._key)
        headers = {**self._sdk.default_headers, **self._sdk.auth_headers}
        self._line = HttpTransport(f"{str(self._sdk.base_url).rstrip('/')}/v1/messages", headers, access)
        self._head: dict[str, JsonValue] = {"model": model.model.removeprefix("anthropic/")}
        if model.temperature is not None:
            self._head["temperature"] = model.temperature
        self._extra = model.extra
        self._forms = True
        self._ignored = False
        self._prefixes: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where the server is."""
        return str(self._sdk.base_url)

    @property
    def sdk(self) -> AsyncAnthropic:
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
        try:
            return await self._ask(request)
        except FormError as error:
            self.adapt(error)
            outcome = await self._ask(request)
            note = f"the server takes no output_config; left out from now on ({error})"
            return outcome.model_copy(update={"note": f"{outcome.note}; {note}" if outcome.note else note})

    async def _ask(self, request: Request) -> Outcome:
        has_form = self._forms and request.form is not None
        response = await self._line.post(self.body(request))
        if response.status_code >= 300:
            failure = self.failed(response.status_code, response.headers, response.content, has_form=has_form)
            return refused(failure)
        try:
            reply = json.loads(response.content)
        except ValueError:
            raise not_json(response.content) from None
        outcome = self.read(reply)
        if has_form and outcome.kind == "ok" and not self._ignored and not looks_like_json(outcome.text):
            self._ignored = True
            return outcome.model_copy(update={"note": "the server ignored output_config: the reply is no JSON"})
        return outcome

    def failure(self, error: Exception, *, has_form: bool = False) -> Exception | Outcome:
        """What an error of the SDK's means; see `failed`."""
        response = getattr(error, "response", None)
        if response is None:
            return failed_connection(error)
        return self.failed(response.status_code, response.headers, response.content, has_form=has_form)

    def failed(self, status: int, headers: Mapping[str, str], content: bytes, *, has_form: bool) -> Exception | Outcome:
        """What an error status means: an exception, or an outcome where the server will never take the request."""
        return failed_status(
            status, headers, content, where=self._where, key=self._key, has_form=has_form, url=self.url
        )

    def adapt(self, error: Exception) -> None:
        """Leave out from now on what the server does not know."""
        if isinstance(error, FormError):
            self._forms = False

    def body(self, request: Request) -> bytes:
        """The request as the JSON that is sent."""
        fields: dict[str, JsonValue] = {**self._head, "max_tokens": request.max_tokens, **self._extra}
        if self._forms and request.form is not None:
            from anthropic import transform_schema

            # It takes out what the provider does not take, and puts it into the descriptions in words.
            form: dict[str, JsonValue] = {"type": "json_schema", "schema": transform_schema(request.form)}
            config = fields.get("output_config")
            fields["output_config"] = {**(config if isinstance(config, dict) else {}), "format": form}
        blocks = [self._block(joined(request))] if request.prefix else []
        blocks.append('{"type":"text","text":' + json_text(request.prompt) + "}")
        parts = ['{"role":"user","content":[' + ",".join(blocks) + "]}"]
        parts += [json_text({"role": turn.role, "content": turn.content}) for turn in request.turns]
        return (json_text(fields)[:-1] + ',"messages":[' + ",".join(parts) + "]}").encode("ascii")

    def _block(self, prefix: str) -> str:
        """The prefix as a block that the provider keeps; escaped once, not once a request."""
        found = self._prefixes.get(prefix)
        if found is None:
            if len(self._prefixes) >= _MOST_PREFIXES:
                self._prefixes.clear()
            found = json_text({"type": "text", "text": prefix, "cache_control": {"type": "ephemeral"}})
            self._prefixes[prefix] = found
        return found

    def read(self, reply: Any) -> Outcome:
        """The outcome that a message stands for; thinking is never part of its text.

        Raises:
            AgainError: it is no message.
        """
        try:
            text = "".join(block["text"] for block in reply["content"] if block["type"] == "text")
            stop = str(reply["stop_reason"] or "")
        except (TypeError, KeyError):
            raise TornError("the reply is no message: " + json.dumps(reply)[:120]) from None
        kind, note = _kind_of(stop, text)
        usage = _usage_of(reply.get("usage"))
        return Outcome(
            kind=kind, text=text, stop_reason=stop, usage=usage, model=str(reply.get("model") or ""), note=note
        )


def _sdk(access: Access, key: str) -> AsyncAnthropic:
    """The SDK's client, its own retries off, on aiohttp."""
    with uncollected():
        import anthropic

    hush()
    sdk = anthropic.AsyncAnthropic(
        api_key=key,
        base_url=access.base_url,
        max_retries=0,
        timeout=timeout(access),
        http_client=when_used(lambda: anthropic.DefaultAioHttpClient(**transport(access))),
    )
    return sdk.with_options(default_headers=without_telemetry(sdk.default_headers, anthropic.Omit()))


def _kind_of(stop: str, text: str) -> tuple[OutcomeKind, str]:
    kind = _KINDS.get(stop)
    if kind is None:
        return "unparsable", f"stopped for {stop}" if stop else "the server gave no stop reason"
    if kind == "ok" and not text.strip():
        return "unparsable", "an empty reply"
    return kind, "" if kind == "ok" else f"stopped for {stop}"


def _usage_of(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or usage.get("input_tokens") is None:
        return None
    return Usage(
        n_input=usage["input_tokens"],
        n_cache_read=usage.get("cache_read_input_tokens") or 0,
        n_cache_write=usage.get("cache_creation_input_tokens") or 0,
        n_output=usage.get("output_tokens") or 0,
    )
