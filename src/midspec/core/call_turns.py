"""Calls of tools as LlamaFactory and ms-swift keep them: each a turn of a role of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from midspec.core.chat_rows import ROLES

_CALLING = ("function_call", "tool_call")


def with_calls(turns: Sequence[Any]) -> list[Any]:
    """Return turns whose calls of tools are the assistant's: in its turn before them, and several at once in one.

    A turn that is no call (no JSON, or without a name) stays as it is.
    """
    found: list[Any] = []
    for turn in turns:
        role_key, text_key = ("role", "content") if isinstance(turn, dict) and "role" in turn else ("from", "value")
        role = turn.get(role_key) if isinstance(turn, dict) else None
        before = found[-1] if found and isinstance(found[-1], dict) else {}
        calls = _calls(turn[text_key]) if role in _CALLING and text_key in turn else []
        if not calls:
            found.append(turn)
        elif (
            ROLES.get(str(before.get(role_key))) == "assistant"
            and set(before) | set(turn) <= {role_key, text_key, "tool_calls"}  # no weights, or names
            and isinstance(before.get("tool_calls", []), list)
        ):
            found[-1] = {**before, "tool_calls": [*before.get("tool_calls", ()), *calls]}
        else:
            found.append({**turn, role_key: "assistant", text_key: "", "tool_calls": calls})
    return found


def _calls(value: Any) -> list[dict[str, Any]]:
    """Return one call or a list of calls, as JSON text or as an object; nothing where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    listed = value if isinstance(value, list) else [value]
    is_call = all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in listed)
    return [{"type": "function", "function": call} for call in listed] if is_call else []
