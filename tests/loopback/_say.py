"""Replies in each protocol's own shape: messages, usage, stop reasons, errors."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import orjson

from ._asked import CHARS_PER_TOKEN, Asked, tokens
from ._fill import Filler, named, wanted_entries
from ._prose import document
from ._settings import Fate, Settings

_STOPS = {
    "openai": {"end": "stop", "cap": "length", "filter": "content_filter", "refusal": "stop"},
    "anthropic": {"end": "end_turn", "cap": "max_tokens", "filter": "end_turn", "refusal": "refusal"},
}
_REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says, before it is put in a protocol's shape."""

    text: str
    stop: str  # end, cap, filter, refusal
    n_output: int


def compose(asked: Asked, fate: Fate, settings: Settings, said: str | None = None) -> Reply:
    """The reply to a question under its fate; depends on the seed, the question and its number alone.

    `said` is what a well-formed reply says, where a test decides that.
    """
    draw = random.Random(f"{settings.seed} {asked.sha} {asked.n_before}")
    if fate == "refused":
        return Reply(_REFUSAL, "refusal", tokens(_REFUSAL))
    if fate in {"filtered", "empty"}:
        return Reply("", "filter" if fate == "filtered" else "end", 0)
    filler = Filler(
        draw,
        settings.seed,
        share_first=settings.share_first,
        document_words=settings.document_words,
        name=named(asked.prompt),
    )
    if said is not None:
        text = said
    elif asked.form is None:
        text = filler.tags(asked.tags)
    elif fate == "ignored_form":
        text = "Here is what comes to mind. " + document(draw, settings.seed, 60)
    else:
        text = orjson.dumps(filler.json(asked.form, wanted_entries(asked.tail))).decode()
    if fate in {"malformed", "truncated"}:
        text = text[: int(len(text) * draw.uniform(0.3, 0.8))]
    if len(text) > asked.max_tokens * CHARS_PER_TOKEN:
        text, fate = text[: asked.max_tokens * CHARS_PER_TOKEN], "truncated"
    return Reply(text, "cap" if fate == "truncated" else "end", tokens(text))


def message(asked: Asked, reply: Reply, n_read: int, n_written: int) -> dict[str, Any]:
    """The body of a good answer."""
    stop = _STOPS[asked.protocol][reply.stop]
    identity = f"{asked.sha}-{asked.n_before}"
    if asked.protocol == "anthropic":
        refused = reply.stop == "refusal"
        return {
            "id": "msg_" + identity,
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": [{"type": "text", "text": reply.text}] if reply.text and not refused else [],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {
                "input_tokens": asked.n_prompt - n_read - n_written,
                "cache_creation_input_tokens": n_written,
                "cache_read_input_tokens": n_read,
                "output_tokens": reply.n_output,
            },
        }
    said = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.stop == "refusal":
        said |= {"content": None, "refusal": reply.text}
    return {
        "id": "chatcmpl-" + identity,
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [{"index": 0, "message": said, "finish_reason": stop, "logprobs": None}],
        "usage": {
            "prompt_tokens": asked.n_prompt,
            "completion_tokens": reply.n_output,
            "total_tokens": asked.n_prompt + reply.n_output,
            "prompt_tokens_details": {"cached_tokens": n_read},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


_ERRORS = {
    400: ("invalid_request_error", "the request can't be taken"),
    401: ("authentication_error", "no such key"),
    404: ("not_found_error", "there is nothing here"),
    429: ("rate_limit_error", "too many requests"),
    500: ("api_error", "something went wrong here"),
    503: ("overloaded_error", "overloaded"),
    529: ("overloaded_error", "overloaded"),
}


def error(protocol: str, status: int, words: str = "") -> dict[str, Any]:
    """The body of an error."""
    kind, usual = _ERRORS[status]
    if protocol == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": words or usual}}
    return {"error": {"message": words or usual, "type": kind, "param": None, "code": None}}
