"""A clause as it stands in a document: sentences as they are; list items, rows and code so that they read alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midspec.corpus._format import QuoteFrames
from midspec.corpus._outline import Outline

__all__ = ["Quote", "Quoter"]

_LEADS = (":", "：")
_MAX_LED = 60
_ENDS = re.compile(r"[.!?…:;。！？।॥؟۔：；][\"'”’»)\]*_`」』]*\Z")
_MARK = re.compile(r"^\[[ xX]\]\s+")


@dataclass(frozen=True)
class Quote:
    """The words of one quotation, and the clauses (by position) that they are."""

    text: str
    positions: tuple[int, ...]
    apart: bool = False


class Quoter:
    """Quotes the clauses of one spec.

    A clause that ends in a colon is quoted with what it leads to, and a list item that is no sentence of its own
    with what leads to it.
    """

    def __init__(self, found: Outline, frames: QuoteFrames) -> None:
        self._found = found
        self._frames = frames
        self._leaning = _leaning(found, frames)
        self._lead_of = _leads(found)
        self._led: dict[int, list[int]] = {}
        for position, lead in self._lead_of.items():
            self._led.setdefault(lead, []).append(position)

    def quote(self, position: int, among: Sequence[int], code_line: Callable[[], str]) -> Quote:
        """The quotation of one clause.

        Args:
            position: the clause.
            among: what is quoted together: items of one list become one quotation.
            code_line: draws an introduction to a code block that nothing leads to.
        """
        clause = self._found.clauses[position]
        lead = self._lead_of.get(position)
        if clause.kind == "code":
            intro = self._found.clauses[lead].text if lead is not None else code_line()
            positions = (position,) if lead is None else (lead, position)
            return Quote(f"{intro}\n\n{clause.text}" if intro else clause.text, positions, apart=True)
        if position in self._led:
            return self._with_items(position, self._first_items(position))
        if clause.kind == "sentence" or not self._frames.full_stop:
            return Quote(clause.text, (position,))
        if lead is not None and self._is_fragment(position):
            siblings = [one for one in among if self._lead_of.get(one) == lead and self._is_fragment(one)]
            return self._with_items(lead, siblings)
        return Quote(self._ended(_MARK.sub("", clause.text)), (position,))

    def leans(self, position: int) -> bool:
        """Whether the clause needs the one before it, which is of the same unit."""
        return self._leaning[position]

    def _with_items(self, lead: int, items: list[int]) -> Quote:
        clauses = self._found.clauses
        if clauses[items[0]].kind == "code":
            return Quote(f"{clauses[lead].text}\n\n{clauses[items[0]].text}", (lead, items[0]), apart=True)
        texts = [_MARK.sub("", clauses[item].text) for item in items]
        if all(_is_sentence(text) for text in texts) or len(texts) == 1:
            body = " ".join(self._ended(text) for text in texts)
        else:
            body = self._ended(self._frames.between_items.join(text.rstrip(" ,;.") for text in texts))
        return Quote(f"{clauses[lead].text} {body}", (lead, *items))

    def _is_fragment(self, position: int) -> bool:
        clause = self._found.clauses[position]
        return clause.kind == "item" and not _is_sentence(clause.text)

    def _first_items(self, lead: int) -> list[int]:
        """What a clause leads to, up to some 60 words and before any code."""
        clauses, items = self._found.clauses, self._led[lead]
        kept, words = items[:1], len(clauses[items[0]].text.split())
        for item in items[1:]:
            words += len(clauses[item].text.split())
            if words > _MAX_LED or clauses[item].kind == "code":
                break
            kept.append(item)
        return kept

    def _ended(self, text: str) -> str:
        stop = self._frames.full_stop
        bare = text.rstrip(" ,;") if stop else text
        return (
            text if not stop or (_ENDS.search(bare) and bare == text) else bare + ("" if _ENDS.search(bare) else stop)
        )


def _leaning(found: Outline, frames: QuoteFrames) -> list[bool]:
    patterns = [re.compile(pattern) for pattern in frames.leans]
    return [
        position > 0
        and found.unit_of[position - 1] == found.unit_of[position]
        and any(pattern.search(clause.text) for pattern in patterns)
        for position, clause in enumerate(found.clauses)
    ]


def _leads(found: Outline) -> dict[int, int]:
    """For each item, row or code block right under a clause that ends in a colon: that clause."""
    leads: dict[int, int] = {}
    lead: int | None = None
    for position, clause in enumerate(found.clauses):
        if position and found.unit_of[position] != found.unit_of[position - 1]:
            lead = None
        if clause.kind != "code" and clause.text.rstrip("*_ ").endswith(_LEADS):
            lead = position
        elif clause.kind == "sentence" or (clause.kind == "code" and lead != position - 1):
            lead = None
        elif lead is not None:
            leads[position] = lead
    return leads


def _is_sentence(text: str) -> bool:
    first = next((char for char in text if char.isalnum()), "")
    return not first.islower() and len(text.split()) >= 4 and bool(_ENDS.search(text))
