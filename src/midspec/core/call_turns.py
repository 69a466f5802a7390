"""Calls of tools and reasoning as others keep them: turns of their own, or parts of a turn.

LlamaFactory and ms-swift have turns of calls, gpt-oss's Harmony turns of channels, Anthropic parts of a content.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

from midspec.core.chat_rows import ROLES, BadRowError, parse_content, parse_message, parse_tool_calls
from midspec.core.records import Message

_CALLING = ("function_call", "tool_call")
_ANALYSIS, _ALL, _FUNCTIONS = "analysis", ("all", "user", "assistant"), "functions."
_CHANNELS = (_ANALYSIS, "commentary", "final")
_THOUGHTS = ("thinking", "redacted_thinking")


def with_calls(turns: Sequence[Any]) -> list[Any]:
    """Return turns whose calls of tools are the assistant's: in its turn before them, and several at once in one.

    A turn that is no call (no JSON, or without a name) stays as it is. What Harmony's `analysis` or Anthropic's part
    `thinking` says is the reasoning of the assistant's turn.

    Raises:
        BadRowError: the assistant's analysis has no turn of its own behind it, a turn calls what is no function, or
            reasoning, calls or weights stand in two places and differ.
    """
    found: list[Any] = []
    for turn in chain.from_iterable(map(_parts_apart, _with_channels(turns))):
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


def _with_channels(turns: Sequence[Any]) -> list[Any]:
    """Return Harmony's turns with what is analysed as the reasoning of the assistant's turn behind it."""
    found: list[Any] = []
    analyses: list[Message] = []
    for turn in turns:
        is_assistants = isinstance(turn, dict) and turn.get("role") == "assistant"
        channel = turn.get("channel") if is_assistants and turn.get("channel") in _CHANNELS else None
        rest = _of_channel(turn) if channel else turn
        if channel == _ANALYSIS:
            analyses.append(parse_message({**rest, "tool_calls": None}, _ANALYSIS, may_be_empty=True)[0])
            if not rest.get("tool_calls"):
                continue
            rest["content"] = ""
        if analyses and not is_assistants:
            break
        if not all(one.weight for one in analyses) and parse_message(rest, "answer", may_be_empty=True)[0].weight:
            raise BadRowError(f"has an answer to be learned and its {_ANALYSIS} not, which are one turn")
        found.append(_reasoned(rest, [one.content for one in analyses]))
        analyses = []
    if analyses:
        raise BadRowError(f"has a turn of the channel {_ANALYSIS!r} and no answer behind it")
    return found


def _of_channel(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn of a channel without the keys that are Harmony's, as a call where it is one."""
    rest = {key: value for key, value in turn.items() if key not in ("channel", "recipient", "content_type")}
    recipient = turn.get("recipient") or _ALL[0]
    if recipient in _ALL:
        return rest
    if not isinstance(recipient, str) or not recipient.startswith(_FUNCTIONS):
        raise BadRowError(f"has a turn to {recipient!r}; of calls only those of {_FUNCTIONS!r} can be kept")
    given = parse_content(turn.get("content") or "", recipient, may_be_empty=True)
    call = {"name": recipient.removeprefix(_FUNCTIONS), "arguments": given or "{}"}
    return {**rest, "content": "", "tool_calls": [{"type": "function", "function": call}]}


def _reasoned(turn: Any, thoughts: Sequence[str]) -> Any:
    """Return a turn with what was thought before it as its reasoning."""
    text = "\n".join(filter(None, thoughts))
    if not text:
        return turn
    if turn.get("reasoning_content") not in (None, "", text):
        raise BadRowError("has one reasoning in `reasoning_content`, and another in a channel or a part")
    return {**turn, "reasoning_content": text}


def _parts_apart(turn: Any) -> list[Any]:
    """Return a turn of Anthropic's with its thoughts and calls beside its text, and results of tools as turns."""
    parts = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return [turn]
    kinds = {part.get("type") for part in parts}
    if turn.get("role") == "user" and "tool_result" in kinds:
        results = [
            {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": part.get("content") or ""}
            for part in parts
            if part.get("type") == "tool_result"
        ]
        rest = [part for part in parts if part.get("type") != "tool_result"]
        return results + ([{**turn, "content": rest}] if rest else [])
    if turn.get("role") != "assistant" or not kinds & {"tool_use", *_THOUGHTS}:
        return [turn]
    thoughts = [  # Mistral's is a list of parts again
        parse_content(part.get("thinking") or part.get("text") or "", "thinking", may_be_empty=True)
        for part in parts
        if part.get("type") in _THOUGHTS
    ]
    calls = [
        {
            "id": part.get("id"),
            "type": "function",
            "function": {"name": part.get("name"), "arguments": part.get("input")},
        }
        for part in parts
        if part.get("type") == "tool_use"
    ]
    text = [part for part in parts if part.get("type") not in ("tool_use", *_THOUGHTS)]
    beside = {"tool_calls": calls} if calls else {}
    given: Sequence[Any] = parse_tool_calls(turn.get("tool_calls"), "assistant") if calls else ()
    names = [call.get("function", call)["name"] for call in given]
    if given and names != [call["function"]["name"] for call in calls]:  # LangChain keeps them in both
        raise BadRowError("has some calls in `tool_calls`, and others in parts of its content")
    return [_reasoned({**turn, "content": text or "", **beside}, thoughts)]
