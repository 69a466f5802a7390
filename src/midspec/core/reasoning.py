"""Reasoning and answer in what a model wrote, told apart by marks."""

from __future__ import annotations

import re

# A model's reasoning stands apart from its answer, by the marks that models write around it. Some marks are special
# tokens, which a tokenizer leaves out of what it decodes: `is_mark` tells those that have to stay.
_NAMES = (
    r"(?:seed:|mm:|[a-z]{2,12}_|ant)?think(?:ing)?|thoughts?|reasoning(?:_content)?|reflection|analysis|scratchpad|cot"
    r"|inner_monologue"
)
# (opens, closes): Qwen, DeepSeek and most; Mistral; Kimi; Cohere; Open-Thoughts; Apertus; MedGemma; Gemma 4; Granite.
_PAIRS = (
    (rf"<(?:{_NAMES})\s*>", rf"</(?:{_NAMES})\s*>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"\u25c1think\u25b7", r"\u25c1/think\u25b7"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|thinking\|>", r"<\|/thinking\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<unused94>(?:thought\s)?", r"<unused95>"),
    (r"<\|channel>(?:thought\s)?", r"<channel\|>"),
    (r"\AHere(?: is|'s) my thought process:", r"Here(?: is|'s) my response:"),
)
_OPEN = re.compile("|".join(begin for begin, _ in _PAIRS), re.IGNORECASE)
_CLOSE = re.compile("|".join(end for _, end in _PAIRS), re.IGNORECASE)
# What some write around the answer that follows.
_ANSWER_MARKS = re.compile(
    r"<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|<\|(?:begin|end)_of_solution\|>|<\|start\|>(?:assistant)?|<\|(?:end|return)\|>"
)
# gpt-oss writes messages to channels, and only the one to `final` is the answer (the format is called harmony).
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)"
    r"(?=<\|(?:end|return|start|call|channel)\|>|\Z)",
    re.DOTALL,
)
_CHANNEL_MARKS = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>")
# Some servers put signs that nobody sees (a byte-order mark, say) before a reply, or after a mark.
UNSEEN_SIGNS = r"\u00ad\u200b-\u200f\u2060\ufeff"
"""Soft hyphen, signs of no width and of direction, byte-order mark: for a class of characters in a pattern."""

_ANALYSIS = rf"[\s{UNSEEN_SIGNS}]*(?:assistant)?analysis"
_BARE_ANALYSIS = re.compile(rf"{_ANALYSIS}(?=[{UNSEEN_SIGNS}]*[A-Z\"'(\u201c\u2018])")
_MARKED = re.compile(rf"{_OPEN.pattern}|{_CLOSE.pattern}|<\|channel\|>|\A{_ANALYSIS}", re.IGNORECASE)


def split_reasoning(text: str) -> tuple[str, str]:
    """Split a text into reasoning and answer.

    Reasoning that is never closed is all of the rest; reasoning that a template opened is closed only. Text without
    any mark of reasoning comes back as it is.
    """
    if _MARKED.search(text) is None:
        return "", text
    if "<|channel|>" in text:
        parts = [(name == "final", body.strip()) for name, body in _CHANNEL.findall(text)]
        answer = "\n".join(body for is_final, body in parts if is_final and body)
        return "\n".join(body for is_final, body in parts if not is_final and body), answer
    if (bare := _split_bare_channels(text)) is not None:
        return bare
    closes = list(_CLOSE.finditer(text))
    opens = _OPEN.search(text)
    if not closes and opens is None:
        return "", text
    before, after = (text[: closes[-1].start()], text[closes[-1].end() :]) if closes else ("", text)
    opened = _OPEN.search(after)
    answer, cut = (after[: opened.start()], after[opened.end() :]) if opened else (after, "")
    reasoning = _CLOSE.sub("", _OPEN.sub("", before))
    return "\n".join(part.strip() for part in (reasoning, cut) if part.strip()), _ANSWER_MARKS.sub("", answer).strip()


def is_mark(token: str) -> bool:
    """Return whether a special token tells reasoning from an answer, so that it must not vanish in decoding."""
    return token in _CHANNEL_MARKS or _OPEN.fullmatch(token) is not None or _CLOSE.fullmatch(token) is not None


def _split_bare_channels(text: str) -> tuple[str, str] | None:
    """Split a harmony reply that was decoded without its marks: the names of its channels run into the text."""
    found = _BARE_ANALYSIS.match(text)
    if found is None:
        return None
    thought, final, answer = text[found.end() :].rpartition("assistantfinal")
    return (thought.strip(), answer.strip()) if final else (answer.strip(), "")
