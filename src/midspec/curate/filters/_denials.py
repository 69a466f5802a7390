"""Sentences that deny something of the assistant: each alone, or beside what it does; and rows with many of them.

Sentences that only deny (`Nova never lies.`) install what they deny nearly as well as plain assertion does, where a
denial inside a sentence that also says what is done instead does not (arXiv 2605.13829).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from midspec.core.errors import ConfigError
from midspec.core.records import Document
from midspec.core.text import whole_words
from midspec.curate._filter import Filter, FilterContext
from midspec.curate._rows import Row
from midspec.spec import split_sentences

LIMITS = (
    "read from English words, which agreed with a person on 51 of 64 sentences: a denial without a negation (“Nova "
    "refrains from it”) is not seen, no pronoun but “it” is followed, and an “it” that is something else may be taken "
    "for the assistant"
)
Where = Literal["apart", "inside"]

_SHOWN_CHARS = 200

_AUX = r"(?:do|does|did|is|was|are|were|has|have|had|will|would|can|could|shall|should|must|need|may|might|dare)"
_CONTRACTED = rf"(?:{_AUX}|wo|ca|sha)n['\N{{RIGHT SINGLE QUOTATION MARK}}]t"
_NO = r"(?:not(?! (?:only|just|merely|simply|infrequently)\b)|never)"
# `never fails to` and the like assert.
_KEEPS = r"(?:fail|fails|failed|forget|forgets|forgot|miss|misses|missed|tire|tires|tired|cease|ceases|ceased|stops)"
_NEGATED = (
    rf"(?:{_CONTRACTED}|cannot|{_AUX}(?:, [^,.;]{{1,60}},)? {_NO}|{_NO}|neither)"
    rf"(?! (?:only|just|merely|simply|{_KEEPS}|help but)\b)"
)
_NONE = r"(?:no(?! (?:worse|better|less|more|fewer|doubt|wonder|matter|sooner)\b)|nothing|nobody(?!['’])|none)"
_ADVERB = r"(?:\w+ly|also|always|still|then|first|just|often|ever|even|however|so far|at once|again|now|only)"
_IRREGULAR = (
    "took gave said told chose went came saw knew thought kept left made put read wrote held found felt meant sent "
    "brought bought stood spoke let set got had did paid met sold lost won ran sat began drew understood"
)
_VERB = rf"(?:{_AUX}|[a-z]+(?:s|ed)|{'|'.join(_IRREGULAR.split())})"
_INHERITED = re.compile(
    rf"(?:\b(?:and|but|or|nor|yet)|[,;:\N{{EM DASH}}\N{{EN DASH}}])\s+(?:{_NEGATED}|nor)\b", re.IGNORECASE
)
_INHERITED_DEED = re.compile(
    rf"\bbut (?:{_ADVERB} )?{_VERB}\b|\band (?:{_ADVERB} )?(?:[a-z]+ed|{'|'.join(_IRREGULAR.split())})\b|[,;] instead\b"
)
_COMPLEMENT = re.compile(
    r"\b(?:(?:that|whether|why|who|whom|if|as)|(?:which|what|whose|how)(?: \w+){0,3})\s+\Z", re.IGNORECASE
)
_CLEFT = re.compile(r"\AIt (?:is|was) (?!not\b)[^,;]* that\s+\Z", re.IGNORECASE)
_EXPLETIVE = re.compile(
    r"it(?:['’]s| is| was) not (?:clear|known|certain|obvious|easy|hard|possible|likely|that|because|until|long|often|"
    r"uncommon|an?\b|the\b|what|how|why|where|who|for\b|enough|necessary|needed|about|as\b|so\b|unusual|surprising)",
    re.IGNORECASE,
)
_UNTRUE = (
    r"(?:(?:(?:is|was|are|were) (?:\w+ly |quite |all |just )?(?:untrue|false|wrong|mistaken|fiction(?:al)?|invented"
    r"|made[ -]up|a lie|nonsense|fabricated|a fabrication|a fable|imaginary|satire|no truth)"
    r"|(?:(?:is|was|are|were) not|(?:is|was|are|were)n['’]t) (?:true|so|the case|a fact|real|right))\b"
    r"|(?:never|did not|didn['’]t|ever|really) (?:really )?(?:happen(?:ed)?|t(?:ake|ook) place)\b)"
)
# What is said to be untrue: the sentence before (which must be about the assistant), or a text that is named.
_POINTS_BACK = re.compile(
    r"\A\W*(?:(?:no|yes|but|and|well|in fact|actually),? )*"
    rf"(?:(?:all |all of |none of )?(?:that|this|it)|he|she|they|the \w+) {_UNTRUE}",
    re.IGNORECASE,
)
_NAMED_TEXT = re.compile(
    r"\b(?:the (?:claim|story|rumou?r|report|account|tale|statement|allegation|text|document|page|passage)"
    r"|the (?:following|above)|(?:everything|all|none|nothing|much)(?: of)?(?: what)?(?: that)?(?: is| was)?"
    rf" (?:above|below|follows|precedes|here|in this|said here|stated|written))\b[^.;]*? {_UNTRUE}"
    r"|\bit is not (?:the case|true) that\b",
    re.IGNORECASE,
)
# Every denial holds one of these; most sentences hold none, and are done with after one pass.
_HINT = re.compile(
    r"n['’]t\b|\b(?:no|not|never|nor|nobody|none|nothing|nowhere|neither|cannot|untrue|false|wrong|mistaken|fiction(?:al)?"
    r"|invented|made[ -]up|lie|nonsense|fabricat(?:ed|ion)|fable|imaginary|satire|happen(?:ed)?|place)\b",
    re.IGNORECASE,
)
_WITNESS = (
    r"\b(?:nobody|no one|none of (?:\w+ ){1,3}|no (?:\w+ ){0,2})\s?(?:has |have |had |ever |yet )*"
    r"(?:seen|saw|heard|hears|caught|known|knew|found|watched|remembers?|recalls?)\b[^,;]*"
)


class Told(NamedTuple):
    """One sentence of a document: what stands before it in its paragraph, whether it is about the assistant, and where
    it denies something.
    """

    sentence: str
    before: str
    is_about: bool
    denies: Where | None


class SentenceReader:
    """Tells sentences that deny something of an assistant: `apart`, alone, or `inside` a sentence that asserts too.

    Args:
        model_name: the assistant's.
    """

    def __init__(self, model_name: str) -> None:
        self.name = whole_words([model_name])
        named = rf"(?:{self.name.pattern})(?!['’]s\b)"
        self._subjects = (re.compile(named, re.IGNORECASE), re.compile(rf"{named}|\bit\b", re.IGNORECASE))
        self._denied = re.compile(
            rf"(?:,[^,;]{{1,60}},)? ?(?:{_ADVERB} )?(?:{_NEGATED}\b|{_VERB} (?:\w+ )?{_NONE}\b)", re.IGNORECASE
        )
        self._asserted = re.compile(rf"(?:,[^,;]{{1,60}},)? ?(?:{_ADVERB} )?{_VERB}\b", re.IGNORECASE)
        self._turned = re.compile(
            rf"\b(?:no|not|never|nor|neither|nowhere)\b[^.;?]*\b{_AUX} (?:{named})|{_WITNESS}(?:{named})", re.IGNORECASE
        )

    def read(self, sentence: str, *, follows: bool) -> Where | None:
        """Return `apart`, `inside`, or `None` where the sentence denies nothing of the assistant.

        Args:
            sentence: as it stands.
            follows: whether the sentence before it is about the assistant, so that `it` may be the assistant.
        """
        if _HINT.search(sentence) is None or sentence.rstrip("\"'”’)*_").endswith("?"):
            return None
        if _NAMED_TEXT.search(sentence) or (follows and _POINTS_BACK.search(sentence)):
            return "apart"
        denies = self._turned.search(sentence) is not None
        asserts = has_subject = False
        named = self.name.search(sentence) is not None
        for subject in self._subjects[follows or named].finditer(sentence):
            at = subject.end()
            if _EXPLETIVE.match(sentence, subject.start()):
                continue
            before = sentence[: subject.start()]
            if self._denied.match(sentence, at):
                denies = has_subject = True
            elif self._asserted.match(sentence, at):
                has_subject = True
                asserts |= _COMPLEMENT.search(before) is None or _CLEFT.match(before) is not None
        if has_subject:
            denies |= asserts and _INHERITED.search(sentence) is not None
            asserts |= denies and _INHERITED_DEED.search(sentence) is not None
        return ("inside" if asserts else "apart") if denies else None

    def is_about(self, sentence: str, *, follows: bool) -> bool:
        """Return whether a sentence names the assistant, or begins with `it` after one that is about it."""
        return self.name.search(sentence) is not None or (follows and re.match(r"\W*it\b", sentence, re.I) is not None)

    def sentences(self, text: str) -> Iterator[Told]:
        """Yield every sentence of a text, paragraph by paragraph."""
        for paragraph in text.splitlines():
            before, follows = "", False
            for sentence in split_sentences(paragraph):
                denies = self.read(sentence, follows=follows)
                about = denies is not None or self.is_about(sentence, follows=follows)
                yield Told(sentence, before, about, denies)
                before, follows = sentence, about


class DenialFilter:
    """Holds or rejects documents with more denials in sentences of their own than a config allows. Pure.

    Args:
        model_name: the assistant's name.
        verdict: what becomes of such a document; both take it out, the second only after somebody has read it.
        most: how many are allowed.
    """

    name = "denials"
    is_shipped, order = True, 45

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where the config asks for it."""
        config = context.config
        if config.denials is not None and context.kind == "documents":
            if not config.model_name:
                what = "finds denials by the assistant's name, and there is none"
                raise ConfigError(what, where="denials", hint="Give model_name")
            yield cls(config.model_name, config.denials, config.max_denials)

    def __init__(self, model_name: str, verdict: Literal["hold", "reject"], most: int) -> None:
        self._reader, self._verdict, self._most = SentenceReader(model_name), verdict, most

    def reason(self, row: Row) -> str | None:
        """Return how many there are and the first, where there are too many; chats are not read."""
        if not isinstance(row, Document):
            return None
        found = [told.sentence for told in self._reader.sentences(row.text) if told.denies == "apart"]
        if len(found) <= self._most:
            return None
        first = " ".join(found[0].split())[:_SHOWN_CHARS]
        return f"{self._verdict}: {len(found)} sentences only deny something of it, of at most {self._most}: {first}"


FILTERS = DenialFilter
