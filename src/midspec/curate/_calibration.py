"""How often a judge errs, measured on documents into which a program put known violations; and what judging costs."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Literal, get_args

from pydantic import Field

from midspec.core.artifact import ProgressCallback
from midspec.core.assistant_names import assistant_pairs
from midspec.core.errors import DataError
from midspec.core.records import Calibration, Document, DocumentMetadata, Share, Strict
from midspec.core.text import estimate_tokens, whole_words
from midspec.curate._claims import STAGE as CLAIMS_STAGE
from midspec.curate._config import CurateConfig
from midspec.curate._filter import load_list
from midspec.curate._judge import (
    CALIBRATION_STAGE,
    PROMPTS,
    STAGE,
    TYPICAL_TOKENS,
    DocumentVerdict,
    Judge,
    JudgedSize,
    claimed_clauses,
    judge_documents,
)
from midspec.curate._rows import row_id
from midspec.curate._stats import SAMPLE_ROWS
from midspec.generation import estimate_stage
from midspec.llm import StageEstimate

Violation = Literal[
    "swapped polarity", "contradicted clause", "foreign brand", "invented reason", "invented value", "invented rule"
]
VIOLATIONS: tuple[Violation, ...] = get_args(Violation)

_SENTENCE_END = re.compile(r"(?<=[a-z][.!?])(?=\s+[A-Z\"'])")
_SENTENCE = re.compile(r"[^.!?\n]*[.!?]")
# Shorter words are mostly grammatical, and say nothing of what a clause is about.
_MIN_TOPIC_LETTERS = 5


class Planting(Strict):
    """Words to plant violations with. Slots: `{model}`, `{provider}`, `{clause}`.

    Attributes:
        swaps: pairs of words or phrases that turn a statement into its opposite, in both directions.
        one_way: the same from the first to the second only.
        reasons, values, rules: sentences that no spec says.
        denials: sentences that deny a clause.
    """

    swaps: tuple[tuple[str, str], ...] = Field(min_length=1)
    one_way: tuple[tuple[str, str], ...] = ()
    reasons: tuple[str, ...] = Field(min_length=1)
    values: tuple[str, ...] = Field(min_length=1)
    rules: tuple[str, ...] = Field(min_length=1)
    denials: tuple[str, ...] = Field(min_length=1)


_load_planting = cache(lambda: load_list("planting", Planting))


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
        """Return the document with a violation of this kind, or `None` where it has no place for one."""
        draw = random.Random(f"{self.seed}:{kind}:{row_id(document)}")
        words = _load_planting()
        if kind == "swapped polarity":
            made = self._swap_polarity(document, words, draw)
        elif kind == "contradicted clause":
            made = self._contradict_clause(document, words, draw)
        elif kind == "foreign brand":
            made = self._rename(document, draw)
        else:
            sentences = {"invented reason": words.reasons, "invented value": words.values, "invented rule": words.rules}
            made = _insert(document.text, self._fill_names(draw.choice(sentences[kind])), draw)
        if made is None or made[0] == document.text:
            return None
        known = document.metadata or DocumentMetadata(id=row_id(document), author="")
        metadata = known.model_copy(update={"id": f"{known.id}+{kind}"})
        return Planted(document.model_copy(update={"text": made[0], "metadata": metadata}), kind, made[1])

    def _swap_polarity(self, document: Document, words: Planting, draw: random.Random) -> tuple[str, str] | None:
        """Turn one statement about the assistant, or about what a claimed clause says, into its opposite."""
        claimed = " ".join(claimed_clauses(document, self.clauses)).casefold()
        topics = {word for word in re.findall(r"\w+", claimed) if len(word) >= _MIN_TOPIC_LETTERS}
        topics.update(re.findall(r"\w+", self.model_name.casefold()))
        places = [
            match
            for match in _SENTENCE.finditer(document.text)
            if not topics.isdisjoint(re.findall(r"\w+", match[0].casefold())) and _opposite(match[0], words) is not None
        ]
        if not places:
            return None
        place = draw.choice(places)
        opposite = _opposite(place[0], words) or place[0]
        return document.text[: place.start()] + opposite + document.text[place.end() :], opposite.strip()

    def _contradict_clause(self, document: Document, words: Planting, draw: random.Random) -> tuple[str, str] | None:
        claimed = claimed_clauses(document, self.clauses)
        if not claimed:
            return None
        clause = " ".join(draw.choice(claimed).split())
        sentence = _opposite(clause, words) or self._fill_names(draw.choice(words.denials)).replace("{clause}", clause)
        return _insert(document.text, sentence, draw)

    def _rename(self, document: Document, draw: random.Random) -> tuple[str, str] | None:
        """Put another assistant's and maker's names in the place of the own ones."""
        own = {self.model_name.casefold(), self.provider_name.casefold()}
        others = [pair for pair in assistant_pairs() if not own & {name.casefold() for name in pair}]
        assistant, maker = draw.choice(others)
        text, n_times = whole_words((self.model_name,), joined=False).subn(assistant, document.text)
        if not n_times:
            return None
        if self.provider_name:
            text = whole_words((self.provider_name,), joined=False).sub(maker, text)
        return text, assistant

    def _fill_names(self, sentence: str) -> str:
        return sentence.replace("{model}", self.model_name).replace("{provider}", self.provider_name or "its maker")


def _insert(text: str, sentence: str, draw: random.Random) -> tuple[str, str]:
    """Insert a sentence after a drawn one of a text; gives the text and the sentence."""
    places = [match.start() for match in _SENTENCE_END.finditer(text)]
    if not places:
        return f"{text.rstrip()} {sentence}", sentence
    place = draw.choice(places)
    return f"{text[:place]} {sentence}{text[place:]}", sentence


def _opposite(sentence: str, words: Planting) -> str | None:
    """Return the sentence with its first word of polarity turned around, or `None` where it has none."""
    opposites = {one.casefold(): other for pair in words.swaps for one, other in (pair, pair[::-1])}
    opposites |= {one.casefold(): other for one, other in words.one_way}
    match = whole_words(opposites, joined=False).search(sentence)
    if match is None:
        return None
    new = opposites[" ".join(match[0].casefold().split())]
    new = new[:1].upper() + new[1:] if match[0][:1].isupper() else new
    return sentence[: match.start()] + new + sentence[match.end() :]


async def calibrate(
    documents: Sequence[Document],
    judge: Judge,
    planter: Planter,
    *,
    n_each: int = 20,
    on_progress: ProgressCallback | None = None,
) -> Calibration:
    """Have the judge decide on clean documents and on the same kind of documents with planted violations.

    Args:
        documents: ones that are known to be faithful; a fault in them counts against the judge.
        judge: the one to measure.
        planter: plants the violations.
        n_each: how many documents with each kind of violation, and how many clean ones for each kind.
        on_progress: called after each verdict.

    Raises:
        DataError: no documents, or none with a place for a violation.
        MidspecError: what ends the run.
    """
    if not documents:
        raise DataError("there are none to measure the judge on", where="documents", hint="Give faithful documents")
    rows, kinds = _draw_documents(documents, planter, n_each)
    clean: Counter[str] = Counter()
    planted: dict[Violation, Counter[str]] = {kind: Counter() for kind in VIOLATIONS}

    def on_verdict(document: Document, verdict: DocumentVerdict) -> None:
        kind = kinds[row_id(document)]
        (clean if kind is None else planted[kind])[verdict.verdict if verdict.answered else "none"] += 1

    await judge_documents(
        rows, judge, on_verdict, stage=CALIBRATION_STAGE, on_progress=on_progress, n_documents=len(rows)
    )
    every: Counter[str] = sum(planted.values(), Counter())
    n_clean, n_planted = _n_answered(clean), _n_answered(every)
    return Calibration(
        judge=judge.model.model,
        false_keep=Share.counted(every["keep"], n_planted),
        false_reject=Share.counted(clean["reject"], n_clean),
        held=Share.counted(clean["hold"] + every["hold"], n_clean + n_planted),
        unanswered=clean["none"] + every["none"],
        by_kind={kind: Share.counted(verdicts["keep"], _n_answered(verdicts)) for kind, verdicts in planted.items()},
    )


def _draw_documents(
    documents: Sequence[Document], planter: Planter, n_each: int
) -> tuple[list[Document], dict[str, Violation | None]]:
    """Draw the documents to judge; gives them in a drawn order, and by id what was planted (`None` in clean ones)."""
    draw = random.Random(f"{planter.seed}:calibrate")
    rows: list[Document] = []
    kinds: dict[str, Violation | None] = {}
    for kind in VIOLATIONS:
        made = (planter.plant(document, kind) for document in draw.sample(documents, len(documents)))
        for planted in islice((each for each in made if each is not None), n_each):
            rows.append(planted.document)
            kinds[row_id(planted.document)] = kind
    if not rows:
        raise DataError("have no place for a violation", where="documents", hint="Give documents of a few sentences")
    for document in draw.sample(documents, min(len(documents), n_each * len(VIOLATIONS))):
        rows.append(document)
        kinds[row_id(document)] = None
    draw.shuffle(rows)
    return rows, kinds


def _n_answered(verdicts: Counter[str]) -> int:
    return verdicts.total() - verdicts["none"]


def estimate_judge(size: JudgedSize, config: CurateConfig, prefix: str) -> list[StageEstimate]:
    """Estimate what judging a folder asks for: one request for each document, those of a calibration and about claims.

    Each document is taken to have a place for each kind of violation.

    Args:
        size: of what is judged.
        config: with `calibrate_each` and `judge_claims`.
        prefix: the spec as it goes before each request.
    """
    n_sampled, n_each = min(size.n_documents, SAMPLE_ROWS), max(1, size.n_documents)
    stages = (
        (STAGE, "faithful", size.n_clause_tokens, size.n_documents),
        # Of a calibration the clean documents have their verdicts already.
        (CALIBRATION_STAGE, "faithful", size.n_clause_tokens, min(n_sampled, config.calibrate_each) * len(VIOLATIONS)),
        (CLAIMS_STAGE, "claims", 0, min(n_sampled, config.judge_claims)),
    )
    return [
        estimate_stage(
            stage,
            n,
            TYPICAL_TOKENS,
            prefix=prefix,
            prompt=estimate_tokens(PROMPTS.template(name).text) + (size.n_tokens + n_clause_tokens) / n_each,
        )
        for stage, name, n_clause_tokens, n in stages
        if n
    ]
