"""Tools for models that know none: they are described in the system message, called in plain text, and answered so.

Pure, and free of Inspect until a conversation of Inspect's is converted: tasks read calls with the same parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from midspec.core.records import Message, Role
from midspec.generation import PromptFolder

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage
    from inspect_ai.tool import ToolCall, ToolInfo

PROMPTS = PromptFolder("midspec.evals")
_BLOCK = re.compile(r"<call>(.*?)</call>", re.S)
_TAG = re.compile(r"</?call\b")
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "user"}


class Call(NamedTuple):
    """One well-formed call."""

    tool: str
    arguments: dict[str, JsonValue]


class Calls(NamedTuple):
    """The well-formed calls in an answer, in order, and whether something was meant as one and is none."""

    calls: tuple[Call, ...]
    malformed: bool


def read_calls(text: str) -> Calls:
    """Read all `<call>` blocks: each holds a JSON object with exactly `tool`, a name, and `arguments`, an object."""
    calls = []
    is_malformed = _TAG.search(_BLOCK.sub("", text)) is not None
    for inside in _BLOCK.findall(text):
        call = _call(inside)
        if call is None:
            is_malformed = True
        else:
            calls.append(call)
    return Calls(tuple(calls), is_malformed)


def _call(inside: str) -> Call | None:
    try:
        value = json.loads(inside)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"tool": str(tool), "arguments": dict(arguments), **rest} if not rest:
            return Call(tool, arguments)
    return None


def write_call(call: Call) -> str:
    """Write a call as a model writes it; `read_calls` reads the same from it."""
    # A tag inside an argument would end the block.
    inside = json.dumps(call._asdict(), ensure_ascii=False).replace("<", "\\u003c")
    return f"<call>{inside}</call>"


def plain_messages(messages: Sequence[ChatMessage], tools: Sequence[ToolInfo] = ()) -> list[Message]:
    """Convert Inspect's messages to ours, so that any chat template can take them.

    Tools stand in the system message, calls in the assistant's text, and what a tool gave in the user's turn that
    follows; turns of one role in a row that came from tools are one, since many templates want roles to alternate.

    Args:
        messages: a conversation.
        tools: those that may be called.
    """
    plain: list[Message] = []
    after_tool = False
    for message in messages:
        text = message.text
        if message.role == "assistant" and message.tool_calls:
            written = [write_call(Call(each.function, each.arguments)) for each in message.tool_calls]
            text = "\n".join(part for part in (text, *written) if part)
        elif message.role == "tool":
            given = message.error.message if message.error is not None else text
            text = f"{message.function or 'tool'}:\n{given}"
        role = _ROLES[message.role]
        if plain and after_tool and role == "user":
            plain[-1] = Message(role=role, content=f"{plain[-1].content}\n\n{text}")
        else:
            plain.append(Message(role=role, content=text))
        after_tool = message.role == "tool"
    return _with_tools(plain, tools) if tools else plain


def _with_tools(messages: Sequence[Message], tools: Sequence[ToolInfo]) -> list[Message]:
    listed = [
        f"- {tool.name}: {' '.join(tool.description.split())}\n"
        f"  {json.dumps(tool.parameters.model_dump(mode='json', exclude_none=True)['properties'], ensure_ascii=False)}"
        for tool in tools
    ]
    described = PROMPTS.fill("text_tools", tools="\n".join(listed)).strip()
    if messages and messages[0].role == "system":
        return [Message(role="system", content=f"{messages[0].content}\n\n{described}"), *messages[1:]]
    return [Message(role="system", content=described), *messages]


def split_calls(text: str, n_before: int) -> tuple[str, list[ToolCall]]:
    """Return an answer without its well-formed calls, and these as Inspect's; a malformed one stays in the text.

    Args:
        text: the answer, without reasoning.
        n_before: how many calls the conversation holds already; ids count on from there.
    """
    from inspect_ai.tool import ToolCall

    calls = [
        ToolCall(id=f"call-{number}", function=call.tool, arguments=call.arguments)
        for number, call in enumerate(read_calls(text).calls, start=n_before + 1)
    ]
    rest = _BLOCK.sub(lambda block: block[0] if _call(block[1]) is None else "", text)
    return (rest.strip() if calls else text), calls
