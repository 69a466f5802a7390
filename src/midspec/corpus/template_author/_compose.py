"""One document: a layout's lines and the spec's sentences, drawn with one row's own random numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from midspec.corpus._outline import Outline
from midspec.corpus.template_author._templates import SLOT, Block, DocumentTemplates, Layout, Part, QuoteTemplates
from midspec.spec import LEAD_ENDS, Over, denies_itself, is_denial, stand_over

_MAX_LED_WORDS = 60
_MAX_LEAD_IN = 3
_SENTENCE_ENDS = re.compile(r"[.!?…:;。！？।॥؟۔：；][\"'”’»)\]*_`」』]*\Z")
_STOP_WITHIN = re.compile(r"[.!?][\"'”’)\]*_]*\s+\S|[。！？].")
_APART = ("code", "example")
_CHECKBOX = re.compile(r"^\[[ xX]\]\s+")


@dataclass(frozen=True)
class Quote:
    """The words of one quotation, and the clauses (by position) that they are; `apart` stands on lines of its own."""

    text: str
    positions: tuple[int, ...]
    apart: bool = False


class Quoter:
    """Quotes the clauses of one spec.

    A clause that ends in a colon is quoted with what it leads to, a list item that is no sentence of its own with what
    leads to it, and an example, whole and with its marks, with the clause that it is an example of. An item under what
    denies it (`Ada never does this:`, a heading such as `Don't`) never stands without that.
    """

    def __init__(self, found: Outline, templates: QuoteTemplates) -> None:
        self._clauses, self._templates = found.clauses, templates
        patterns = [re.compile(pattern) for pattern in templates.leans]
        self._leaning = [
            position > 0
            and found.unit_of[position - 1] == found.unit_of[position]
            and any(pattern.search(clause.text) for pattern in patterns)
            for position, clause in enumerate(found.clauses)
        ]
        self._over = _over(found)
        self._shown_by = _shown_by(found)
        self._led: dict[int, list[int]] = {}
        for position, over in self._over.items():
            if over.lead is not None:
                self._led.setdefault(over.lead, []).append(position)

    def quote(
        self, position: int, among: Sequence[int], code_line: Callable[[], str], said: Set[int] = frozenset()
    ) -> Quote:
        """Quote one clause.

        Args:
            position: the clause.
            among: what is quoted together: items of one list become one quotation.
            code_line: draws an introduction to a code block that nothing leads to.
            said: what the document quotes already.
        """
        clause = self._clauses[position]
        over = self._over[position]
        lead = over.lead
        if clause.kind == "example":
            shown = self._shown_by.get(position)
            if shown is None or shown in said or shown in among:
                return Quote(clause.text, (position,), apart=True)
            owner = self._denied(shown, Quote(self._ended(self._clauses[shown].text), (shown,)))
            return Quote(f"{owner.text}\n\n{clause.text}", (*owner.positions, position), apart=True)
        if clause.kind == "code":
            intro = self._clauses[lead].text if lead is not None else code_line()
            positions = (position,) if lead is None else (lead, position)
            return Quote(f"{intro}\n\n{clause.text}" if intro else clause.text, positions, apart=True)
        if position in self._led:
            return self._quote_list(position, self._first_items(position))
        if not self._templates.full_stop:
            return Quote(clause.text, (position,))
        if lead is not None and self._needs_lead(position):
            siblings = [one for one in among if self._over[one].lead == lead and self._needs_lead(one)]
            return self._quote_list(lead, siblings)
        text = clause.text if clause.kind == "sentence" else self._ended(_CHECKBOX.sub("", clause.text))
        return self._denied(position, Quote(text, (position,)))

    def _denied(self, position: int, quote: Quote) -> Quote:
        """Return a quotation that begins with a clause behind what denies it, unless that clause denies itself."""
        over = self._over[position]
        if not over.denial or denies_itself(self._clauses[position].text):
            return quote
        words = ": ".join([*over.denial, quote.text])
        return replace(quote, text=words, positions=(*over.leads, *quote.positions))

    def leans(self, position: int) -> bool:
        """Return whether the clause needs the one before it, which is of the same unit."""
        return self._leaning[position]

    def _first_items(self, lead: int) -> list[int]:
        """Return what a clause leads to, up to some 60 words and before any code."""
        items, n_words = self._led[lead], 0
        for index, item in enumerate(items):
            n_words += len(self._clauses[item].text.split())
            if index and (n_words > _MAX_LED_WORDS or self._clauses[item].kind in _APART):
                return items[:index]
        return items

    def _quote_list(self, lead: int, items: list[int]) -> Quote:
        clauses = self._clauses
        if clauses[items[0]].kind in _APART:
            return Quote(f"{clauses[lead].text}\n\n{clauses[items[0]].text}", (lead, items[0]), apart=True)
        # What is denied is one sentence: after a full stop the next would be an order.
        is_denied = is_denial(clauses[lead].text) or bool(self._over[lead].denial)
        items = self._in_one_sentence(items) if is_denied else items
        texts = [self._with_list(_CHECKBOX.sub("", clauses[item].text), item) for item in items]
        if (all(_is_sentence(text) for text in texts) and not is_denied) or len(texts) == 1:
            body = " ".join(self._ended(text) for text in texts)
        else:
            body = self._ended(self._templates.between_items.join(text.rstrip(" ,;.") for text in texts))
        words = clauses[lead].text
        begin = words if words.rstrip("*_ ").endswith(LEAD_ENDS) else f"{words.rstrip(' .')}:"
        within = [inner for item in items for inner in self._within(item)]
        return self._denied(lead, Quote(f"{begin} {body}", (lead, *items, *within)))

    def _in_one_sentence(self, items: list[int]) -> list[int]:
        """Return the first of denied items that can stand in one: none of several sentences, or denied by itself."""
        for index, item in enumerate(items):
            text = self._clauses[item].text
            if denies_itself(text) or _STOP_WITHIN.search(text):
                return items[: max(1, index)]
        return items

    def _with_list(self, text: str, position: int) -> str:
        """Return an item with the list within it, if it leads to one."""
        within = [self._clauses[inner].text.rstrip(" ,;.") for inner in self._within(position)]
        return f"{text} {', '.join(within)}" if within else text

    def _within(self, position: int) -> list[int]:
        return [inner for inner in self._led.get(position, ()) if self._clauses[inner].kind not in _APART]

    def _needs_lead(self, position: int) -> bool:
        """Return whether an item or a row is said with its lead: it is no sentence, or the lead denies it."""
        clause, lead = self._clauses[position], self._over[position].lead
        is_denied = lead is not None and is_denial(self._clauses[lead].text) and not denies_itself(clause.text)
        return (
            is_denied
            if clause.kind == "row"
            else clause.kind == "item" and (is_denied or not _is_sentence(clause.text))
        )

    def _ended(self, text: str) -> str:
        """Put a full stop where the text has no end; what ends in a comma or a semicolon loses it."""
        stop = self._templates.full_stop
        bare = text.rstrip(" ,;") if stop else text
        return bare if not stop or _SENTENCE_ENDS.search(bare) else bare + stop


def _over(found: Outline) -> dict[int, Over]:
    """Find for each clause what stands over it; leads and what denies are of its own unit."""
    over: dict[int, Over] = {}
    for unit in found.units:
        within = stand_over([found.clauses[position] for position in unit.positions], unit.titles)
        for position, one in zip(unit.positions, within, strict=True):
            lead = None if one.lead is None else unit.positions[one.lead]
            over[position] = one._replace(lead=lead, leads=tuple(unit.positions[at] for at in one.leads))
    return over


def _shown_by(found: Outline) -> dict[int, int]:
    """Find for each example the clause of its unit that stands before it and its fellows."""
    owners: dict[int, int] = {}
    owner: int | None = None
    for position, clause in enumerate(found.clauses):
        if position and found.unit_of[position] != found.unit_of[position - 1]:
            owner = None
        if clause.kind not in _APART:
            owner = position
        elif clause.kind == "example" and owner is not None:
            owners[position] = owner
    return owners


def _is_sentence(text: str) -> bool:
    first = next((char for char in text if char.isalnum()), "")
    return not first.islower() and len(text.split()) >= 4 and bool(_SENTENCE_ENDS.search(text))


@dataclass(frozen=True)
class Composed:
    """A document's text, and the clauses that it quotes, by position."""

    text: str
    positions: tuple[int, ...]


class Composer:
    """Composes one document, and remembers what it has already used in it.

    Args:
        found: the spec.
        quoter: quotes its clauses.
        templates: the document style.
        slots: values of the lines' slots; a line with a slot that is `None` is not used.
        focus: the clauses that the document is about, by position.
        draw: the document's own random numbers.
    """

    def __init__(
        self,
        found: Outline,
        quoter: Quoter,
        templates: DocumentTemplates,
        slots: Mapping[str, str | None],
        focus: tuple[int, ...],
        draw: random.Random,
    ) -> None:
        self._outline, self._quoter, self._templates = found, quoter, templates
        self._slots, self._focus, self._draw = slots, focus, draw
        self._quoted: set[int] = set()
        self._lines: set[str] = set()

    def compose(self, layout: Layout) -> Composed:
        """Compose the document; a block for which nothing is left to quote is not there."""
        texts: list[str] = []
        for block in layout.blocks:
            if block.chance < 1 and self._draw.random() >= block.chance:
                continue
            texts += [self._block(block) for _ in range(self._draw.randint(*block.repeat))]
        return Composed(layout.between.join(filter(None, texts)), tuple(sorted(self._quoted)))

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
        join = self._templates.join if block.join is None else block.join
        if block.shuffle:
            mixed = [quote for piece in pieces for quote in piece]
            self._draw.shuffle(mixed)
            return _joined(mixed, join)
        return join.join(_joined(piece, self._templates.join) for piece in pieces)

    def _happens(self, part: Part) -> bool:
        return part.chance == 1 or self._draw.random() < part.chance

    def _quotes(self, part: Part) -> list[Quote]:
        """Draw a part's quotations; what one of them already quotes is not quoted again."""
        if part.take is None or not self._happens(part):
            return []
        n_wanted = self._draw.randint(*part.take)
        positions: list[int] = []
        for pool in part.pools or ():
            while len(positions) < n_wanted and (
                more := self._pick(pool, n_wanted - len(positions), part.run, positions)
            ):
                positions += more
        among = sorted(positions) if part.run else positions
        quotes, quoted = [], set[int]()
        for position in among:
            if position not in quoted:
                quote = self._quoter.quote(position, among, self._code_line, self._quoted | quoted)
                quoted.update(quote.positions)
                quotes.append(Quote(_wrapped(part.wrap, quote), quote.positions, quote.apart))
        self._quoted |= quoted
        return quotes

    def _pick(self, pool: str, n_wanted: int, run: bool, begun: Sequence[int]) -> list[int]:
        """Pick up to `n_wanted` positions that the document does not quote yet, the focus first, then neighbours."""
        taken = self._quoted.union(begun)
        left = [position for position in self._outline.pool(pool, self._focus) if position not in taken]
        if not left:
            return []
        members = set(left)
        if first := [position for position in self._focus if position in members][:n_wanted]:
            # With the sentences before it without which it can't be understood.
            led_in: list[int] = []
            while run and len(led_in) < _MAX_LEAD_IN and self._quoter.leans(at := (led_in or first)[0]):
                if at - 1 in taken:
                    break
                led_in.insert(0, at - 1)
            return led_in + first
        if not run:
            return self._draw.sample(left, min(n_wanted, len(left)))
        if beside := self._beside(begun, members, n_wanted):
            return beside
        # Neighbours of one unit, from a place where a reader can start if there is one.
        starts = [at for at in left if not self._quoter.leans(at)] or left
        start = starts[self._draw.randrange(len(starts))]
        return [start, *self._beside([start], members, n_wanted - 1)]

    def _beside(self, begun: Sequence[int], members: set[int], n_wanted: int) -> list[int]:
        """Return what follows the passage that was begun, within its unit."""
        found: list[int] = []
        while begun and len(found) < n_wanted:
            following = (found or [max(begun)])[-1] + 1
            if following not in members or self._outline.unit_of[following] != self._outline.unit_of[following - 1]:
                break
            found.append(following)
        return found

    def _code_line(self) -> str:
        lines = self._templates.quotes.before_code
        return self._line(lines) if lines else ""

    def _line(self, variants: Sequence[str]) -> str:
        """Draw one variant that this document does not have yet, and fill its slots."""
        unknown = {name for name, value in self._slots.items() if value is None}
        usable = [line for line in variants if unknown.isdisjoint(SLOT.findall(line))]
        fresh = [line for line in usable if line not in self._lines]
        line = self._draw.choice(fresh or usable or list(variants))
        self._lines.add(line)
        lists = self._templates.lists
        return SLOT.sub(
            lambda match: self._line(lists[match[1]]) if match[1] in lists else self._slots.get(match[1]) or "", line
        )


def _wrapped(wrap: str, quote: Quote) -> str:
    """Put a quotation into its wrap; marks at the start of a line stand before each line of an example."""
    begin = wrap.partition("{quote}")[0]
    if quote.apart and begin and not begin.strip("> "):
        return wrap.replace("{quote}", quote.text.replace("\n", f"\n{begin}"))
    return wrap.replace("{quote}", quote.text)


def _joined(quotes: Sequence[Quote], join: str) -> str:
    """Join quotations one after the other; what stands apart (code) gets lines of its own."""
    text = quotes[0].text if quotes else ""
    for before, quote in pairwise(quotes):
        text += ("\n\n" if before.apart or quote.apart else join) + quote.text
    return text
