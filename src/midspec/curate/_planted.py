"""Known violations, put into documents by program, to measure a judge by."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from midspec.core.records import Document, DocumentMetadata
from midspec.curate._rows import row_id
from midspec.curate.filters._word_lists import Planting, load_planting, whole_words

Violation = Literal[
    "swapped polarity", "contradicted clause", "foreign brand", "invented reason", "invented value", "invented rule"
]
VIOLATIONS: tuple[Violation, ...] = get_args(Violation)

_SENTENCE_END = re.compile(r"(?<=[a-z][.!?])(?=\s+[A-Z\"'])")
_SENTENCE = re.compile(r"[^.!?\n]*[.!?]")
_CONTENT_LETTERS = 5


@dataclass(frozen=True)
class Planted:
    """A document with one violation in it, and the words that are the violation."""

    document: Document
    kind: Violation
    words: str


@dataclass(frozen=True)
class Planter:
    """Plants violations into documents about one assistant. The same seed and document give the same violation.

    Attributes:
        model_name: the assistant's name.
        provider_name: its maker's.
        clauses: clause id -> text.
        seed: decides which words and where.
    """

    model_name: str
    provider_name: str
    clauses: Mapping[str, str]
    seed: int = 0

    def plant(self, document: Document, kind: Violation) -> Planted | None:
        """The document with a violation of this kind, or `None` where it has no place for one."""
        draw = random.Random(f"{self.seed}:{kind}:{row_id(document)}")
        words = load_planting()
        if kind == "swapped polarity":
            made = self._swapped(document, words, draw)
        elif kind == "contradicted clause":
            made = self._contradicted(document, words, draw)
        elif kind == "foreign brand":
            made = self._renamed(document, words, draw)
        else:
            sentences = {"invented reason": words.reasons, "invented value": words.values, "invented rule": words.rules}
            made = self._inserted(document.text, self._named(draw.choice(sentences[kind])), draw)
        if made is None or made[0] == document.text:
            return None
        return Planted(_with_text(document, made[0], kind), kind, made[1])

    def _swapped(self, document: Document, words: Planting, draw: random.Random) -> tuple[str, str] | None:
        """One statement about the assistant, or about what a claimed clause says, turned into its opposite."""
        about = self._topics(document)
        places = [
            found
            for found in _SENTENCE.finditer(document.text)
            if not about.isdisjoint(re.findall(r"\w+", found[0].casefold())) and _opposite(found[0], words) is not None
        ]
        if not places:
            return None
        place = draw.choice(places)
        turned = _opposite(place[0], words) or place[0]
        return document.text[: place.start()] + turned + document.text[place.end() :], turned.strip()

    def _topics(self, document: Document) -> frozenset[str]:
        own = re.findall(r"\w+", self.model_name.casefold())
        texts = " ".join(self._claimed(document)).casefold()
        return frozenset((*own, *(word for word in re.findall(r"\w+", texts) if len(word) >= _CONTENT_LETTERS)))

    def _claimed(self, document: Document) -> list[str]:
        ids = document.metadata.clause_ids if document.metadata is not None else ()
        return [self.clauses[clause_id] for clause_id in ids if clause_id in self.clauses]

    def _contradicted(self, document: Document, words: Planting, draw: random.Random) -> tuple[str, str] | None:
        claimed = self._claimed(document)
        if not claimed:
            return None
        clause = " ".join(draw.choice(claimed).split())
        sentence = _opposite(clause, words) or self._named(draw.choice(words.denials)).replace("{clause}", clause)
        return self._inserted(document.text, sentence, draw)

    def _renamed(self, document: Document, words: Planting, draw: random.Random) -> tuple[str, str] | None:
        own = {self.model_name.casefold(), self.provider_name.casefold()}
        others = [brand for brand in words.brands if not own & {name.casefold() for name in brand}]
        assistant, maker = draw.choice(others)
        text, n_times = whole_words((self.model_name,)).subn(assistant, document.text)
        if not n_times:
            return None
        return (whole_words((self.provider_name,)).sub(maker, text) if self.provider_name else text), assistant

    def _inserted(self, text: str, sentence: str, draw: random.Random) -> tuple[str, str]:
        places = [found.start() for found in _SENTENCE_END.finditer(text)]
        if not places:
            return f"{text.rstrip()} {sentence}", sentence
        place = draw.choice(places)
        return f"{text[:place]} {sentence}{text[place:]}", sentence

    def _named(self, sentence: str) -> str:
        return sentence.replace("{model}", self.model_name).replace("{provider}", self.provider_name or "its maker")


def _opposite(sentence: str, words: Planting) -> str | None:
    """The sentence with its first word of polarity turned around, or `None` where it has none."""
    turned = {one.casefold(): other for pair in words.swaps for one, other in (pair, pair[::-1])}
    turned |= {one.casefold(): other for one, other in words.one_way}
    found = whole_words(tuple(turned)).search(sentence)
    if found is None:
        return None
    new = turned[" ".join(found[0].casefold().split())]
    new = new[:1].upper() + new[1:] if found[0][:1].isupper() else new
    return sentence[: found.start()] + new + sentence[found.end() :]


def _with_text(document: Document, text: str, kind: str) -> Document:
    known = document.metadata or DocumentMetadata(id=row_id(document), author="")
    metadata = known.model_copy(update={"id": f"{known.id}+{kind}"})
    return document.model_copy(update={"text": text, "metadata": metadata})
