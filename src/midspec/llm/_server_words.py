"""What servers say of an error: which of it is their own words, and what those stand for."""

from __future__ import annotations

import json
import re
from typing import Any

# What servers repeat of a request or of a reply: texts of users and models, in which any word may stand.
_ECHOES = ("failed_generation", "input", "flagged_input", "generated_text", "body", "request", "messages")
# The server is down, or full, and says so with a status that is for wrong requests (LM Studio, llama.cpp, vLLM, TGI).
_FULL = re.compile(
    r"\bno (?:free |available |idle )?slots?\b|\bslots? (?:is |are )?(?:unavailable|not available|busy)"
    r"|find (?:a )?(?:free |memory )?slot|\b(?:server|model|engine) is (?:currently )?(?:busy|overloaded|at capacity)"
)
_PASSING = re.compile(
    r"\bmodel (?:\S{1,100} )?(?:has |is |was |is currently )?(?:crashed|unloaded|unloading|being (?:un)?loaded"
    r"|loading|not (?:yet )?(?:loaded|ready))\b|\bno models? (?:is |are )?(?:currently )?loaded\b"
    r"|\b(?:failed to load|error loading|loading) (?:the )?model\b|\bmodel loading (?:was|has been) stopped\b"
    r"|\bout of memory\b|\b(?:cuda|cublas|cudnn|hip|rocm|metal|vulkan|nccl)\w* (?:runtime )?error\b"
    r"|\binsufficient (?:system resources|memory)\b|\bengine(?:core)?\b.{0,40}\b(?:dead|died|issue|errored|crashed)\b"
    r"|\bbackground loop has errored|\bworker (?:\S+ )?(?:died|crashed|exited)|\bexit code: |\bcompute error\b"
    r"|\bchannel error\b|\b(?:temporarily|currently) unavailable\b|\bservice unavailable\b"
    r"|\b(?:try|retry)(?: your request)?(?: again)? (?:later|in a (?:few|moment|while|minute))"
    r"|\bconnection (?:refused|reset)\b|\bupstream (?:connect|timed|timeout|error)|\bfetch failed\b"
)
_NOT_FOUND = re.compile(r"\b(?:can ?not|can't|could not|couldn't) (?:find|locate)\b|\bnot found\b|\bno such file\b")
_OWN_FAULT = re.compile(r"\bjson_validate_failed\b|\btool_use_failed\b|\bfailed_generation\b")
_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|maximum (?:context|input)|too (?:long|large|many tokens)|exceed|n_ctx|num_ctx"
    r"|max(?:imum)?[_ ](?:completion_|output_|new_)?tokens?\b|maximum (?:allowed )?(?:number of )?(?:output )?tokens"
)
# What is said of a prompt alone, and of no server's state.
_PROMPT_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|maximum (?:context|input)|too many tokens|n_ctx|num_ctx"
    r"|\b(?:prompt|input|request|message)s? (?:is |are |was )?too (?:long|large)"
)
# Of requests that carry the schema of their reply: what is said of the field, of the schema, of what is made of it.
_SCHEMA = re.compile(
    r"response[_ ]format|json[_ ]schema|output_(?:config|format)|structured[_ ]output|guided|grammar"
    r"|\bschema (?:is )?too (?:complex|large|deep)|\btoo many states\b"
)
# What says so only in a refusal: a server that breaks down names its parts for other reasons too.
_SCHEMA_REFUSED = re.compile(
    r"schema|additional_?properties|\$defs\b|\$ref\b|\bunknown name \\*[\"'](?:strict|min_?items|max_?items)\b"
    r"|\bfailed to (?:initialize|create) samplers?\b|\bxgrammar|\boutlines\b|\bllguidance|\blm-format-enforcer"
)
# The status of a refusal that says of itself no more than that the request is refused.
_UNKNOWN_STATUS = "400"


def read_json(content: bytes | str, default: Any) -> Any:
    """Return the JSON in `content`, or `default` where it is none that Python can hold."""
    try:
        return json.loads(content, strict=False)  # some servers leave line ends in strings as they are
    except (ValueError, RecursionError):
        return default


def without_echoes(body: Any) -> Any:
    """Return the body of an error without what it repeats of requests and replies."""
    if isinstance(body, dict):
        return {name: "" if name in _ECHOES else without_echoes(value) for name, value in body.items()}
    if isinstance(body, list):
        return [without_echoes(value) for value in body]
    if isinstance(body, str) and body.lstrip()[:1] in {"{", "["} and any(name in body for name in _ECHOES):
        # A router hands the words of the server behind it on as text.
        inner = read_json(body, None)
        return body if inner is None else json.dumps(without_echoes(inner))
    return body


def server_words(content: bytes) -> str:
    """Return what a server says of an error in lower case, without what it repeats of requests and replies."""
    text = content.decode("utf-8", "replace")
    if any(name in text for name in _ECHOES) and (body := read_json(content, None)) is not None:
        text = json.dumps(without_echoes(body), ensure_ascii=False)
    return text.lower()


def is_full(words: str) -> bool:
    """Return whether the server says that it takes no more at present."""
    return _FULL.search(words) is not None


def is_passing(words: str) -> bool:
    """Return whether the server says that it, or its model, is down at present."""
    found = _PASSING.search(words)
    if found is not None and "load" in found[0] and _NOT_FOUND.search(words):
        return False  # no model is loaded later that is not there
    return found is not None


def is_about_schema(words: str, *, is_refusal: bool) -> bool:
    """Return whether a server's words, of a refusal or a breakdown, are about the schema that a request carried."""
    return _SCHEMA.search(words) is not None or (is_refusal and _SCHEMA_REFUSED.search(words) is not None)


def is_models_fault(words: str) -> bool:
    """Return whether the refusal is of what the model wrote, which it writes otherwise the next time (Groq)."""
    return _OWN_FAULT.search(words) is not None


def is_about_length(note: str) -> bool:
    """Return whether a server's words are about the prompt's length or the cap of the reply."""
    return _TOO_LONG.search(note.lower()) is not None


def is_prompts_length(words: str) -> bool:
    """Return whether a server's words are about a prompt that is too long for the model."""
    return _PROMPT_TOO_LONG.search(words) is not None


def is_doubtful_refusal(stop_reason: str, note: str) -> bool:
    """Return whether a refusal may have been of the server's state: a plain 400 that is not about lengths."""
    return stop_reason == _UNKNOWN_STATUS and not is_about_length(note)
