"""Anthropic Messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.llm._errors import BrokenReplyError
from midspec.llm._providers import BatchEntry, BatchReply, Provider
from midspec.llm._sdk_client import SdkBatches, SdkClient, json_text, separated_prefix
from midspec.llm._transport import JSON_OPTIONS, api_key, gc_paused, sdk_options, without_telemetry
from midspec.llm._types import Access, ModelConfig, Outcome, Request, Usage

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

_KEY_VARIABLE = "ANTHROPIC_API_KEY"


def _sdk(access: Access) -> AsyncAnthropic:
    """Return the SDK's client, its own retries off, on aiohttp."""
    key = api_key(_KEY_VARIABLE, access)
    with gc_paused():
        import anthropic

    sdk = anthropic.AsyncAnthropic(api_key=key, **sdk_options(access, lambda: anthropic.DefaultAioHttpClient))
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
        super().__init__(model, access, _sdk(access), "/v1/messages")

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

    def read(self, reply: Any) -> Outcome:
        """Return the outcome that a message stands for; thinking is never part of its text.

        Raises:
            RetryableError: it is no message.
        """
        try:
            text = "".join(block["text"] for block in reply["content"] if block["type"] == "text")
            stop_reason = str(reply["stop_reason"] or "")
        except (TypeError, KeyError):
            raise BrokenReplyError("the reply is no message: " + json.dumps(reply)[:120]) from None
        kind, note = self.kind_of(stop_reason, text)
        counted, usage = reply.get("usage"), None
        if isinstance(counted, dict) and counted.get("input_tokens") is not None:
            usage = Usage(
                n_input=counted["input_tokens"],
                n_cache_read=counted.get("cache_read_input_tokens") or 0,
                n_cache_write=counted.get("cache_creation_input_tokens") or 0,
                n_output=counted.get("output_tokens") or 0,
            )
        model = str(reply.get("model") or "")
        return Outcome(kind=kind, text=text, stop_reason=stop_reason, usage=usage, model=model, note=note)


class AnthropicBatches(SdkBatches):
    """Message batches: replies stay readable for 29 days; a batch carries no mark of ours but its custom ids."""

    max_requests = 100_000

    def sdk_errors(self) -> tuple[type[Exception], ...]:
        """Return the errors that the SDK raises for a status and for a broken connection."""
        import anthropic

        return anthropic.APIStatusError, anthropic.APIConnectionError

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:  # noqa: ARG002
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
        return str(json.loads(response.content)["id"])

    async def has_ended(self, batch_id: str) -> bool:
        """Return whether its replies can be read."""
        batch = await self.call(self._sdk.messages.batches.retrieve(batch_id))
        return bool(batch.processing_status == "ended")

    async def replies(self, batch_id: str) -> AsyncIterator[BatchReply]:
        """Yield its replies, one line at a time."""
        async for row in self.read_lines(self._sdk.messages.batches.with_streaming_response.results(batch_id)):
            custom_id, result = str(row["custom_id"]), row["result"]
            if result["type"] == "succeeded":
                yield BatchReply(custom_id, self._client.read(result["message"]))
            elif result["type"] != "errored":
                yield BatchReply(custom_id, None, str(result["type"]))
            else:
                error = result.get("error") or {}
                error = error.get("error") or error
                status = 400 if error.get("type") in {"invalid_request_error", "request_too_large"} else 500
                yield self.failed_reply(custom_id, status, {"error": error})

    async def find(self, handle: str, custom_ids: Collection[str], since_s: float) -> list[str]:  # noqa: ARG002
        """Return batches of that size made since; the list says nothing of what is in them."""
        found = []
        since = datetime.fromtimestamp(since_s - self.clock_skew_s, UTC)
        pager = await self.call(self._sdk.messages.batches.list(limit=self.page_size))
        for _ in range(self.max_pages):
            for batch in pager.data:
                counts = batch.request_counts
                n = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                if batch.created_at >= since and n == len(custom_ids):
                    found.append(batch.id)
            if not pager.data or pager.data[-1].created_at < since or not pager.has_next_page():
                break
            pager = await self.call(pager.get_next_page())
        return found


PROVIDER = Provider(
    name="anthropic", client=AnthropicClient, key_variable=_KEY_VARIABLE, batch_endpoint=AnthropicBatches
)
