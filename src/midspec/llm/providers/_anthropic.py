"""Anthropic Messages."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.core.errors import ConfigError
from midspec.llm._environment import api_key, base_url
from midspec.llm._errors import SAMPLING_FIELDS, BrokenReplyError, NoReplyError
from midspec.llm._providers import BatchEntry, BatchReply, BatchUnknownError, Provider
from midspec.llm._reply_parts import as_dict, as_text, counted, message_usage, n_counted, shown
from midspec.llm._sdk_batches import SdkBatches
from midspec.llm._sdk_client import SdkClient, SdkServer, json_text, separated_prefix
from midspec.llm._server_words import read_json, status_named
from midspec.llm._transport import JSON_OPTIONS, gc_paused, sdk_options, without_telemetry
from midspec.llm._types import Access, ModelConfig, Outcome, Request

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

_LOG = logging.getLogger(__name__)
_KEY_VARIABLE = "ANTHROPIC_API_KEY"
# The statuses of the protocol's error types, where only the type is there: in batches, and in replies of status 200.
# What the API samples with where nothing is said.
_DEFAULT_TEMPERATURE = 1.0
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_BUILT_HERE = {"model", "max_tokens", "messages", "stream"}


# What was told of a model, which is told once in a process: a model has a client for each step.
_TOLD: set[tuple[str, ...]] = set()


def _sdk(access: Access) -> AsyncAnthropic:
    """Return the SDK's client, its own retries off, on aiohttp."""
    key = api_key(_KEY_VARIABLE, access)
    with gc_paused():
        import anthropic

    url = base_url("ANTHROPIC_BASE_URL", access) or "https://api.anthropic.com"
    options = sdk_options(access, url, lambda: anthropic.DefaultAioHttpClient)
    sdk = anthropic.AsyncAnthropic(api_key=key, **options)
    return sdk.with_options(default_headers=without_telemetry(sdk.default_headers, anthropic.Omit()))


class AnthropicClient(SdkClient):
    """One Claude model; every ask is one attempt.

    Args:
        model: `anthropic/<model>` and how it samples.
        access: where the server is, and how long to wait for it.

    Raises:
        ConfigError: ANTHROPIC_API_KEY is not set and the server is Anthropic's own.
    """

    kinds = {  # noqa: RUF012
        "end_turn": "ok",
        "stop_sequence": "ok",
        "max_tokens": "truncated",
        "model_context_window_exceeded": "truncated",
        "refusal": "refused",
    }
    schema_field = "output_config"

    def __init__(self, model: ModelConfig, access: Access) -> None:
        sdk = _sdk(access)
        known = set(inspect.signature(type(sdk.messages).create).parameters) - {"self"}
        known = {name for name in known if not name.startswith("extra_") and name != "timeout"}
        left_out = [name for name in SAMPLING_FIELDS if name in model.extra and name not in known]
        if model.temperature not in {None, _DEFAULT_TEMPERATURE} and "temperature" not in known:
            left_out.insert(0, "temperature")
        version = sdk.default_headers.get("anthropic-version")
        strange = sorted(set(model.extra) - known - set(SAMPLING_FIELDS)) + sorted(set(model.extra) & _BUILT_HERE)
        if strange:
            what = f"Anthropic's API of {version} takes no {', '.join(strange)} from a setting"
            raise ConfigError(
                what, where=f"{model.model}: extra", hint=f"Leave it out of `extra: {json.dumps(model.extra)}`"
            )
        if left_out and (model.model, *left_out) not in _TOLD:
            _TOLD.add((model.model, *left_out))
            what = "%s: Anthropic's API of %s has no %s for any model; nothing of it is sent"
            _LOG.warning(what, model.model, version, ", ".join(left_out))
        headers = {**sdk.default_headers, **sdk.auth_headers}
        url = base_url("ANTHROPIC_BASE_URL", access) or str(sdk.base_url)
        super().__init__(model, access, SdkServer(url, headers, sdk.api_key or "", lambda: sdk), "/v1/messages")
        # Every field that is sent is one that the SDK's own `create` has, which is of the version in the headers.
        self._head = {name: value for name, value in self._head.items() if name in known}
        self._extra = {name: value for name, value in self._extra.items() if name in known}

    def body(self, request: Request) -> bytes:
        """Return the request as the JSON that is sent."""
        fields: dict[str, JsonValue] = {**self._head, "max_tokens": request.max_tokens, **self._extra}
        if self._sends_schema and request.form is not None:
            from anthropic import transform_schema

            # It takes out what the provider does not take, and puts it into the descriptions in words.
            form: dict[str, JsonValue] = {"type": "json_schema", "schema": transform_schema(request.form)}
            config = fields.get("output_config")
            fields["output_config"] = {**(config if isinstance(config, dict) else {}), "format": form}
        blocks = [self.encoded_prefix(separated_prefix(request))] if request.prefix else []
        blocks.append('{"type":"text","text":' + json_text(request.prompt) + "}")
        parts = ['{"role":"user","content":[' + ",".join(blocks) + "]}"]
        parts += [json_text({"role": turn.role, "content": turn.content}) for turn in request.turns]
        return (json_text(fields)[:-1] + ',"messages":[' + ",".join(parts) + "]}").encode("ascii")

    def encode_prefix(self, prefix: str) -> str:
        """Return the prefix as a block that the provider caches."""
        return json_text({"type": "text", "text": prefix, "cache_control": {"type": "ephemeral"}})

    def hidden_status(self, reply: Any) -> int | None:
        """Return the status of an error that something in between put into a reply of status 200."""
        if isinstance(reply, dict) and ("content" in reply or "stop_reason" in reply):
            return None
        error = reply.get("error") if isinstance(reply, dict) else None
        if not error:
            return None
        return status_named(error, 502)

    def read(self, reply: Any) -> Outcome:
        """Return the outcome that a message stands for; thinking is never part of its text.

        Raises:
            RetryableError: it is no message.
        """
        if not isinstance(reply, dict) or not ("content" in reply or "stop_reason" in reply):
            raise _no_message(reply)
        text = as_text(reply.get("content"))
        stop_reason = str(reply.get("stop_reason") or "")
        thinking = as_text(reply.get("content"), ("thinking",))
        kind, note = self.kind_of(stop_reason, text, thinking)
        usage = counted(message_usage(reply.get("usage")), text or thinking)
        model = str(reply.get("model") or "")
        return Outcome(kind=kind, text=text, stop_reason=stop_reason, usage=usage, model=model, note=note)


def _no_message(reply: Any) -> BrokenReplyError | NoReplyError:
    words = f"the reply is no message: {shown(reply)}"
    is_message = isinstance(reply, dict) and (reply.get("type") == "message" or "usage" in reply)
    return BrokenReplyError(words, usage=message_usage(reply.get("usage"))) if is_message else NoReplyError(words)


class AnthropicBatches(SdkBatches):
    """Message batches: replies stay readable for 29 days; a batch carries no mark of ours but its custom ids."""

    max_requests = 100_000

    def sdk_errors(self) -> tuple[type[Exception], ...]:
        """Return the errors that the SDK raises for a status and for a broken connection."""
        import anthropic

        return anthropic.APIStatusError, anthropic.AnthropicError

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:
        """Submit a batch; return its id there."""
        import httpx2

        parts = (b'{"custom_id":"' + entry.custom_id.encode() + b'","params":' + entry.body + b"}" for entry in entries)
        call = self._sdk.post(
            "/v1/messages/batches",
            content=b'{"requests":[' + b",".join(parts) + b"]}",
            cast_to=httpx2.Response,
            options=JSON_OPTIONS,
        )
        response = await self.call(call)
        return str(self.part(SimpleNamespace(**as_dict(read_json(response.content, None))), "id"))

    async def has_ended(self, batch_id: str) -> bool:
        """Return whether its replies can be read."""
        batch = await self.look_up(batch_id, self._sdk.messages.batches.retrieve(batch_id))
        return bool(self.part(batch, "processing_status") == "ended")

    async def replies(self, batch_id: str) -> AsyncIterator[BatchReply]:
        """Yield its replies, one line at a time."""
        batch = await self.look_up(batch_id, self._sdk.messages.batches.retrieve(batch_id))
        if not self.part(batch, "id") or not getattr(batch, "results_url", None):
            what = f"{self._client.url} has no results of the batch {batch_id} (any more)"
            raise BatchUnknownError(what, where="batch", hint="Check the key and the base URL")
        results = self._sdk.messages.batches.with_streaming_response.results(batch_id)
        async for row in self.read_lines(batch_id, results):
            result = as_dict(row.get("result"))
            custom_id, kind = str(row.get("custom_id")), str(result.get("type"))
            if kind == "succeeded":
                yield self.good_reply(custom_id, result.get("message"))
            elif kind != "errored":
                yield BatchReply(custom_id, None, kind)
            else:
                error = result.get("error") or {}
                error = error.get("error") or error if isinstance(error, dict) else error
                yield self.failed_reply(custom_id, status_named(error, 500), {"error": error})

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:
        """Return batches of that size made since; the list says nothing of what is in them."""
        found = []
        since = datetime.fromtimestamp(since_s - self.clock_skew_s, UTC)
        pager = await self.call(self._sdk.messages.batches.list(limit=self.page_size))
        for _ in range(self.max_pages):
            batches = self.listed(pager)
            times = [self._made_at(batch) for batch in batches]
            for batch, made_at in zip(batches, times, strict=True):
                counts = as_dict(getattr(getattr(batch, "request_counts", None), "__dict__", None))
                n = sum(n_counted(counts.get(name)) or 0 for name in _COUNTS)
                if made_at >= since and n == len(custom_ids):
                    found.append(batch.id)
            if not batches or times[-1] < since or not pager.has_next_page():
                break
            pager = await self.call(pager.get_next_page())
        return found

    @staticmethod
    def _made_at(batch: Any) -> datetime:
        made_at = getattr(batch, "created_at", None)
        if isinstance(made_at, datetime) and made_at.tzinfo is not None:
            return made_at
        return datetime.fromtimestamp(0, UTC)


PROVIDER = Provider(
    name="anthropic", client=AnthropicClient, key_variable=_KEY_VARIABLE, batch_endpoint=AnthropicBatches
)
