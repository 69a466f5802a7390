"""What clients over a provider's SDK share: one attempt, what an error means, and the batch endpoint's files."""

from __future__ import annotations

import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import JsonValue

from midspec.llm._environment import DEPLOYMENTS, joined, shown_url
from midspec.llm._errors import (
    SAMPLING_FIELDS,
    TOO_LARGE,
    CapFieldError,
    FailedGenerationError,
    NoReplyError,
    RetryableError,
    SchemaUnsupportedError,
    ServerFaultError,
    UnknownFieldError,
    not_json_error,
    read_error_status,
)
from midspec.llm._reasoning import set_reasoning_aside
from midspec.llm._runaway import marked
from midspec.llm._schema_faults import SchemaFaults
from midspec.llm._server_words import error_text, is_about_length, read_json
from midspec.llm._streaming import Streaming
from midspec.llm._transport import HttpTransport, Response
from midspec.llm._types import Access, ModelConfig, Outcome, OutcomeKind, Request

_LOG = logging.getLogger(__name__)
_MAX_PREFIXES = 64
# How often one request is changed to what the server takes.
_MAX_ADAPTED = 8
_STARTS_LIKE_JSON = re.compile(r"\s*(?:```json\s*)?[\[{]")
_NOT_IN_STRICT = {"uniqueItems", "minLength", "maxLength", "default", "examples"}
ResultT = TypeVar("ResultT")
# What servers call the end of a reply, in whatever case: vLLM, SGLang, TGI, llama.cpp, Gemini, Bedrock, Chinese hosts.
_STOP_WORDS: dict[OutcomeKind, str] = {
    "ok": "stop eos eos_token eos_token_id stop_token stop_sequence stop_str end end_turn endoftext im_end eot_id "
    "normal done finish finished complete completed",
    "truncated": "length max_tokens max_new_tokens max_length max_output_tokens model_length token_limit limit "
    "model_context_window_exceeded error_limit repetition_truncation repetition",
    "filtered": "content_filter content_filtered safety recitation prohibited_content blocklist spii sensitive "
    "risk_control guardrail_intervened policy_violation error_toxic model_armor image_safety image_recitation "
    "image_prohibited_content",
    "refused": "refusal",
}
_STOP_KINDS = {word: kind for kind, words in _STOP_WORDS.items() for word in words.split()}


def json_text(value: JsonValue | Mapping[str, Any]) -> str:
    """Return `value` as JSON in ASCII, where a lone surrogate in a reply that is sent back is escaped and no error."""
    return json.dumps(value, separators=(",", ":"))


def separated_prefix(request: Request) -> str:
    """Return the prefix as it is sent, set off from the prompt by an empty line."""
    prefix = request.prefix
    return prefix if not prefix or prefix.endswith("\n") else prefix + "\n\n"


def strict_schema(schema: JsonValue) -> JsonValue:
    """Return `schema` without the keywords that strict mode refuses; the parser checks them all the same."""
    if isinstance(schema, dict):
        return {
            key: {name: strict_schema(part) for name, part in value.items()}
            if key in {"properties", "$defs"} and isinstance(value, dict)
            else strict_schema(value)
            for key, value in schema.items()
            if key not in _NOT_IN_STRICT
        }
    return [strict_schema(part) for part in schema] if isinstance(schema, list) else schema


def _words_of_model(name: str) -> set[str]:
    """Return the words and numbers of a model's name, which servers write in another order and with a date or a path.

    LM Studio and llama.cpp answer for the model that is loaded, whichever is asked for, and say which it was.
    """
    words = re.findall(r"[a-z]+|\d+(?:\.\d+)*", name.lower().removesuffix(".gguf").rpartition("/")[2])
    return set(words) - {"latest"}


class SdkServer(NamedTuple):
    """Where an SDK's client sends requests, with which headers and key, and how that client is made."""

    url: str
    headers: Mapping[str, Any]
    key: str
    make_sdk: Callable[[], Any]


class SdkClient(ABC):
    """One model at the address, and with the headers and the key, of an SDK's client; every ask is one attempt.

    What the server does not take is left out from then on: the schema, the cap's name, sampling parameters.

    Args:
        model: `PROVIDER/MODEL` and how it samples.
        access: how long to wait for the server.
        server: where the SDK's client sends requests, and with what.
        path: of the endpoint below the server's URL.
    """

    kinds: ClassVar[Mapping[str, OutcomeKind]]
    """What each stop reason means."""
    schema_field: ClassVar[str]
    """The field that carries the reply's schema, for notes."""
    cap_fields: ClassVar[tuple[str, ...]] = ("max_tokens",)
    """The names under which servers know the cap of the reply."""

    def __init__(self, model: ModelConfig, access: Access, server: SdkServer, path: str) -> None:
        self._model = model.model
        self._server = server
        self._transport = HttpTransport(joined(server.url, path), server.headers, access)
        # How replies are streamed; `None` where they never are.
        self.streaming: Streaming | None = None
        self._head: dict[str, JsonValue] = {"model": model.model.partition("/")[2]}
        if model.temperature is not None:
            self._head["temperature"] = model.temperature
        self._extra = dict(model.extra)
        self._cap_field = self.cap_fields[0]
        self._sends_schema = True
        self._ignores_schema = False
        self.first_fields = self.fields()
        self._schema_faults = SchemaFaults()
        self.has_told = self._has_told_model = False
        self._encoded_prefixes: dict[str, str] = {}
        self.on_headers: Callable[[Request, Mapping[str, str]], None] | None = None

    @property
    def url(self) -> str:
        """The server's base URL, for messages."""
        return shown_url(self._server.url)

    @cached_property
    def sdk(self) -> Any:
        """The SDK's client, for all but single requests."""
        return self._server.make_sdk()

    @property
    def key(self) -> str:
        """The key, which is shown nowhere."""
        return self._server.key

    def hide(self, key: str) -> None:
        """Take `key` for the one that is shown nowhere, where another client sent the request."""
        self._server = self._server._replace(key=key)

    @property
    def sampling(self) -> str:
        """How the model is asked to sample, as one line of JSON: what is sent, and not what was configured."""
        sent = {name: self._head[name] for name in SAMPLING_FIELDS if name in self._head}
        return json.dumps({**sent, **self._extra}, sort_keys=True)

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()
        if "sdk" in self.__dict__:
            await self.sdk.close()

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt.

        Raises:
            RetryableError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good (key, rights, model's name, credit).
        """
        notes: list[str] = []
        for _ in range(_MAX_ADAPTED):
            has_tried = self._schema_faults.has_tried
            try:
                outcome = await self._attempt(request)
            except UnknownFieldError as error:
                if note := self.adapt(error):
                    notes.append(note)
            except (ServerFaultError, FailedGenerationError) as error:
                outcome = await self._without_schema(request, error, is_second=has_tried)
                break
            else:
                break
        else:
            return Outcome(
                kind="failed", stop_reason="400", note="; ".join(notes) or "the server takes no such request"
            )
        if self._sends_schema and request.form is not None and self._is_ignored(outcome):
            self._ignores_schema = True
            notes.append(f"the server ignored {self.schema_field}: the reply is no JSON")
        if not notes:
            return outcome
        return outcome.model_copy(update={"note": "; ".join((outcome.note, *notes) if outcome.note else notes)})

    def _is_ignored(self, outcome: Outcome) -> bool:
        """Return whether the server is seen, for the first time, to ignore the schema."""
        said = set_reasoning_aside(outcome.text).text
        return not self._ignores_schema and outcome.kind == "ok" and not _STARTS_LIKE_JSON.match(said)

    async def _without_schema(self, request: Request, error: RetryableError, *, is_second: bool) -> Outcome:
        """Try a request without its schema if that may be what the server breaks down over; else raise `error`."""
        if not self._sends_schema or request.form is None or not self._schema_faults.count():
            raise error
        outcome = await self._attempt(request.model_copy(update={"form": None}))
        if outcome.kind == "failed":
            return outcome
        self._schema_faults.has_tried = True
        if is_second:
            self.adapt(SchemaUnsupportedError(error.reason))
        note = f"the server breaks down over {self.schema_field} ({error.reason}); asked without it"
        return outcome.model_copy(update={"note": f"{outcome.note}; {note}" if outcome.note else note})

    async def _attempt(self, request: Request) -> Outcome:
        has_schema = self._sends_schema and request.form is not None
        body = self.body(request)
        sent = self.fields()
        send = self._transport.post(body) if self.streaming is None else self.streaming.post(body, request)
        response = await send
        if self.on_headers is not None:
            self.on_headers(request, response.headers)
        outcome = self.outcome_of(response, has_schema=has_schema, sent=sent)
        if outcome.model and not self._has_told_model and DEPLOYMENTS not in self._server.url:
            asked, answered = _words_of_model(str(self._head["model"])), _words_of_model(outcome.model)
            if not (asked <= answered or answered <= asked):
                self._has_told_model = True
                _LOG.warning("%s: %s answers as %s, which may be another model", self._model, self.url, outcome.model)
        return self._name_sizes(outcome, request, len(body))

    def outcome_of(self, response: Response, *, has_schema: bool = False, sent: Collection[str] = ()) -> Outcome:
        """Return the outcome that a response stands for; raises as `ask` does where it stands for none.

        Args:
            response: whatever its status.
            has_schema: the request carried a schema.
            sent: names of the fields that it carried.
        """
        status: int | None = response.status_code if response.status_code >= 300 else None
        reply = None
        if status is None:
            reply = self.unpacked(response.content)
            if reply is None:
                self._tell_page(error := not_json_error(response.content, self.key))
                raise error
            status = self.hidden_status(reply)
        if status is not None:
            failure = self.failed(status, response.headers, response.content, has_schema=has_schema, sent=sent)
            if isinstance(failure, Outcome):
                return failure
            if reply is not None and type(failure) in {RetryableError, ServerFaultError}:
                self._tell_page(
                    failure := NoReplyError(f"status 200 with an error: {error_text(response.content, self.key)}")
                )
            raise failure from None
        outcome = marked(self.read(reply))
        if has_schema:
            self._schema_faults.has_worked = True
        return outcome

    def _tell_page(self, error: RetryableError) -> None:
        """Say once that the server answers, and not with a model's replies."""
        if isinstance(error, NoReplyError) and not self.has_told:
            self.has_told = True
            _LOG.warning("%s: %s answers with no model's reply (%s); trying on", self._model, self.url, error.reason)

    def _name_sizes(self, failure: Outcome, request: Request, n_bytes: int) -> Outcome:
        """Say how large the request is and which setting its cap is, where the server's words are about that.

        It stands before them: they may be long, and whatever is cut to a line is cut at its end.
        """
        if failure.kind != "failed" or not is_about_length(failure.note):
            return failure
        known = [failure.note]
        if request.cap_setting:
            known.insert(0, f"the cap of the reply, {request.max_tokens}, is the setting {request.cap_setting}")
        if failure.stop_reason == TOO_LARGE:
            known.insert(0, f"the request, most of it the prompt, has {n_bytes:,} bytes")
        return failure.model_copy(update={"note": "; ".join(known)})

    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields that a request has at present."""
        return (*self._head, *self._extra, self._cap_field)

    def failed(
        self, status: int, headers: Mapping[str, str], content: bytes, *, has_schema: bool, sent: Collection[str] = ()
    ) -> Exception | Outcome:
        """Return what an error status means: an exception, or an outcome if the server will never take the request."""
        failure = read_error_status(
            status, headers, content, sent=sent,
            where=self._model, key=self.key, has_schema=has_schema, url=self.url, url_hint=self.url_hint,
        )  # fmt: skip
        if isinstance(failure, CapFieldError) and len(self.cap_fields) < 2:
            return Outcome(kind="failed", stop_reason=str(status), note=f"{status}: {failure}")
        return failure

    @property
    def url_hint(self) -> str:
        """What to add to the hint where the server knows no such address."""
        return ""

    def adapt(self, error: UnknownFieldError) -> str:
        """Leave out, or name otherwise, from now on what the server does not know.

        Returns:
            What was learnt, in words; empty where another request has learnt it before.
        """
        if isinstance(error, SchemaUnsupportedError):
            if not self._sends_schema:
                return ""
            self._sends_schema = False
            note = f"the server takes no {self.schema_field}; left out from now on ({error})"
        elif isinstance(error, CapFieldError):
            if error.fields and self._cap_field not in error.fields:
                return ""
            self._cap_field = next(name for name in self.cap_fields if name != self._cap_field)
            return ""
        else:
            known = [name for name in error.fields if name in self._head or name in self._extra]
            if not known:
                return ""
            for name in known:
                self._head.pop(name, None)
                self._extra.pop(name, None)
            note = f"the model takes no {', '.join(known)}; left out from now on ({error})"
        _LOG.warning("%s: %s", self._model, note)
        return note

    def hidden_status(self, reply: Any) -> int | None:
        """Return the status of an error that the server put into a reply of status 200."""
        return None

    def unpacked(self, content: bytes) -> Any:
        """Return what the body of a reply of status 200 holds; `None` where it is none that can be read."""
        return read_json(content, None)

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

    def kind_of(self, stop_reason: str, text: str, reasoning: str = "") -> tuple[OutcomeKind, str]:
        """Return the kind of an outcome and the note that says why, from the provider's stop reason."""
        # Gemini's endpoint of this protocol says `content_filter: RECITATION`.
        word = re.sub(r"\W+", "_", stop_reason.partition(": ")[0].lower()).strip("_")
        kind = self.kinds.get(stop_reason) or _STOP_KINDS.get(word)
        if not text.strip() and kind in {None, "ok"}:
            said = (
                f"only reasoning and no text ({len(reasoning)} characters)" if reasoning.strip() else "an empty reply"
            )
            return "unparsable", said if kind or not stop_reason else f"{said}, stopped for {stop_reason}"
        if kind is None:
            return "unparsable", f"stopped for {stop_reason}" if stop_reason else "the server gave no stop reason"
        return kind, "" if kind == "ok" else f"stopped for {stop_reason}"
