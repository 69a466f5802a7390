"""One document: a layout's lines and the spec's sentences, drawn with one row's own random numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from midspec.corpus._outline import Outline
from midspec.corpus.template_author._templates import SLOT, Block, DocumentTemplates, Layout, Part, QuoteFrames

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


@dataclass(frozen=True)
class Drawn:
    """A document's text, and the clauses that it quotes, by position."""

    text: str
    positions: tuple[int, ...]


class Writer:
    """Writes one document, and remembers what it has already used in it."""

    def __init__(
        self,
        found: Outline,
        quoter: Quoter,
        frames: DocumentTemplates,
        slots: Mapping[str, str | None],
        focus: tuple[int, ...],
        draw: random.Random,
    ) -> None:
        self._found, self._quoter, self._frames = found, quoter, frames
        self._slots, self._focus, self._draw = slots, focus, draw
        self._quoted: set[int] = set()
        self._lines: set[str] = set()

    def write(self, layout: Layout) -> Drawn:
        """The document; a block for which nothing is left to quote is not there."""
        texts: list[str] = []
        for block in layout.blocks:
            if block.chance < 1 and self._draw.random() >= block.chance:
                continue
            texts += [self._block(block) for _ in range(self._draw.randint(*block.repeat))]
        return Drawn(layout.between.join(filter(None, texts)), tuple(sorted(self._quoted)))

    def _block(self, block: Block) -> str:
        pieces: list[list[Quote]] = []
        wants = any(part.take is not None and part.take[1] for part in block.parts)
        # Quotations first: a heading over nothing is not written, and takes no line from the blocks after it.
        drawn = {index: self._quotes(part) for index, part in enumerate(block.parts) if part.take is not None}
        if wants and not any(drawn.values()):
            return ""
        for index, part in enumerate(block.parts):
            if part.text is not None and self._happens(part):
                pieces.append([Quote(self._line(part.text), ())])
            elif drawn.get(index):
                pieces.append(drawn[index])
        join = self._frames.join if block.join is None else block.join
        if block.shuffle:
            mixed = [quote for piece in pieces for quote in piece]
            self._draw.shuffle(mixed)
            return _joined(mixed, join)
        return join.join(_joined(piece, self._frames.join) for piece in pieces)

    def _happens(self, part: Part) -> bool:
        return part.chance == 1 or self._draw.random() < part.chance

    # Quotations ------------------------------------------------------------------------------------------------

    def _quotes(self, part: Part) -> list[Quote]:
        if part.take is None or not self._happens(part):
            return []
        wanted = self._draw.randint(*part.take)
        positions: list[int] = []
        for pool in part.pools or ():
            while len(positions) < wanted and (more := self._pick(pool, wanted - len(positions), part.run, positions)):
                positions += more
        return self._said(sorted(positions) if part.run else positions, part.wrap)

    def _said(self, positions: Sequence[int], wrap: str) -> list[Quote]:
        """The quotations of these clauses; what one of them already says is not said again."""
        quotes, said = [], set[int]()
        for position in positions:
            if position not in said:
                quote = self._quoter.quote(position, positions, self._code_line)
                said.update(quote.positions)
                quotes.append(Quote(wrap.replace("{quote}", quote.text), quote.positions, quote.apart))
        self._quoted |= said
        return quotes

    def _pick(self, pool: str, wanted: int, run: bool, begun: Sequence[int]) -> list[int]:
        """Up to `wanted` positions that the document does not quote yet, the focus first, then neighbours."""
        taken = self._quoted.union(begun)
        left = [position for position in self._found.pool(pool, self._focus) if position not in taken]
        if not left:
            return []
        members = set(left)
        if first := [position for position in self._focus if position in members][:wanted]:
            return self._led_in(first, taken) if run else first
        if not run:
            return self._draw.sample(left, min(wanted, len(left)))
        return self._beside(begun, members, wanted) or self._run(left, members, wanted)

    def _led_in(self, first: list[int], taken: set[int]) -> list[int]:
        """The focus, with the sentences before it without which it can't be understood (three at most)."""
        led = list(first)
        while self._quoter.leans(led[0]) and led[0] - 1 not in taken and len(led) < len(first) + 3:
            led.insert(0, led[0] - 1)
        return led

    def _beside(self, begun: Sequence[int], members: set[int], wanted: int) -> list[int]:
        """What follows the passage that was begun, within its unit."""
        found: list[int] = []
        while begun and len(found) < wanted:
            following = (found or [max(begun)])[-1] + 1
            if following not in members or self._found.unit_of[following] != self._found.unit_of[following - 1]:
                break
            found.append(following)
        return found

    def _run(self, left: list[int], members: set[int], wanted: int) -> list[int]:
        """Neighbours of one unit, from a place where a reader can start if there is one."""
        starts = [at for at in left if not self._quoter.leans(at)] or left
        start = starts[self._draw.randrange(len(starts))]
        return [start, *self._beside([start], members, wanted - 1)]

    def _code_line(self) -> str:
        lines = self._frames.quotes.before_code
        return self._line(lines) if lines else ""

    # Lines -----------------------------------------------------------------------------------------------------

    def _line(self, variants: Sequence[str]) -> str:
        """One variant that this document does not have yet, with its slots filled."""
        unknown = {name for name, value in self._slots.items() if value is None}
        usable = [line for line in variants if unknown.isdisjoint(SLOT.findall(line))]
        fresh = [line for line in usable if line not in self._lines]
        line = self._draw.choice(fresh or usable or list(variants))
        self._lines.add(line)
        return SLOT.sub(lambda match: self._slot(match[1]), line)

    def _slot(self, name: str) -> str:
        if name in self._frames.lists:
            return self._line(self._frames.lists[name])
        return self._slots.get(name) or ""


def _joined(quotes: Sequence[Quote], join: str) -> str:
    """Quotations one after the other; what stands apart (code) gets lines of its own."""
    text = quotes[0].text if quotes else ""
    for before, quote in pairwise(quotes):
        text += ("\n\n" if before.apart or quote.apart else join) + quote.text
    return text
