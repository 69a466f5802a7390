"""An assistant's turn as the text that the model writes behind its generation prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from midspec.core.errors import DataError

# How templates open a block of reasoning, and how it is closed.
_TAGS = {
    "<think>": "</think>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "<reasoning>": "</reasoning>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>thought": "<channel|>",
}
_OPENED = re.compile(f"({'|'.join(map(re.escape, _TAGS))})\\s*$")
_CLOSED = re.compile(f"({'|'.join(map(re.escape, _TAGS.values()))})\\s*$")
ANY_TAG = re.compile("|".join(map(re.escape, (*_TAGS, *_TAGS.values()))))
_N_PLAIN_KEYS = 2  # role and content
_EMPTY = re.compile("|".join(f"{re.escape(tag)}\\s*{re.escape(end)}" for tag, end in _TAGS.items()))
_ENDS_EMPTY = re.compile(f"(?:{_EMPTY.pattern})\\s*$")


class Answer(NamedTuple):
    """An assistant's turn as text.

    Attributes:
        prompt: what is rendered before it, with the generation prompt.
        text: what the model writes behind that, the end of the turn included.
        content: where the message's content stands in `text` (from, to), without what the template writes around it.
        tail: what the template writes behind the turn where no message follows.
        is_restored: the template drops the reasoning from an answer, or contradicts its own prompt: `text` is the
            reasoning, closed, and then what the template writes.
        has_empty_reasoning: the model would write, or is asked to go on from, an empty block of reasoning.
    """

    prompt: str
    text: str
    content: tuple[int, int]
    tail: str
    is_restored: bool
    has_empty_reasoning: bool


class Reasoned(NamedTuple):
    """A message's reasoning (`None` if it has none) and what it says after it."""

    reasoning: str | None
    said: str


def opens_reasoning(prompt: str) -> str:
    """Return the tag and white space by which a generation prompt opens reasoning; empty if it opens none."""
    match = _OPENED.search(prompt)
    return match[0] if match else ""


def closes_reasoning(prompt: str) -> str:
    """Return the empty block of reasoning, and white space, that end a generation prompt; empty if none does."""
    match = _ENDS_EMPTY.search(prompt)
    return match[0] if match else ""


def is_cut_off(message: Mapping[str, Any]) -> bool:
    """Return whether a message begins with a block of reasoning that it never closes."""
    content = str(message["content"]).lstrip()
    return any(content.startswith(tag) and end not in content for tag, end in _TAGS.items())


def says_nothing(message: Mapping[str, Any]) -> bool:
    """Return whether a message has neither a call of a tool nor a word beside its reasoning."""
    return not message.get("tool_calls") and not is_cut_off(message) and not reasoning_of(message).said.strip()


def calls_wrongly(message: Mapping[str, Any]) -> bool:
    """Return whether a message calls a tool with arguments that are no object: cut off, or encoded twice."""
    functions = [call.get("function", call) for call in message.get("tool_calls") or ()]
    return any(not isinstance(function.get("arguments", {}), Mapping) for function in functions)


def reasoning_of(message: Mapping[str, Any]) -> Reasoned:
    """Split a message into reasoning and answer, which are fields, or a text with tags.

    A text that closes reasoning without opening it goes on from a prompt that did.
    """
    content = str(message["content"])
    if message.get("reasoning_content") is None and not ANY_TAG.search(content):
        return Reasoned(None, content)
    if message.get("reasoning_content") is not None:
        return Reasoned(str(message["reasoning_content"]), content)
    for tag, end in _TAGS.items():
        before, closed, said = content.rpartition(end)
        if closed and not (head := before.partition(tag))[0].strip() and head[1]:
            return Reasoned(head[2], said)
        if closed and tag not in before:
            return Reasoned(before, said)
    return Reasoned(None, content)


def make_answer(
    message: Mapping[str, Any], *, number: int, prompt: str, whole: str, turn: str | None, end: str, has_tags: bool
) -> Answer:
    """Make the turn of a message from what the template writes.

    Where the whole begins with the generation prompt and holds all that the message says, it is what follows the
    prompt. Else the template drops reasoning from answers, and its prompt may open reasoning (DeepSeek-R1's, QwQ's):
    then it is the reasoning, its end, and the answer as the template writes it. A prompt may also end with an empty
    block that the template writes in no answer (Gemma 4's, Nemotron's): then it is the answer behind that.

    Args:
        message: the assistant's, as the template gets it.
        number: its place in the chat, from 1.
        prompt: the messages before it, rendered with the generation prompt.
        whole: the messages up to it, rendered.
        turn: the part of `whole` from where the prompt ends, or from the tag on with which the prompt opens reasoning
            or the block that it closes, to the end of the turn, without that; `None` if `whole` does not begin so.
        end: of the turn.
        has_tags: whether the tokenizer or the template knows tags of reasoning.

    Raises:
        DataError: the template writes the message in a way that no prompt of its own leads to.
    """
    reasoned = reasoning_of(message)
    if turn is None:
        raise _refusal(number, prompt, reasoned)
    opening = opens_reasoning(prompt)
    thought = (reasoned.reasoning or "").strip("\n")
    if whole.startswith(prompt) and _holds(turn, message):
        text = turn.removeprefix(opening)
        written = prompt + text + end
        tail = whole[len(written) :] if whole.startswith(written) else ""
        is_empty = not thought.strip() and bool(_EMPTY.search(turn))
        place = _place(text, str(message["content"]))
        return Answer(prompt, text + end, place, tail, is_restored=False, has_empty_reasoning=is_empty)
    block = closes_reasoning(prompt)
    if block and thought.strip():
        raise _refusal(number, prompt, reasoned)
    tag = next((tag for tag in _TAGS if (opening or block).startswith(tag)), next(iter(_TAGS)))
    _, found, said = turn.rpartition(_TAGS[tag])
    if not _holds(said, {**message, "content": reasoned.said, "reasoning_content": None}):
        raise DataError(f"the chat template does not write message {number} as it is", hint="Fix or remove that chat")
    if block:
        said = said.lstrip("\n") if found else said
        return Answer(prompt, said + end, _place(said, reasoned.said), "", is_restored=False, has_empty_reasoning=True)
    if not opening and not has_tags:
        raise _refusal(number, prompt, reasoned)
    # The line feeds around reasoning are as those of the prompt: Qwen3 and QwQ have them, DeepSeek-V3.1 has none.
    is_spaced = not opening or opening.endswith("\n")
    closing = f"\n{_TAGS[tag]}\n\n" if is_spaced else _TAGS[tag]
    text = ("" if opening else f"{tag}\n") + thought + closing + (said.lstrip("\n") if is_spaced else said)
    is_empty = not thought.strip()
    place = _place(text, reasoned.said)
    return Answer(prompt, text + end, place, "", is_restored=not is_empty, has_empty_reasoning=is_empty)


def kept_answer(message: Mapping[str, Any], *, prompt: str, chat: str, end: str) -> Answer | None:
    """Return a plain turn where a whole chat holds it as it is, or trimmed, behind its prompt; else `None`.

    For templates that write an answer right behind their generation prompt: what has neither reasoning nor calls is
    then the same text whether other turns follow or not.

    Args:
        message: the assistant's, as the template gets it.
        prompt: the messages before it, rendered with the generation prompt.
        chat: all messages, rendered.
        end: of a turn.
    """
    content = str(message["content"])
    if len(message) > _N_PLAIN_KEYS or ANY_TAG.search(content) or not chat.startswith(prompt):
        return None
    for shown in (content, content.strip()):
        if chat.startswith(shown + end, len(prompt)):
            tail = chat[len(prompt) + len(shown) + len(end) :]
            return Answer(prompt, shown + end, (0, len(shown)), tail, is_restored=False, has_empty_reasoning=False)
    return None


def _refusal(number: int, prompt: str, reasoned: Reasoned) -> DataError:
    if reasoned.reasoning is not None and _CLOSED.search(prompt):
        return DataError(
            f"message {number} has reasoning, and the chat template's generation prompt closes it beforehand",
            hint="Leave out the reasoning, or the switch of recipe.template_args that turns it off",
        )
    if reasoned.reasoning is not None:
        return DataError(
            f"message {number} has reasoning, for which the chat template has no place",
            hint="Leave out the reasoning, or use a template that writes it",
        )
    return DataError(
        f"the chat template's generation prompt is not how it begins message {number}",
        hint="Use a template whose generation prompt is a prefix of the answered chat",
    )


def _holds(turn: str, message: Mapping[str, Any]) -> bool:
    """Return whether a turn holds the message's reasoning, then its content, and the names of its calls."""
    position = 0
    for part in (str(message.get("reasoning_content") or ""), *ANY_TAG.split(str(message["content"]))):
        at = turn.find(part.strip(), position)
        if at < 0:
            return False
        position = at + len(part.strip())
    return all(name in turn for name in call_names(message))


def call_names(message: Mapping[str, Any]) -> list[str]:
    """Return the names of the tools that a message calls."""
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    return [str(call.get("function", call)["name"]) for call in calls]


def _place(text: str, content: str) -> tuple[int, int]:
    """Return where the content ends a turn's text, as it is or trimmed; the whole text where it does not."""
    shown = next((form for form in (content, content.strip()) if form and text.endswith(form)), text)
    return len(text) - len(shown), len(text)
