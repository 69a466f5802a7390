"""Attempts of served models that Inspect makes: what a failure means, in `llm`'s words, and what is told meanwhile.

Inspect raises what its provider's SDK or its own reading of a reply raised: a status, a page that is no JSON, a field
that is `null`. What the server sent is read again by `llm`, so that a model under test and an author that get the same
reply are said to have failed of the same.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Literal

from inspect_ai.model import Model, ModelAPI, ModelOutput
from inspect_ai.model._model import AttemptTimeoutError

from midspec.core.errors import ConfigError
from midspec.llm import ModelConfig, Outcome, Response, Silence, read_response, without_key

_PROTOCOLS = {"anthropic": "anthropic"}  # of Inspect's other providers that have replies to read, OpenAI's
_LOOK_EVERY_S = 1.0
_STAGE = "an answer"
# Inspect's words for a reply of status 200 that its SDK gave back as a string.
_NO_COMPLETION = re.compile(r"Unexpected non-ChatCompletion response: (.*)", re.DOTALL)
_FINISHED = frozenset(("stop", "length", "tool_calls", "function_call", "content_filter"))
# Replies that Inspect can't read and `llm` can (typed parts, a usage of nulls) are answers like any other.
_STOPS: dict[str, Literal["stop", "max_tokens"]] = {"ok": "stop", "truncated": "max_tokens"}
# What Inspect's providers raise over a reply that has not the form they take for granted.
_OF_READING = (AttributeError, TypeError, LookupError, ValueError)
# The reply of the attempt that is being made, as far as Inspect could read it.
_REPLY: ContextVar[dict[str, Any] | None] = ContextVar("reply", default=None)


class OddReplyError(Exception):
    """A reply of status 200 that Inspect could not read.

    Args:
        outcome: what `llm` reads in it.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.note)
        self.outcome = outcome


class Watch:
    """Looks at every attempt of one served model, and tells while nothing at all is answered.

    Args:
        model: its attempts pass through here from now on.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._attempt = model, model.api.generate
        self._on_response = getattr(model.api, "on_response", None)
        self._silence = Silence(f"model under test {model}", (_key_of(model.api),))
        self._in_flight: dict[object, tuple[float, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def generate(self, **asked: Any) -> Any:
        """Make one attempt.

        Raises:
            OddReplyError: the reply can't be read.
            Exception: whatever Inspect's provider raises, which decides what is tried again.
        """
        clock = asyncio.get_running_loop().time
        mark = object()
        _REPLY.set(None)
        self._in_flight[mark] = clock(), asked["config"].max_tokens or 0
        self._look()
        try:
            made = await self._attempt(**asked)
            _hide_in_refusal(made, _key_of(self._model.api))
        except Exception as error:
            _hide_key(error, _key_of(self._model.api))
            found = failure_of(self._model, error)
            is_odd = found is None and isinstance(error, _OF_READING)
            found = self._reread(error) if is_odd else found
            if is_odd and found is not None and found.kind in _STOPS:
                self._silence.answer(clock())
                return ModelOutput.from_content(found.model, found.text, stop_reason=_STOPS[found.kind])
            if found is not None:
                self._silence.fail(found.note, None, len(self._in_flight) - 1, clock())
            if found is not None and is_odd:
                raise OddReplyError(found) from error
            raise
        else:
            self._silence.answer(clock())
            if (found := self._broken_off()) is not None:
                raise OddReplyError(found)
            return made
        finally:
            del self._in_flight[mark]
            if not self._in_flight and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def on_response(self, reply: dict[str, Any]) -> None:
        """Keep a reply that Inspect is about to read: its error will not say what it was."""
        _REPLY.set(reply)
        if self._on_response is not None:
            self._on_response(reply)

    def _reread(self, error: Exception) -> Outcome:
        """Return what `llm` reads in the reply of status 200 over which `error` was raised."""
        reply = error.doc if isinstance(error, json.JSONDecodeError) else _REPLY.get()
        found = None if reply is None else _read(self._model, _ok(reply))
        if found is not None and (found.kind != "ok" or found.text):
            return found
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(kind="unparsable", note=f"the reply can't be read ({words})")

    def _broken_off(self) -> Outcome | None:
        """Return what `llm` reads in a reply that Inspect took for an answer and its server broke off, else `None`."""
        reply = _REPLY.get() or {}
        choices = reply.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if "error" not in first and str(first.get("finish_reason") or "stop") in _FINISHED:
            return None
        found = _read(self._model, _ok(reply))
        return None if found.kind in ("ok", "truncated", "filtered", "refused") else found

    def _look(self) -> None:
        """Tell what is waited for where nothing has come for long, now and every second while something is."""
        if self._timer is not None and self._timer.when() > asyncio.get_running_loop().time():
            return
        now = asyncio.get_running_loop().time()
        sent_at, max_tokens = min(self._in_flight.values())
        waited_s = now - max(sent_at, self._silence.answered_at)
        self._silence.wait(_STAGE, max_tokens, len(self._in_flight), waited_s, 0.0, now)
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)


def watch(model: Model) -> None:
    """Have the attempts of a served model looked at, from the first call on; `llm` looks at those of its judges."""
    # Inspect writes each reply down by its SDK's types; content in typed parts is none of these.
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
    own = vars(model.api)
    if not type(model.api).__module__.startswith("midspec.") and "generate" not in own:
        seen = Watch(model)
        own.update({"generate": seen.generate, "on_response": seen.on_response})


def failure_of(model: Model, error: BaseException) -> Outcome | None:
    """Return what an error of Inspect's means, in the words of `llm`; `None` for one that is not the server's."""
    if isinstance(error, OddReplyError):
        return error.outcome
    if isinstance(error, AttemptTimeoutError):
        return Outcome(kind="timed_out", note=f"no answer in time ({error})")
    response = getattr(error, "response", None)
    status, content = (getattr(response, name, None) for name in ("status_code", "content"))
    if isinstance(status, int) and isinstance(content, bytes):
        headers = getattr(response, "headers", {})
        return _read(model, Response(status, headers if isinstance(headers, Mapping) else {}, content))
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    if any(isinstance(link, OSError) or type(link).__name__ == "APIConnectionError" for link in chain):
        return Outcome(kind="timed_out", note=f"no connection ({type(chain[-1]).__name__}: {chain[-1]})")
    if found := _NO_COMPLETION.search(str(error)):
        with suppress(ValueError, SyntaxError):
            return _read(model, _ok(ast.literal_eval(found[1])))
    return None


def _ok(content: object) -> Response:
    text = content if isinstance(content, str) else json.dumps(content)
    return Response(200, {}, text.encode("utf-8", "replace"))


def _read(model: Model, response: Response) -> Outcome:
    """Read a response with the client of its protocol."""
    provider, _, name = str(model).partition("/")
    url = model.api.base_url or str(getattr(getattr(model.api, "client", None), "base_url", "")) or "http://localhost"
    asked = ModelConfig(model=f"{_PROTOCOLS.get(provider, 'openai')}/{name}")
    try:
        return read_response(asked, url, response, _key_of(model.api))
    except ConfigError:  # `llm` itself can't go that way (a SOCKS proxy, say); the status says enough
        return Outcome(kind="failed", note=f"status {response.status_code}")


def _hide_key(error: BaseException, key: str) -> None:
    """Take the key out of an error's words, which are told, and written into scores and logs."""
    link: BaseException | None = error
    while link is not None:
        link.args = tuple(without_key(each, key) if isinstance(each, str) else each for each in link.args)
        if isinstance(words := getattr(link, "message", None), str):
            link.message = without_key(words, key)  # type: ignore[attr-defined]
        link = link.__cause__ or link.__context__


def _hide_in_refusal(made: Any, key: str) -> None:
    """Take the key out of what Inspect's providers give of a refused request: an error, or its words as an answer."""
    output, call = made if isinstance(made, tuple) else (made, None)
    if isinstance(output, BaseException):
        _hide_key(output, key)
    elif output.choices and output.usage is None and output.stop_reason in ("content_filter", "model_length"):
        details = output.choices[0].stop_details
        if details is not None and details.explanation:
            details.explanation = without_key(details.explanation, key)
        message = output.choices[0].message
        if isinstance(message.content, str):
            message.content = output.completion = without_key(message.content, key)
    else:
        return
    if call is not None and call.response:
        call.response = json.loads(without_key(json.dumps(call.response), key))


def _key_of(api: ModelAPI) -> str:
    key = api.api_key
    return key if isinstance(key, str) and key != "none" else ""
