"""The parts of a reply, as servers write them: text, reasoning, and tokens as they were counted."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from midspec.llm._types import Usage

# Counts above are no counts, and SQLite's integers end at 9.2e18.
_MAX_TOKENS, _MAX_DIGITS = 10**12, 13


def n_counted(value: Any) -> int | None:
    """Return a number of tokens as a server may write it (12, 12.0, "12"), or `None` where it is none."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value) if len(value) < _MAX_DIGITS else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_TOKENS:
        return None
    return int(value)


def as_text(content: Any, names: Collection[str] = ("text", "output_text")) -> str:
    """Return the text of a message's content: a string, or its typed parts of the kinds `names`, joined."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        if isinstance(part, str) and "text" in names:
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in names:
            inner = part.get(part.get("type", "text"), part.get("text"))
            texts.append(as_text(inner.get("value") if isinstance(inner, dict) else inner, (*names, "text")))
    return "".join(texts)


def as_dict(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, and an empty one for all else that stands in its place."""
    return value if isinstance(value, dict) else {}


def shown(reply: Any) -> str:
    """Return the beginning of a reply, for messages."""
    return json.dumps(reply)[:120]


def reasoning_beside(message: dict[str, Any]) -> str:
    """Return the reasoning beside a message's text, under the names that servers have for it."""
    names = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "thought", "reasoning_details")
    fields = [message.get(name) for name in (*names, "thinking_blocks")]
    fields.append(as_dict(message.get("provider_specific_fields")).get("reasoning_content"))
    kinds = ("text", "thinking", "reasoning", "reasoning.text", "reasoning.summary")
    found = next((text for field in fields if field and (text := as_text(field, kinds))), "")
    return found or as_text(message.get("content"), ("thinking", "reasoning"))


def completion_usage(told: Any) -> Usage | None:
    """Return the tokens of a completion, cached ones counted once; `None` where the server gave no numbers.

    `prompt_tokens` holds what was cached; `completion_tokens` holds the reasoning but at xAI and at Gemini, whose total
    says so.
    """
    if not isinstance(told, dict):
        return None
    n_prompt, n_output = n_counted(told.get("prompt_tokens")), n_counted(told.get("completion_tokens"))
    n_total = n_counted(told.get("total_tokens"))
    if n_output is None and n_prompt is not None and n_total is not None and n_total >= n_prompt:
        n_output = n_total - n_prompt
    if n_prompt is None or n_output is None:
        return None
    n_read = n_counted(_part(told, "prompt_tokens_details", "cached_tokens"))
    if n_read is None:  # the names of DeepSeek, of routers to Anthropic, and of Moonshot
        names = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
        n_read = next(filter(None, (n_counted(told.get(name)) for name in names)), None)
    n_write = n_counted(_part(told, "prompt_tokens_details", "cache_write_tokens"))
    n_write = n_counted(told.get("cache_creation_input_tokens")) if n_write is None else n_write
    n_read, n_write = n_read or 0, n_write or 0
    # Gemini counts thoughts nowhere but in the total; servers that count cached tokens apart add these to it.
    n_beside = (n_total or 0) - n_prompt - n_output
    n_reasoning = n_counted(_part(told, "completion_tokens_details", "reasoning_tokens"))
    if n_beside > 0 and (n_beside == n_reasoning or n_beside not in {n_read, n_write, n_read + n_write}):
        n_output += n_beside
    # More cached than there was of the prompt: the server counts them apart.
    n_new = n_prompt - n_read - n_write if n_read + n_write <= n_prompt else n_prompt
    return Usage(n_input=n_new, n_cache_read=n_read, n_cache_write=n_write, n_output=n_output)


def _part(told: dict[str, Any], name: str, field: str) -> Any:
    details = told.get(name)
    return details.get(field) if isinstance(details, dict) else None


def message_usage(told: Any) -> Usage | None:
    """Return the tokens of a message, cached ones apart; `None` where the server gave no numbers."""
    if not isinstance(told, dict):
        return None
    n_input, n_output = n_counted(told.get("input_tokens")), n_counted(told.get("output_tokens"))
    if n_input is None or n_output is None:
        return None
    n_read, n_write = told.get("cache_read_input_tokens"), told.get("cache_creation_input_tokens")
    return Usage(
        n_input=n_input,
        n_cache_read=n_counted(n_read) or 0,
        n_cache_write=n_counted(n_write) or 0,
        n_output=n_output,
    )


def counted(usage: Usage | None, said: str) -> Usage | None:
    """Return `usage`, or `None` where a server that wrote something (`said`) counts nothing at all: it can't count.

    As unknown it is estimated for the budget; as zeros it would be free.
    """
    return usage if usage is not None and (not said.strip() or usage != Usage()) else None
