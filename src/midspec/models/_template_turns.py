"""What a chat template reads, and whether it wrote all of it: messages as turns, system messages, tools, tags."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from midspec.core.errors import CheckpointError, DataError
from midspec.core.records import Message
from midspec.models._answers import ANY_TAG, call_names
from midspec.models._control_tokens import is_of_messages
from midspec.models._turn_ends import ANSWER, NEXT, Render

_REFUSES = "midspecsystemx"
# What a template reads in a message and takes out of it (SmolLM3's, Nemotron's).
_SWITCH = re.compile(r"(?<!\S)/(?:no_?think|think|system_override)(?!\S)")
_WORD = re.compile(r"[^\W\d_]{3,}")
_MARK = re.compile(r"<\|[^|<>\s]{1,40}\|>")

# What a user is told of chats, by what was counted; the last two of prompts too, without a number.
NOTES = {
    "separate_chats": "chats that are a row for each assistant turn, as the chat template writes a turn otherwise once "
    "another follows: {:,} ({n_rows:,} rows)",
    "restored_reasoning": "answers with reasoning that the chat template drops, trained on as it is generated: {:,}",
    "empty_reasoning": "answers without reasoning, trained on behind an empty block of it: {:,}",
    "cut_reasoning": "answers that open reasoning and never close it, trained on as they are: {:,}; were they cut off?",
    "silent": "answers that say nothing, trained on as they are: {:,}; is the model to end its turn at once?",
    "cut_calls": "answers that call a tool with arguments that are no JSON object, trained on as they are: {:,}; were "
    "they cut off?",
    "folded_system": "system messages went to the head of the first user turn: the chat template takes none",
    "escaped": "messages hold control tokens, which were tokenized as text",
}
PROMPT_NOTES = ("folded_system", "escaped")


def turns_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Make what a template reads of messages; an assistant's has its `weight` where it is 0."""
    turns = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        for name in ("reasoning_content", "tool_call_id", "name"):
            if (value := getattr(message, name)) is not None:
                turn[name] = value
        if message.reasoning_content is not None:
            turn["thinking"] = message.reasoning_content  # as transformers names it for gpt-oss's template
        if message.tool_calls:
            turn["tool_calls"] = list(message.tool_calls)
        if message.role == "assistant" and message.weight == 0:
            turn["weight"] = 0
        turns.append(turn)
    return turns


def folds_system(render: Render) -> bool:
    """Return whether a template refuses a system message (Gemma 2's) or leaves it out."""
    try:
        return _REFUSES not in render(
            [{"role": "system", "content": _REFUSES}, {"role": "user", "content": "Hello"}], ask=True
        )
    except DataError:
        return True


def folded(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move the system message, the first of `turns`, to the head of the user's turn behind it.

    Raises:
        DataError: no user's turn is behind it.
    """
    system, *rest = turns
    if not rest or rest[0]["role"] != "user":
        raise DataError(
            "the chat template takes no system message, and no user's turn follows it", hint="Fix or remove that chat"
        )
    text = "\n\n".join(part for part in (system["content"], rest[0]["content"]) if part)
    return [{**rest[0], "content": text}, *rest[1:]]


def check_shown(
    turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, JsonValue]], text: str, *, first: int
) -> None:
    """Refuse a chat of which the template left something out: a message, a call of a tool, the tools.

    Args:
        turns: what was rendered.
        tools: of the chat.
        text: as what.
        first: the number of the first turn in its chat, from 1.

    Raises:
        DataError: it did; names the message.
    """
    hint = "Remove it, or use a template that writes it"
    for number, turn in enumerate(turns, start=first):
        # A template may take a switch out of a message (`/no_think`).
        forms = (turn["content"], _SWITCH.sub("", turn["content"]))
        if turn["role"] != "assistant" and not any(_shows(text, form) for form in forms):
            raise DataError(f"the chat template leaves out message {number} ({turn['role']})", hint=hint)
        if not all(name in text for name in call_names(turn)):
            raise DataError(f"the chat template leaves out the tool calls of message {number}", hint=hint)
    for tool in tools:
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name not in text:
            raise DataError(f"the chat template leaves out the tool {name}", hint=hint)


def check_asked(turns: Sequence[Mapping[str, Any]], prompt: str, *, first: int) -> None:
    """Refuse a prompt in which nothing is left of what a user or a system message says.

    A template may take a switch out of a message (`/no_think`), escape it, fold its white space or cut a part of it.

    Args:
        turns: what was rendered.
        prompt: as what.
        first: the number of the first turn in its chat, from 1.

    Raises:
        DataError: it did; names the message.
    """
    for number, turn in enumerate(turns, start=first):
        if turn["role"] in ("user", "system") and not _shows_any(prompt, turn["content"]):
            raise DataError(
                f"the chat template leaves out message {number} ({turn['role']})",
                hint="Remove it, or use a template that writes it",
            )


def _shows(text: str, content: str) -> bool:
    """Return whether the longest line of a content stands in a text, as it is or as JSON."""
    longest = max((line.strip() for line in content.splitlines()), key=len, default="")
    return longest in text or json.dumps(longest, ensure_ascii=False)[1:-1] in text


def _shows_any(text: str, content: str) -> bool:
    """Return whether anything of a content stands in a text: a line of it, or a word of three letters or more."""
    if _shows(text, content):
        return True
    rest = " ".join(_SWITCH.sub(" ", content).split())
    plain = " ".join(html.unescape(text).split())
    lines = {" ".join(line.split()) for line in _SWITCH.sub(" ", content).splitlines()} - {""}
    return not rest or any(line in plain for line in lines) or any(word in plain for word in _WORD.findall(rest))


def written_header(render: Render) -> str:
    """Return what a template without a generation prompt writes before an answer; empty for one that has a prompt.

    A space, or an empty block of reasoning, is no header: Mistral's template needs no prompt.
    """
    user = {"role": "user", "content": "Hello"}
    try:
        plain, asked = render([user], ask=False), render([user], ask=True)
        answered = render([user, {"role": "assistant", "content": ANSWER}], ask=False)
    except DataError:
        return ""
    head, found, _ = answered.removeprefix(plain).partition(ANSWER)
    is_header = plain == asked and answered.startswith(plain) and found and re.search(r"\w", ANY_TAG.sub("", head))
    return head if is_header else ""


def check_prompt(template: str, render: Render) -> None:
    """Refuse to train on the answers of a template that has no generation prompt.

    Its header would be trained on with each answer, and every answer would begin with the name of a role.

    Args:
        template: its place, for the error.
        render: writes messages.

    Raises:
        CheckpointError: it has none.
    """
    if header := written_header(render):
        raise CheckpointError(
            f"the chat template has no generation prompt: {header!r} stands before an answer, and not before its place",
            where=template,
            hint="Let it write that where add_generation_prompt is set",
        )


def structural_tokens(tokenizer: Any, render: Render) -> set[str]:
    """Return added tokens that are not marked as special, and that the template writes between messages."""
    text = probe_text(render)
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    return {
        one for one in added if one in text and one.strip() and not one.strip().isalnum() and not is_of_messages(one)
    }


def unknown_marks(tokenizer: Any, render: Render) -> list[str]:
    """Return marks like `<|im_start|>` that the template writes and that are no tokens of the tokenizer."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    return sorted({*_MARK.findall(probe_text(render))} - added)


def probe_text(render: Render) -> str:
    """Render a short chat, to see what the template writes around messages; empty where it refuses all of them."""
    user, answer = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": ANSWER}
    for turns in ([user, answer, {"role": "user", "content": NEXT}], [user, answer], [user]):
        try:
            return render(turns, ask=turns[-1]["role"] == "user")
        except DataError:
            continue
    return ""


def has_reasoning_tags(tokenizer: Any, template: str) -> bool:
    """Return whether a template or its tokenizer knows the tags of a block of reasoning."""
    return "</think>" in template or any(
        token.content == "</think>" for token in tokenizer.added_tokens_decoder.values()
    )
