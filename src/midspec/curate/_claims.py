"""What documents say of the spec's value: how many assert it, how many give it as the reason for something.

Of the corpora that the method's authors released, 96 to 98% of the documents assert the value, and 65 to 80% give it as
the reason. Both are read from words here; a judge can be asked the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

from midspec.core.fingerprint import fingerprint
from midspec.core.records import Denial, Denials, Document, Share, Strict, ValueClaims
from midspec.core.text import whole_words
from midspec.curate._config import CurateConfig
from midspec.curate._filter import load_list
from midspec.curate._judge import PROMPTS, Judge
from midspec.curate._rows import Row, row_id
from midspec.curate.filters._denials import LIMITS as DENIAL_LIMITS
from midspec.curate.filters._denials import SentenceReader, Told
from midspec.generation import Pool
from midspec.llm import Request, UnreadableReplyError, converse, parse_tags
from midspec.spec import split_sentences

STAGE = "claims"
# Of 300 readings of 225 written documents of which nothing was known when the words were chosen, 113 of 150 assertions
# were found, and 71 of 150 reasons; 2 of 300 readings by the wrong spec were taken for an assertion (LOG.md).
LIMITS = (
    "read from words, so these shares are lower bounds: in documents written for two values three assertions in four "
    "were found, and half of the reasons; a value told without these words, in a scene or by its effects, is not seen"
)
_MAX_TOKENS = 1000
_N_EXAMPLES = 12
_N_WITHOUT = 20
# A term stands in two sentences of the spec, one of them no item of a list: items name examples rather than the value.
_MIN_SENTENCES, _MAX_TERMS = 2, 12
# In a document of so many sentences one that names the value in passing ("even when it is cheaper") is not enough.
_LONG_SENTENCES, _MIN_IN_LONG = 8, 2
_MIN_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
_CONJUNCTION = re.compile(r", (?:as|for) (?:it|its|it's|the|a|an|what|he|she|they|there|whoever|people|then|most|I)\b")
_QUOTED = re.compile(r"[\"“”]")
_ENDING = re.compile(r"(?<=\w{4})(?:abilit(?:y|ies)|able|ness|iest|ier|ty|est|ers|er|ing|ed|ly|es|s|ns|n|a|e|y)\Z")


class _Words(Strict):
    """The lists of `claims.yaml`."""

    attitudes: tuple[str, ...]
    reasons: tuple[str, ...]
    general: tuple[str, ...]


_words = cache(lambda: load_list("claims", _Words))


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Return a word without its commonest English endings: `cheaper` and `cheapest` are `cheap`."""
    before, now = "", word.casefold()
    while before != now:
        before, now = now, _ENDING.sub("", now)
    return now


def value_terms(spec_text: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the words that a spec repeats and that say which value it is about, the most frequent first.

    Args:
        spec_text: the spec, its names filled in.
        names: of the assistant and its maker, which are no terms.
    """
    markers = " ".join((*_words().general, *_words().reasons, *names))
    ignored = {stem(word) for word in _WORD.findall(markers)}
    counts: Counter[str] = Counter()
    in_prose: set[str] = set()
    spelled: dict[str, Counter[str]] = {}
    for line in spec_text.splitlines():
        is_item = _ITEM.match(line) is not None
        for sentence in split_sentences(line.lstrip("#-*> ")):
            found = {stem(word): word.casefold() for word in _WORD.findall(sentence) if len(word) >= _MIN_LETTERS}
            for root, word in found.items():
                counts[root] += 1
                spelled.setdefault(root, Counter())[word] += 1
                in_prose |= set() if is_item else {root}
    ranked = sorted(
        (root for root in in_prose - ignored if counts[root] >= _MIN_SENTENCES),
        key=lambda root: (-counts[root], root),
    )
    return tuple(spelled[root].most_common(1)[0][0] for root in ranked[:_MAX_TERMS])


class ClaimReader:
    """Finds documents that assert a value of the assistant, and those that give it as a reason.

    A sentence asserts it that holds a term beside a word of liking, choosing or believing, and is about the assistant
    or right after a sentence that is. It is a reason where it, or its neighbour about the assistant, holds the words of
    one (`because`, `that is why`).

    Args:
        terms: words of the value.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self._roots = frozenset(map(stem, terms))
        self._attitude = re.compile(rf"\b(?:{'|'.join(map(re.escape, _words().attitudes))})", re.IGNORECASE)
        self._reason = whole_words(_words().reasons)

    def read(self, sentences: Sequence[Told]) -> tuple[bool, bool]:
        """Return whether a document with these sentences asserts the value, and whether it gives it as a reason."""
        n_named, asserts, as_reason = 0, False, False
        for at, told in enumerate(sentences):
            if not any(stem(word) in self._roots for word in _WORD.findall(told.sentence)):
                continue
            n_named += 1
            # Who speaks is named before or after what is said.
            is_said = _QUOTED.search(told.sentence) is not None
            near = sentences[max(0, at - 1 - 2 * is_said) : at + 1 + is_said]
            text = told.sentence if told.is_about else " ".join(one.sentence for one in near)
            if any(one.is_about for one in near) and self._attitude.search(text):
                asserts = True
                around = [one.sentence for one in sentences[max(0, at - 1) : at + 2]]
                as_reason = as_reason or any(self._reason.search(one) or _CONJUNCTION.search(one) for one in around)
        asserts = asserts and n_named >= (_MIN_IN_LONG if len(sentences) >= _LONG_SENTENCES else 1)
        return asserts, asserts and as_reason


class ContentStats:
    """Counts denials and claims in the documents added so far; nothing without the assistant's name.

    Args:
        config: names, terms, seed.
        spec_text: the spec, its names filled in; without it, and without terms in the config, claims are not counted.
    """

    def __init__(self, config: CurateConfig, spec_text: str) -> None:
        name = config.model_name
        self._reader = SentenceReader(name) if name else None
        names = (name or "", config.provider_name or "")
        self.terms = config.value_terms or value_terms(spec_text, names)
        self._claims = ClaimReader(self.terms) if self.terms else None
        self._counts: Counter[str] = Counter()
        self._examples: list[Denial] = []
        self._without: list[str] = []

    def add(self, row: Row) -> None:
        """Read one document; chats are not read."""
        if self._reader is None or not isinstance(row, Document):
            return
        told = list(self._reader.sentences(row.text))
        apart = [one for one in told if one.denies == "apart"]
        self._counts.update(
            rows=1,
            about=sum(one.is_about for one in told),
            apart=len(apart),
            inside=sum(one.denies == "inside" for one in told),
            rows_apart=bool(apart),
        )
        if apart and len(self._examples) < _N_EXAMPLES:
            self._examples.append(Denial(row_id=row_id(row), before=apart[0].before, sentence=apart[0].sentence))
        if self._claims is not None:
            asserts, as_reason = self._claims.read(told)
            self._counts.update(asserts=asserts, as_reason=as_reason)
            if not asserts and len(self._without) < _N_WITHOUT:
                self._without.append(row_id(row))

    def read(self, document: Document) -> tuple[bool, bool]:
        """Return whether a document asserts the value, and whether it gives it as a reason, by words."""
        if self._reader is None or self._claims is None:
            return False, False
        return self._claims.read(list(self._reader.sentences(document.text)))

    @property
    def denials(self) -> Denials | None:
        """Return what documents deny; `None` where none was read."""
        n = self._counts
        if not n["rows"]:
            return None
        return Denials(
            rows=Share.counted(n["rows_apart"], n["rows"]),
            n_about=n["about"],
            n_apart=n["apart"],
            n_inside=n["inside"],
            examples=tuple(self._examples),
            limits=DENIAL_LIMITS,
        )

    @property
    def claims(self) -> ValueClaims | None:
        """Return what documents assert, by words; `None` where none was read, or the value is not known."""
        n = self._counts
        if not n["rows"] or self._claims is None:
            return None
        return ValueClaims(
            by="words",
            asserted=Share.counted(n["asserts"], n["rows"]),
            as_reason=Share.counted(n["as_reason"], n["rows"]),
            terms=self.terms,
            without=tuple(self._without),
            limits=LIMITS,
        )


async def judge_claims(documents: Sequence[Document], judge: Judge, by_words: ContentStats) -> ValueClaims:
    """Ask a judge of each document whether it asserts the spec's value, and gives it as the reason for something.

    Args:
        documents: to ask about.
        judge: that answers.
        by_words: whose reading of the same documents the answers are held against.

    Raises:
        MidspecError: what ends the run.
    """
    answers: dict[int, tuple[bool, bool]] = {}
    pool = Pool(judge.width)

    def ask(number: int, document: Document) -> None:
        async def one() -> None:
            reply = await converse(judge.client, judge.store, _request(document, judge), _parse)
            if reply.value is not None:
                answers[number] = reply.value

        pool.add(one)

    for number, document in enumerate(documents):
        ask(number, document)
    await pool.run()
    alike = [one == mine for at in answers for one, mine in zip(answers[at], by_words.read(documents[at]), strict=True)]
    missing = len(documents) - len(answers)
    return ValueClaims(
        by=judge.model.model,
        asserted=Share.counted(sum(asserts for asserts, _ in answers.values()), len(answers)),
        as_reason=Share.counted(sum(reason for _, reason in answers.values()), len(answers)),
        agrees=Share.counted(sum(alike), len(alike)) if by_words.terms else None,
        without=tuple(row_id(documents[at]) for at in sorted(answers) if not answers[at][0])[:_N_WITHOUT],
        limits=f"{missing} of {len(documents)} documents got no answer" if missing else "",
    )


def _request(document: Document, judge: Judge) -> Request:
    prompt = PROMPTS.fill("claims", model=judge.model_name, candidate=document.text)
    identity = {"model": judge.model, "prefix": judge.prefix, "prompt": prompt, "model_name": judge.model_name}
    task = f"claims-{fingerprint(identity)}"
    return Request(task=task, stage=STAGE, prefix=judge.prefix, prompt=prompt, max_tokens=_MAX_TOKENS)


def _parse(text: str) -> tuple[bool, bool]:
    words = [word.casefold().strip() for word in parse_tags(text, "asserts", "as_reason")]
    if not set(words) <= {"yes", "no"}:
        raise UnreadableReplyError(f"the answers are {words}; each must be yes or no, and nothing else")
    return words[0] == "yes", words[1] == "yes"
