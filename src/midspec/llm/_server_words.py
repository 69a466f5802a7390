"""What servers say of an error: which of it is their own words, and what those stand for."""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_NOTE = 300
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# What servers repeat of a request or of a reply: texts of users and models, in which any word may stand.
_ECHOES = ("failed_generation", "input", "flagged_input", "generated_text", "body", "request", "messages")
# The server is down, or full, and says so with a status that is for wrong requests (LM Studio, llama.cpp, vLLM, TGI).
_FULL = re.compile(
    r"\bno (?:free |available |idle )?slots?\b|\bslots? (?:is |are )?(?:unavailable|not available|busy)"
    r"|find (?:a )?(?:free |memory )?slot|\bqueue is full\b"
    r"|\b(?:server|model|engine) is (?:currently )?(?:busy|overloaded|at capacity)"
    r"|\b(?:tier|throughput|server|system|cluster)[ _]capacity\b|[\"']capacity_exceeded[\"']"
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
    r"|\brequest (?:is |was |has been )?(?:aborted|pre-?empted)\b|\bdegraded function\b"
    r"|\bconnection (?:refused|reset)\b|\bupstream (?:connect|timed|timeout|error)|\bfetch failed\b"
)
_SHORTEST_SECRET = 8  # characters of a key
# The account, or what its owner lets it spend, is used up, in the words of OpenAI, Anthropic, Moonshot, Zhipu, MiniMax,
# xAI, Fireworks, Alibaba, Volcengine, LiteLLM. Google says "check your plan and billing" of a minute's limit.
_NO_CREDIT = re.compile(
    r"insufficient[ _]quota|exceeded_current_quota|credit balance|\binsufficient[ _](?:account[ _]|credit[ _])?balance"
    r"|\b(?:balance|credits?) (?:is|are) (?:insufficient|exhausted|depleted|used up)|余额不足|欠费|\barrearage\b"
    r"|\baccount_?overdue"
    r"|\baccount (?:\S{1,80} )?is (?:suspended|overdue|in arrears)|\bmake sure your account is in good standing"
    r"|\bout of credits?\b|\bused all (?:available |your )?credits"
    r"|\binsufficient (?:credits?\b|(?:funds|points)(?=[\".!,;]| (?:in|on|to)\b))"
    r"|\bnot[ _]enough[ _](?:balance|credits?|funds)\b|\bthis request requires more credits\b"
    r"|\bdepleted your (?:\w+ ){0,3}credits?\b"
    r"|\b(?:team|account|organi[sz]ation|project) (?:doesn[’']t|does not) have any credits\b"
)
# Of a limit that fills again, whatever it calls what is used up.
_FILLS_AGAIN = re.compile(
    r"allocated quota exceeded"  # Alibaba of a minute's tokens, under OpenAI's code
    r"|\b(?:burst|bucket|slow down|per-minute allowance)\b|\bretry (?:after|in) \d"
    r"|\bcredits? (?:left |remaining )?(?:for|in|within) (?:this|the current) (?:second|minute|hour|window)\b"
)
_OVER_LIMIT = re.compile(
    r"billing_hard_limit|\bbudget_exceeded\b|exceededbudget"
    r"|(?:\bbudget has been exceeded|\b(?:exceeded|crossed|over) budget)\b(?=.{0,200}(?:spend|cost|\$|\busd\b|>=))"
    r"|\b(?:reach\w*|exceed\w*|crossed|hit|over)(?: [\w’']+){0,4} spend(?:ing)?[ _](?:limit|cap)\b|spend(?:ing)?_limit"
    r"|\bspend(?:ing)? (?:limit|cap)s?(?: \w+){0,4} (?:reached|exceeded|hit)\b"
    r"|\bcredit limit (?:is |was )?(?:reached|exceeded)|\bkey limit exceeded \(\w+ limit\)"
    r"|\bspecified (?:workspace )?api usage limits?\b|\byou will regain access on\b"
)
# A filter stopped the prompt or the reply.
_FILTERED = re.compile(
    r"content[ _](?:filter|policy|management polic)|contentpolicy|\bsafety[ _](?:filter|system|check_type)"
    r"|data_inspection_failed|inappropriate content|prohibited_content"
    r"|\b(?:violat\w+|against) (?:our |the |its )?(?:\w+ )?(?:usage|content|safety) (?:polic|guideline)"
    r"|\b(?:prompt|input|content|request|message)s? (?:was|were|is|has been|have been) flagged\b"
    r"|sensitivecontent|\bnew_sensitive\b|\bmay contain sensitive\b|\bcontent exists risk\b|\bconsidered high risk\b"
    r"|敏感内容|违规内容|\bblocked by (?:\S+ ){0,3}guardrail|\bguardrail checks?\b.{0,60}\bfailed\b"
)
_SHUT = re.compile(
    r"\b(?:accounts?|organi[sz]ation|workspace|project|access|api key)(?: \S+){0,4}? (?:was|is|has been|have been)"
    r" (?:\w+ly )?(?:disabled|suspended|deactivated|terminated|banned|revoked)\b"
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
    r"response[_ ]format|json[_ ](?:schema|mode)|output_(?:config|format)|structured[_ ]output|guided|grammar"
    r"|\bschema (?:is )?too (?:complex|large|deep)|\btoo many states\b"
)
# What says so only in a refusal: a server that breaks down names its parts for other reasons too.
_SCHEMA_REFUSED = re.compile(
    r"schema|additional_?properties|\$defs\b|\$ref\b|\bunknown name \\*[\"'](?:strict|min_?items|max_?items)\b"
    r"|\bfailed to (?:initialize|create) samplers?\b|\bxgrammar|\boutlines\b|\bllguidance|\blm-format-enforcer"
)
# OpenRouter's words where no server behind it takes all fields of a request.
_NO_ROUTE = "no endpoints found that can handle the requested parameters"
# The status of a refusal that says of itself no more than that the request is refused.
_UNKNOWN_STATUS = "400"

# What codes and types of errors stand for.
_STATUSES = {
    "invalid_request_error": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Of MiniMax: too often, no login, no credit, filtered (twice), tokens, at once, wrong, no login, limit of hours.
_NUMBERED = {
    1002: 429,
    1004: 401,
    1008: 402,
    1026: 400,
    1027: 400,
    1039: 429,
    1041: 429,
    2013: 400,
    2049: 401,
    2056: 429,
}


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
    # Words of other languages may be there as escapes.
    is_coded = "\\u" in text or any(name in text for name in _ECHOES)
    if is_coded and (body := read_json(content, None)) is not None:
        text = json.dumps(without_echoes(body), ensure_ascii=False)
    return text.lower()


def is_unpaid(words: str) -> bool:
    """Return whether the server says that the account has no credit left."""
    return _NO_CREDIT.search(words) is not None and _FILLS_AGAIN.search(words) is None


def is_shut(words: str) -> bool:
    """Return whether the server says that the account itself is shut out, whatever it was that it broke."""
    return _SHUT.search(words) is not None


def is_over_spending_limit(words: str) -> bool:
    """Return whether the server says that a limit or budget is reached which the account's owner has set."""
    return _OVER_LIMIT.search(words) is not None


def is_filtered(words: str) -> bool:
    """Return whether the server says that a filter stopped the prompt or the reply."""
    return _FILTERED.search(words) is not None


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
    if _SCHEMA.search(words) is not None:
        return True
    return is_refusal and (_SCHEMA_REFUSED.search(words) is not None or is_unrouted(words))


def is_unrouted(words: str) -> bool:
    """Return whether a router says that no server behind it takes all fields of a request."""
    return _NO_ROUTE in words


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


def status_named(error: Any, default: int) -> int:
    """Return the status that an error's code or type stands for, in the words of Anthropic's protocol or OpenAI's."""
    names = (str(error.get("code")), str(error.get("type"))) if isinstance(error, dict) else ()
    return next((_STATUSES[name] for name in names if name in _STATUSES), default)


def status_numbered(number: int) -> int:
    """Return the status that a number of MiniMax's stands for, which stands in a reply of status 200."""
    return _NUMBERED.get(number, 502)


def without_key(words: str, key: str) -> str:
    """Return words in which `[key]` stands for the key; a short one is taken out where it is a word of its own.

    A word that a local server takes for a key ("x", "token") is a part of other words, too.
    """
    if key in ("", "none"):
        return words
    begin, end = (r"(?<!\w)", r"(?!\w)") if len(key) < _SHORTEST_SECRET else ("", "")
    return re.sub(f"{begin}{re.escape(key)}{end}", "[key]", words)


def error_text(content: bytes, key: str) -> str:
    """Return what a server said of an error, on one line of at most 300 characters, never with the key in it."""
    body = without_echoes(read_json(content, content.decode("utf-8", "replace")))
    body = body[0] if isinstance(body, list) and len(body) == 1 else body
    for field in ("error", "message", "detail"):
        metadata = body.get("metadata") if isinstance(body, dict) else None
        behind = metadata.get("raw") if isinstance(metadata, dict) else None
        if isinstance(behind, str) and behind.strip():  # OpenRouter's own words are "Provider returned error"
            return error_text(behind.encode("utf-8", "replace"), key)
        if isinstance(body, dict) and body.get(field):
            body = body[field]
    if isinstance(body, dict):
        body = body.get("message") or body
    words = body if isinstance(body, str) else json.dumps(body)
    if words.lstrip()[:1] == "<":  # a page: its words without its tags
        words = _MARKUP.sub(" ", words)
    words = without_key(words, key)
    # JSON can hold halves of surrogate pairs, which no terminal and no file takes.
    return " ".join(words.encode("utf-8", "replace").decode().split())[:LONGEST_NOTE]
