"""Numbered rules in a section: `SP1: ...`, `1. ...`, or a section that is a rule (`## GP2 Ends and means`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from midspec.records import Section

__all__ = ["Rule", "rules_of"]

_CODE = r"(?P<id>[A-Z]{1,5}[- ]?\d+(?:\.\d+)*[a-z]?|\d+(?:\.\d+)*[a-z]?)"
_TITLE = re.compile(rf"(?:Rule\s+)?{_CODE}(?:[.):\s—–-]+(?P<name>.*))?$")
_LEAD = re.compile(r"[*_]*(?:Rule\s+)?(?P<id>[A-Z]{1,5}[- ]?\d+(?:\.\d+)*[a-z]?)[*_]*[.):\s—–(*_]")
_NUMBERED = re.compile(r"^[ \t]*(\d{1,9})[.)][ \t]+(\S.*)$", re.MULTILINE)
_BOLD_NAME = re.compile(r"\*\*(?P<name>[^*]{2,60})\*\*")
_HEAD_END = re.compile(r"[:(—–]|\.(?=\s|$)")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_NAME_WORDS = 8
_LEAST_WORDS = 3
_SMALL_WORD = 4


@dataclass(frozen=True)
class Rule:
    """A rule: its id as the spec writes it, its name, and which of the section's clauses say it.

    What stands between rules (an introduction, say) is a `Rule` with an empty id: still quoted, never cited.
    """

    id: str
    name: str
    indices: tuple[int, ...]


def rules_of(section: Section) -> list[Rule]:
    """The rules of a section in order; every clause belongs to exactly one of them."""
    everything = tuple(range(len(section.clauses)))
    if match := _TITLE.match(section.title.strip("*_ ")):
        return [Rule(match["id"], _clean(match["name"] or match["id"]), everything)]
    numbers = {_key(text): number for number, text in _NUMBERED.findall(section.text)}
    rules: list[Rule] = []
    open_id, open_indices = "", list[int]()

    def close() -> None:
        if open_indices:
            name = _name(section.clauses[open_indices[0]].text, open_id) if open_id else section.title
            rules.append(Rule(open_id, name, tuple(open_indices)))

    for index, clause in enumerate(section.clauses):
        if rule_id := _rule_id(clause.text, clause.kind, numbers):
            close()
            open_id, open_indices = rule_id, []
        open_indices.append(index)
    close()
    return rules


def _rule_id(text: str, kind: str, numbers: dict[str, str]) -> str:
    if match := _LEAD.match(text):
        return match["id"]
    return numbers.get(_key(text), "") if kind == "item" else ""


def _key(text: str) -> str:
    return " ".join(text.split())[:40]


def _name(text: str, rule_id: str) -> str:
    """A rule's name: its bold lead, what stands before its first colon or stop, or its beginning."""
    body = re.sub(rf"^[*_]*(?:Rule\s+)?{re.escape(rule_id)}[*_]*[.):\s—–*_]*", "", text)
    if bold := _BOLD_NAME.search(text[:100]):
        name = re.sub(rf"^(?:Rule\s+)?{re.escape(rule_id)}\W*", "", bold["name"])
        if name.strip(" .:"):
            return _clean(name)
    head = _HEAD_END.split(body, maxsplit=1)[0]
    return _clean(head) if 0 < len(head.split()) <= _NAME_WORDS else _beginning(body)


def _beginning(text: str) -> str:
    """All of a short text; of a long one what stands before a comma, or its first words and an ellipsis.

    The small words that the cut would leave at the end (before deleting a) go too.
    """
    sentence = _SENTENCE_END.split(text, maxsplit=1)[0]
    words = sentence.split()
    if len(words) <= _NAME_WORDS:
        return _clean(sentence)
    kept = words[:_NAME_WORDS]
    commas = [at for at, word in enumerate(kept, start=1) if word.endswith((",", ";")) and at >= _LEAST_WORDS]
    kept = kept[: commas[-1]] if commas else kept
    while len(kept) > _LEAST_WORDS and len(kept[-1]) <= _SMALL_WORD:
        kept.pop()
    return f"{_clean(' '.join(kept)).rstrip(',;')} ..."


def _clean(text: str) -> str:
    return text.strip(" .:*_()")
