"""Sets a model's reasoning aside where the server left it in the reply's text.

Servers without a parser of reasoning send it before the reply proper: in tags (`<think>`, `[THINK]`, ...), in channels
(gpt-oss), or with a closing tag alone where the chat template wrote the opening one into the prompt (DeepSeek-R1, QwQ).
A block that is opened and never closed is a reply that was cut.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from midspec.core.reasoning import UNSEEN_SIGNS

_BEFORE = rf"[\s{UNSEEN_SIGNS}]*"
_NAMES = (
    r"think|thinking|thoughts?|reasoning|reasoning_content|seed:think|mm:think|[a-z]{2,12}_think|antthinking|cot|reflection"
    r"|analysis|inner_monologue|scratchpad"
)
# What opens a block of reasoning, and what closes it. Attributes (`<think duration="3">`) are passed over.
_PAIRS = (
    (rf"<(?P<tag>{_NAMES})(?:\s[^<>\n]*)?>", r"</\s*{tag}\s*>"),
    (r"\[(?P<tag>THINK)\]", r"\[/{tag}\]"),
    (r"◁(?P<tag>think)▷", r"◁/{tag}▷"),
    (r"<\|START_(?P<tag>THINKING)\|>", r"<\|END_{tag}\|>"),
    (r"<\|(?P<tag>thinking)\|>", r"<\|/{tag}\|>"),
    (r"<\|(?P<tag>inner)_prefix\|>", r"<\|{tag}_suffix\|>"),
    (r"<\|begin_of_(?P<tag>thought)\|>", r"<\|end_of_{tag}\|>"),
    (r"<\|channel>(?P<tag>thought)\b", r"<channel\|>"),
    (r"<unused94>(?P<tag>thought)?", r"<unused95>"),
    (r"<details type=\"(?P<tag>reasoning)\"[^<>\n]*>", r"</details>"),
    (r"Here(?: is|'s) my (?P<tag>thought) process:", r"Here(?: is|'s) my response:"),
)
_OPENINGS = [(re.compile(_BEFORE + opening, re.IGNORECASE), closing) for opening, closing in _PAIRS]
# A closing tag that nothing opened. Plain words (`</details>`) close other things too.
_LONE_END = re.compile(
    rf"</\s*(?P<tag>{_NAMES})\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>|<unused95>|<channel\|>",
    re.IGNORECASE,
)
# Looking for these first costs microseconds; the pattern alone would cost milliseconds a document.
_END_MARKS = ("</", "[/", "◁/", "<|", "<unused", "<channel")
# A reply that begins in a form that was asked for (JSON, a fence, a tag) has no reasoning before it.
_FORM = re.compile(r"\s*(?:[\[{]|```|<\w+>)")
_HARMONY = re.compile(_BEFORE + r"(?:<\|start\|>assistant)?<\|channel\|>")
_FINAL = re.compile(r"<\|channel\|>\s*final\b.{0,60}?<\|message\|>", re.DOTALL)
# The same channels where the server dropped the special tokens: "analysisWe need to ...assistantfinalHere it is".
_PLAIN_HARMONY = re.compile(rf"{_BEFORE}(?:assistant)?(?:analysis|commentary)(?=[{UNSEEN_SIGNS}]*[A-Z\"'“])")
_PLAIN_FINAL = "assistantfinal"
# What ends a turn, or wraps a response, and is not part of it.
_END = re.compile(
    r"(?:\s*(?:<\|(?:im_end|end|return|eot_id|endoftext|end_of_text|END_RESPONSE|end_of_solution|call)\|>|</s>|<end_of_turn>|<eos>"
    r"|<turn\|>|\[/INST\]|<\|end_of_box\|>))+\s*$"
)
_END_CHARS = 80
# The beginning of the turn, as the chat template writes it.
_TURN = re.compile(
    r"\s*(?:<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<\|assistant\|>|assistant(?=\r?\n))\s*"
)
_BEGIN = re.compile(r"^\s*<\|(?:START_RESPONSE|begin_of_solution|begin_of_box)\|>")
# `<think>` stands in prompts of judges, within what they judge; what a prompt asks for is said at its end.
_ASKED_CHARS = 400


class Visible(NamedTuple):
    """What a reply says beside its reasoning.

    Attributes:
        text: the reply proper.
        has_reasoning: something was set aside.
        is_cut: the reasoning never ended, so that there is no reply.
    """

    text: str
    has_reasoning: bool = False
    is_cut: bool = False


def set_reasoning_aside(text: str, prompt: str = "") -> Visible:
    """Return a reply without the reasoning that stands before it.

    Args:
        text: the reply as the server gave it.
        prompt: what was asked; a tag that it asks for is part of the reply.
    """
    if turn := _TURN.match(text):
        text = text[turn.end() :]
    if _HARMONY.match(text):
        finals = list(_FINAL.finditer(text))
        if not finals:
            return Visible("", has_reasoning=True, is_cut=True)
        return Visible(_without_end(text[finals[-1].end() :]).strip(), has_reasoning=True, is_cut=False)
    if _PLAIN_HARMONY.match(text):
        _, found, after = text.partition(_PLAIN_FINAL)
        return Visible(after.strip() if found else "", has_reasoning=True, is_cut=not found)
    rest, n_blocks = text, 0
    while (block := _leading_block(rest, prompt)) is not None:
        end, is_closed = block
        if not is_closed:
            return Visible("", has_reasoning=True, is_cut=True)
        rest, n_blocks = rest[end:], n_blocks + 1
    lone = _lone_end(rest, prompt)
    if lone is not None:
        rest, n_blocks = rest[lone:], n_blocks + 1
    if n_blocks or rest.lstrip()[:2] == "<|":
        rest = _BEGIN.sub("", rest, count=1).lstrip()
    return Visible(_without_end(rest), has_reasoning=n_blocks > 0, is_cut=False)


def _without_end(text: str) -> str:
    """Cut the tokens that end a turn; only the end is looked at, since the pattern would try each white space."""
    tail = text[-_END_CHARS:]
    return text[: len(text) - len(tail)] + _END.sub("", tail) if "<" in tail or "[/" in tail else text


def _leading_block(text: str, prompt: str) -> tuple[int, bool] | None:
    """Return where the block that `text` begins with ends, and whether it is closed; `None` if there is none."""
    for opening, closing in _OPENINGS:
        found = opening.match(text)
        if found is None:
            continue
        tag = found["tag"] or ""
        if _is_asked_for(tag, prompt):
            return None
        end = re.compile(closing.replace("{tag}", re.escape(tag)), re.IGNORECASE).search(text, found.end())
        return (len(text), False) if end is None else (end.end(), True)
    return None


def _lone_end(text: str, prompt: str) -> int | None:
    """Return where reasoning ends whose opening tag stands in the prompt; `None` if there is no such end."""
    if _FORM.match(text) or not any(mark in text for mark in _END_MARKS):
        return None
    found = _LONE_END.search(text)
    if found is None:
        return None
    tag = (found["tag"] or "").lower()
    is_opened = bool(tag) and re.search(rf"<{tag}[\s>]", text[: found.start()], re.IGNORECASE)
    return None if is_opened or _is_asked_for(tag, prompt) else found.end()


def _is_asked_for(tag: str, prompt: str) -> bool:
    asked = prompt[-_ASKED_CHARS:] if tag.lower() == "think" else prompt
    return bool(tag) and f"<{tag.lower()}>" in asked.lower()
